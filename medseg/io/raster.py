"""PNG, BMP and JPEG: 2D images without a known spacing, one slice deep.

Rows are y and columns x, as stored: a rotation that a camera noted (EXIF) is not applied.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medseg.errors import DataError
from medseg.files import atomic
from medseg.image import Image
from medseg.io.nifti import smallest_integer

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_PNG_START = b"\x89PNG\r\n\x1a\n"
_LUMINANCE = np.array([299, 587, 114])


def read(path: Path) -> Image:
    """Read grey as one channel (8 or 16 bit), colour as three; alpha that is the same everywhere is dropped.

    Raises:
        DataError: the file is damaged, animated, would lose bits, or has varying transparency.
    """
    return _image(_pixels(_open(path), path))


def read_mask(path: Path) -> Image:
    """Read a mask as one channel of values.

    Grey levels are the values, also where they are stored as colours. A single colour on black is one structure,
    whose value is the colour's luminance. A palette with colours holds values already: its indices.

    Raises:
        DataError: as `read`, or JPEG, or several colours without a palette.
    """
    picture = _open(path)
    if picture.format in ("JPEG", "MPO"):
        raise DataError(
            f"{path} is a mask stored as JPEG, which changes values.",
            "Threshold the masks (at 128 if they are black and white) and save them as PNG.",
        )
    if picture.mode == "P":
        palette = np.array(picture.getpalette("RGB")).reshape(-1, 3)
        if np.ptp(palette, axis=1).any() and not palette[0].any():
            return _image(np.asarray(picture)[np.newaxis])
    return _image(_one_value(_pixels(picture, path), path))


def write(path: Path, image: Image, like: Path | None) -> None:
    """Write one slice of whole numbers as grey: 8 bit, or 16 bit where a value needs it (PNG only).

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


def _image(array: NDArray) -> Image:
    """(channel, y, x) or (1, y, x) as an image one slice deep."""
    return Image(np.ascontiguousarray(array[:, np.newaxis]), np.eye(4), spacing_known=False)


def _open(path: Path) -> Picture:
    from PIL import Image as pillow

    try:
        start = path.read_bytes()[:26]
        picture = pillow.open(path)
        picture.load()
    except Exception as error:  # pillow raises several unrelated types for damaged files
        raise DataError(
            f"{path} cannot be read as an image: {' '.join(str(error).split()) or type(error).__name__}.",
            "The file is damaged or incomplete: copy or export it again.",
        ) from error
    frames = getattr(picture, "n_frames", 1)
    if picture.format == "PNG" and frames > 1:
        raise DataError(f"{path} is animated ({frames} frames).", "Save each frame as a file of its own.")
    # bit depth and colour type stand at fixed places of a PNG; pillow would cut 16-bit colours to 8 bits unasked
    if start.startswith(_PNG_START) and start[24] == 16 and start[25] != 0:
        raise DataError(
            f"{path} holds colours or transparency of 16 bits, of which only 8 could be read.",
            "Save each channel as a 16-bit grey PNG (name_0000.png, name_0001.png), or all as .nii.gz.",
        )
    return picture


def _pixels(picture: Picture, path: Path) -> NDArray:
    """(channel, y, x), one channel or three, uint8 or uint16."""
    mode = picture.mode
    if mode in ("P", "PA"):
        picture = picture.convert("RGBA" if mode == "PA" or "transparency" in picture.info else "RGB")
    elif mode == "1":
        picture = picture.convert("L")
    elif mode not in ("L", "LA", "RGB", "RGBA") and not mode.startswith("I"):
        raise DataError(f"{path} has the colour mode {mode}; expected grey or RGB.", "Convert it to RGB or grey.")
    array = np.asarray(picture)
    if mode.startswith("I"):  # 16-bit grey; some versions of pillow widen it to 32
        array = array.astype(np.uint16)
    array = np.atleast_3d(array).transpose(2, 0, 1)
    if array.shape[0] in (1, 3):
        return array
    colours, alpha = array[:-1], array[-1]
    if alpha.min() != alpha.max():
        raise DataError(
            f"{path} has a transparency that varies ({alpha.min()} to {alpha.max()}): which colour is meant is open.",
            "Draw it on an opaque background and save it without alpha.",
        )
    return colours


def _one_value(array: NDArray, path: Path) -> NDArray:
    """(1, y, x) from grey levels, grey levels in three channels, or one colour on black."""
    if (array == array[:1]).all():
        return array[:1]
    marked = array.astype(bool).max(axis=0)
    colours = np.unique(array[:, marked], axis=1).T
    if len(colours) > 1:
        shown = ", ".join(str(tuple(colour.tolist())) for colour in colours[:4])
        raise DataError(
            f"{path} is a mask of {len(colours)} colours ({shown}{', ...' if len(colours) > 4 else ''}); expected grey "
            "levels, or one colour on black.",
            "Masks by colour are not understood yet: save them as grey PNG with one value per structure.",
        )
    # the luminance keeps the structures of two files apart that each use one colour
    value = max(1, round(float(colours[0] @ _LUMINANCE) / 1000))
    return (marked[np.newaxis] * value).astype(array.dtype)
