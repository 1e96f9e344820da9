"""Read and write PNG, BMP, GIF and JPEG: 2D images without a known spacing, one slice deep.

Rows are y and columns x, as viewers show them: the orientation that a camera recorded (EXIF) is applied, as annotation
programs do, so that masks drawn on what is shown fit.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.files import atomic
from medseg.core.image import Image
from medseg.io.formats import content
from medseg.io.formats.stack import ORIENTATION_TAG, Stack, as_shown, opaque, orientation_notes, smallest_integer

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_FORMATS = ("PNG", "BMP", "DIB", "GIF", "JPEG")  # MPO, several JPEG in one file, is opened as JPEG
_MOST_PER_BYTE = 3000  # pixels that one byte of such a file can stand for: LZW's longest strings
_GREY_DEPTH = {b"\2\0": 2, b"\4\0": 4}  # bits and colour type (grey) in the header of a PNG
_16_BIT_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def read(path: Path) -> Stack:
    """Read grey as one component (8 or 16 bits), colour as three; an alpha that is the same everywhere is dropped.

    Returns:
        The pixels, as a stack of one slice.

    Raises:
        DataError: the file is damaged, animated, would lose bits, or has varying transparency.
    """
    picture = _open(path)
    return _flat(_pixels(picture, path), _orientation(picture), path)


def read_mask(path: Path) -> Stack:
    """Read a mask: grey levels as values, colours as three components.

    Grey of 2 or 4 bits has the stored values, 0 to 3 or 15; single bits are 0 and 255, black and white.
    The indices of a palette with colours, black first, are the values: annotation programs store masks so.

    Returns:
        The pixels, as a stack of one slice.

    Raises:
        DataError: as `read`.
    """
    picture = _open(path)
    if picture.mode == "P":
        palette = np.array(picture.getpalette("RGB")).reshape(-1, 3)
        if np.ptp(palette, axis=1).any() and not palette[0].any():
            return _flat(np.asarray(picture)[np.newaxis], _orientation(picture), path)
    array = _pixels(picture, path)
    bits = _grey_bits(path)
    if bits is not None:
        array = array // (255 // (2**bits - 1))  # pillow spreads them over 0 to 255, which is right for images only
    return _flat(array, _orientation(picture), path)


def write(path: Path, image: Image, like: Path | None) -> None:
    """Write a label map of one slice as grey of 8 bits, or of 16 bits if a value needs it (PNG only).

    Args:
        path: the file.
        image: one channel of whole numbers.
        like: the scan; not used, since these formats have no geometry.

    Raises:
        DataError: several slices, or a value that the format cannot hold.
    """
    from PIL import Image as pillow

    if image.shape_zyx[0] != 1:
        raise DataError(f"{path} can hold one slice; the answer has {image.shape_zyx[0]}.", "Write .nii.gz instead.")
    kind = smallest_integer(image.array)
    if kind != np.uint8 and (kind != np.uint16 or not path.name.lower().endswith(".png")):
        low, high = image.array.min(), image.array.max()
        raise DataError(f"{path} cannot hold the label values {low} to {high}.", "PNG holds 0 to 65535, BMP 0 to 255.")
    with atomic(path) as temporary:
        pillow.fromarray(image.array[0, 0].astype(kind)).save(temporary)


def _grey_bits(path: Path) -> int | None:
    """Return 2 or 4 for a grey PNG of so many bits a pixel; None for every other picture."""
    with path.open("rb") as stream:
        start = stream.read(26)
    return _GREY_DEPTH.get(start[24:26]) if start.startswith(content.PNG_START) else None


def write_with_palette(path: Path, image: Image, colours: Mapping[int, tuple[int, int, int]]) -> None:
    """Write a label map of one slice as PNG whose pixels are the label values and whose palette has their colours.

    PASCAL VOC stores masks so. The first entry is black in any case: by that `read_mask` knows such a file.

    Args:
        path: the file.
        image: one channel of whole numbers from 0 to 255.
        colours: {value: (red, green, blue)}; other values are black.

    Raises:
        DataError: several slices, or a value that a palette does not have.
    """
    from PIL import Image as pillow

    if image.shape_zyx[0] != 1:
        raise DataError(f"{path} can hold one slice; the answer has {image.shape_zyx[0]}.", "Write .nii.gz instead.")
    if smallest_integer(image.array) != np.uint8:
        low, high = image.array.min(), image.array.max()
        raise DataError(f"{path} cannot hold the label values {low} to {high}.", "A palette has the values 0 to 255.")
    palette = np.zeros((256, 3), np.uint8)
    for value, colour in colours.items():
        palette[value] = colour
    palette[0] = 0
    picture = pillow.fromarray(image.array[0, 0].astype(np.uint8))
    picture.putpalette(palette.tobytes())
    with atomic(path) as temporary:
        picture.save(temporary)


def _orientation(picture: Picture) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where there is none, or one that means nothing."""
    try:
        value = picture.getexif().get(ORIENTATION_TAG, 1)
    except (ValueError, TypeError, OSError, SyntaxError, struct.error):  # damaged EXIF beside sound pixels
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _flat(array: NDArray, orientation: int, path: Path) -> Stack:
    """Return (component, y, x) as a stack of one slice without a known spacing, turned as it is shown."""
    array = as_shown(array, orientation)
    notes = orientation_notes(path, orientation)
    flat = np.ascontiguousarray(array)[np.newaxis, :, np.newaxis]
    return Stack(flat, np.eye(4), spacing_known=False, notes=notes, picture_orientation=orientation)


def _pixels(picture: Picture, path: Path) -> NDArray:
    """Return the pixels of one of pillow's pictures: (component, y, x), one component or three, 8 or 16 bits.

    Raises:
        DataError: other colours than grey or RGB, or varying transparency.
    """
    mode = picture.mode
    if mode in ("P", "PA"):
        grey = not np.ptp(np.array(picture.getpalette("RGB")).reshape(-1, 3), axis=1).any()
        kinds = ("L", "LA") if grey else ("RGB", "RGBA")
        picture = picture.convert(kinds[mode == "PA" or "transparency" in picture.info])
    elif mode == "1":
        picture = picture.convert("L")
    elif mode not in ("L", "LA", "RGB", "RGBA", *_16_BIT_MODES):
        raise DataError(f"{path} has the colour mode {mode}; expected grey or RGB.", "Convert it to RGB or grey.")
    array = np.asarray(picture)
    if mode in _16_BIT_MODES:  # some versions of pillow widen 16-bit grey to 32
        array = array.astype(np.uint16)
    array = np.atleast_3d(array).transpose(2, 0, 1)
    if array.shape[0] in (1, 3):
        return array
    return opaque(array[:, np.newaxis], path)[:, 0]


def _open(path: Path) -> Picture:
    """Return the opened and decoded picture, refusing what pillow would read with fewer bits than are stored."""
    from PIL import Image as pillow

    with path.open("rb") as stream:
        start = stream.read(26)
    # bit depth and colour type stand at fixed places of a PNG; pillow would cut 16-bit colours to 8 bits unasked
    if start.startswith(content.PNG_START) and start[24:26] in (b"\x10\2", b"\x10\4", b"\x10\6"):
        raise DataError(
            f"{path} holds colours or transparency of 16 bits, of which only 8 could be read.",
            "Save each channel as a 16-bit grey PNG (name_0000.png, name_0001.png), or all as .nii.gz or .tif.",
        )
    try:
        picture = pillow.open(path, formats=_FORMATS)
    except pillow.DecompressionBombError as error:
        raise DataError(
            f"{path} is too large for a picture: {error}.", "Cut it into tiles, or save it as TIFF."
        ) from None
    content.check_claim(path, picture.size, len(picture.getbands()), _MOST_PER_BYTE)
    picture.load()
    frames = getattr(picture, "n_frames", 1)
    if picture.format in ("PNG", "GIF") and frames > 1:
        raise DataError(f"{path} is animated ({frames} frames).", "Save each frame as a file of its own.")
    return picture
