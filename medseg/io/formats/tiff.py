"""Read and write TIFF: grey and colour of any depth, stacks of pages, BigTIFF, ImageJ's and OME's.

The spacing comes from a file beside it, OME's or ImageJ's description, or the resolution tags.
"""

from __future__ import annotations

import logging
import re
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.files import atomic
from medseg.core.image import Image
from medseg.core.json_text import parse_json
from medseg.io.formats import content
from medseg.io.formats.ome import check_set, first_file, other_files, pixel_size_zyx
from medseg.io.formats.stack import (
    ORIENTATION_TAG,
    Stack,
    as_shown,
    mm_in,
    native,
    number_in,
    opaque,
    orientation_notes,
    smallest_integer,
    usable_affine,
)
from medseg.io.formats.tiff_directory import check_directories

if TYPE_CHECKING:
    import tifffile

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # it logs what it also raises
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_PHOTOMETRIC = (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR)
_JPEG = (6, 7, 34892)  # numbers of compressions, as those that follow
_UNPACKED_BY_TIFFFILE = (1, 8, 32773, 32946, 34925)  # none, deflate, PackBits, deflate, LZMA
_WHOLE_BITS = (1, 8, 16, 32, 64)  # bits of a sample that tifffile unpacks alone
_PREDICTORS = (1, 2)  # none, differences of neighbours
_UNNAMED = "IQ"  # tifffile's letters for axes that the file does not name
_MOST_PER_BYTE = 3000  # pixels that one byte of such a file can stand for: LZW's longest strings
_IMAGEJ_TYPES = (np.dtype(np.uint8), np.dtype(np.uint16))
_Spacing = tuple[float, float, float]
_TIFF_SUFFIX = re.compile(r"(\.ome)?\.tiff?$", re.IGNORECASE)
_CHANNEL = re.compile(r"_\d{4}$")
_SWAPPED = (5, 6, 7, 8)  # orientations in which stored rows are shown as columns
_INCH, _CENTIMETRE = 2, 3
_MM_PER_UNIT = {_INCH: 25.4, _CENTIMETRE: 10.0}
_PRINTER_DPI = (72, 96, 100, 120, 150, 180, 200, 240, 254, 300, 350, 360, 400, 600, 720, 1200, 2400)
"""Dots per inch that programs write where they know nothing of the object."""


def read(path: Path) -> Stack:
    """Read numbers as stored; palettes as their colours, grey with white as zero turned so that bright is high.

    Pages are slices, unless the file (ImageJ, OME) says that they are channels or points in time.

    Returns:
        The pixels, with their spacing if it is known.

    Raises:
        DataError: the file is damaged, holds several images, or colours other than grey and RGB.
    """
    return _read(path, mask=False)


def read_mask(path: Path) -> Stack:
    """Read label values as stored: indices of a palette, whichever of black and white is zero.

    Returns:
        The label values, with their spacing if it is known.

    Raises:
        DataError: as `read`, or JPEG inside.
    """
    return _read(path, mask=True)


def parts(path: Path) -> list[Path]:
    """Return the file, the one beside it that holds its spacing, and the others of an OME image of several files."""
    beside = _side_file(path)
    others = [file for file in _ome_files(path) if file.is_file()]
    return [path, *([] if beside is None else [beside]), *others]


def _ome_files(path: Path) -> list[Path]:
    """Return the other files of an OME image; [] also for a file that cannot be read, which `read` names."""
    try:
        text = _ome_text(path)
        return [] if text is None else other_files(path, text)
    except Exception:  # whatever is wrong with it
        return []


def read_with(path: Path) -> Path | None:
    """Return the file with which an OME-TIFF is read, as the first one of their set; None for a file of its own."""
    try:
        text = _ome_text(path)
        return None if text is None else first_file(path, text)
    except Exception:  # said when it is read
        return None


def _ome_text(path: Path) -> str | None:
    """Return the description of an OME image in XML; None for other files."""
    import tifffile

    check_directories(path)
    with tifffile.TiffFile(path) as tiff:
        return (tiff.ome_metadata or "") if tiff.is_ome else None


def write(path: Path, image: Image, like: Path | None) -> None:
    """Write a label map in the smallest type, packed; the tags of ImageJ or OME hold the spacing.

    A single slice whose axes are turned, such as one of NIfTI in LPS, is written as PNG is: its pixels as they are
    stored, without a spacing, since no tag says how the axes run.

    Args:
        path: the file.
        image: one channel of whole numbers.
        like: not used: the spacing of the scan is that of the image.

    Raises:
        DataError: the axes of a volume are turned, which TIFF cannot say.
    """
    import tifffile

    array = image.array[0]
    array = np.ascontiguousarray(array if array.shape[0] > 1 else array[0], smallest_integer(array))
    settings: dict[str, Any] = {"compression": "zlib", "photometric": "minisblack"}
    straight = _is_straight(image)
    if image.spacing_known and not straight and array.ndim == 3:
        raise DataError(f"{path}: TIFF cannot say how the axes of this grid run.", "Write .nii.gz instead.")
    if image.spacing_known and straight:
        z, y, x = image.spacing_mm
        axes = "ZYX"[3 - array.ndim :]
        imagej = array.dtype in _IMAGEJ_TYPES
        settings |= {"imagej": imagej, "ome": not imagej}
        settings |= {"resolution": (10 / x, 10 / y), "resolutionunit": "CENTIMETER"}
        if imagej:
            settings["metadata"] = {"axes": axes, "spacing": z / 10, "unit": "cm"}
        else:
            sizes = {f"PhysicalSize{name}": size for name, size in zip("ZYX", (z, y, x), strict=True)}
            settings["metadata"] = {"axes": axes, **sizes, **{f"{name}Unit": "mm" for name in sizes}}
    with atomic(path) as temporary:
        tifffile.imwrite(temporary, array, **settings)


def _read(path: Path, mask: bool) -> Stack:
    """Read a file, with label values as they are stored if `mask`."""
    import tifffile

    check_directories(path)
    with tifffile.TiffFile(path) as tiff:
        files = [path]
        if tiff.is_ome:
            check_set(path, tiff.ome_metadata or "")
            files += other_files(path, tiff.ome_metadata or "")
            for file in files[1:]:
                check_directories(file)
        series = tiff.series
        if len(series) != 1:
            sizes = ", ".join(" x ".join(map(str, image.shape)) for image in series[:4])
            raise DataError(f"{path} holds {len(series)} images ({sizes}).", "Save each as a file of its own.")
        page = series[0].keyframe
        _check_readable(page, series[0], files, mask)
        array, axes = _named(_pixels(tiff, path), series[0].axes, path)
        unnamed = any(axis in _UNNAMED for axis in series[0].axes)
        array = _interpret(array, page, mask)
        if page.photometric == _RGB and array.shape[1] == 4:
            array = opaque(array, path)
        spacing = _spacing_zyx(tiff, array.shape[2], path)
        orientation = _orientation(page)
        array = as_shown(array, orientation)
        if spacing is not None and orientation in _SWAPPED and _side_file(path) is None:
            spacing = (spacing[0], spacing[2], spacing[1])  # the tags are about stored rows and columns
    step = np.diag([*(spacing or (1.0, 1.0, 1.0))[::-1], 1.0])
    affine = usable_affine(step, path, "Its resolution, or the spacing in the file beside it,")
    notes = orientation_notes(path, orientation)
    nnunet_spacing = None if _from_side_file(path) is not None else (1.0, 1.0, 1.0)  # Tiff3DIO reads no tags
    return Stack(
        native(array),
        affine,
        spacing is not None,
        "T" in axes,
        unnamed,
        notes,
        nnunet_spacing=nnunet_spacing,
        picture_orientation=orientation,
    )


def _orientation(page: Any) -> int:
    """Return the tag 274 of a page, 1 to 8; 1 where there is none, or one that means nothing."""
    tag = page.tags.get(ORIENTATION_TAG)
    value = 1 if tag is None else tag.value
    return int(value) if isinstance(value, int) and 1 <= value <= 8 else 1


def _check_readable(page: Any, series: tifffile.TiffPageSeries, files: list[Path], mask: bool) -> None:
    """Refuse what would be misread, and sizes that the files cannot hold, before memory is claimed for them."""
    path = files[0]
    if page.dtype is None or page.dtype.kind not in "biuf":
        raise DataError(f"{path} holds no whole or real numbers (its type is {page.dtype}).", "Save it as those.")
    if page.photometric not in _PHOTOMETRIC:
        raise DataError(f"{path} has the colours {page.photometric!s}; expected grey or RGB.", "Convert it.")
    if mask and page.compression in _JPEG:
        raise DataError(
            f"{path} is a mask packed as JPEG, which changes values.",
            "Threshold the masks (at half of their largest value if they are black and white) and save them unpacked.",
        )
    plain = page.compression == 1 and page.bitspersample % 8 == 0
    bytes_of = {file.name: file.stat().st_size for file in files}
    most = len(files) * (1 if plain else _MOST_PER_BYTE)  # the files of an image are about equal
    content.check_claim(
        max(files, key=lambda file: bytes_of[file.name]), series.shape, page.dtype.itemsize if plain else 1, most
    )
    for part in series.pages:
        size = bytes_of.get(part.parent.filehandle.name, 0) if part is not None else 0
        pieces = zip(part.dataoffsets, part.databytecounts, strict=False) if part is not None else [(0, 0)]
        if any(length < 1 or start + length > size for start, length in pieces):
            raise content.damaged(path, "pixels that it declares lie outside of the file")


def _pixels(tiff: tifffile.TiffFile, path: Path) -> NDArray:
    """Return the pixels of the only series, by tifffile, or by pillow if tifffile cannot unpack them."""
    series = tiff.series[0]
    page = series.keyframe
    unpacks = page.compression in _UNPACKED_BY_TIFFFILE and page.predictor in _PREDICTORS
    unpacks = unpacks and page.bitspersample in _WHOLE_BITS
    if not unpacks and find_spec("imagecodecs") is None:
        pages = [
            _by_pillow(Path(part.parent.filehandle.path), int(part.index), page)
            for part in series.pages
            if part is not None
        ]
        return np.stack(pages).reshape(series.shape)
    return np.asarray(series.asarray(maxworkers=1)).reshape(series.shape)


def _by_pillow(path: Path, index: int, page: Any) -> NDArray:
    """Return the pixels of a page as pillow reads them, if it neither loses bits nor changes their number."""
    from PIL import Image as pillow

    with pillow.open(path, formats=("TIFF",)) as picture:
        picture.seek(index)
        array = np.asarray(picture)
        orientation = _orientation(page)
        if (
            picture.getexif().get(ORIENTATION_TAG, 1) != orientation
        ):  # pillow has turned the picture: back to what is stored
            undone = {6: 8, 8: 6}.get(orientation, orientation)
            array = np.moveaxis(as_shown(np.moveaxis(np.atleast_3d(array), -1, 0), undone), 0, -1)
            array = array[..., 0] if array.shape[-1] == 1 else array
        if picture.mode in ("1", "L") and page.photometric == _WHITE_IS_ZERO:
            array = ~array  # pillow has inverted it
        if picture.mode == "L" and page.bitspersample in (2, 4):
            array = array // (255 // (2**page.bitspersample - 1))  # pillow has spread them over 0 to 255
    if array.dtype != page.dtype or array.size != prod(page.shape):
        raise DataError(
            f"{path} is packed ({page.compression.name}) with {page.bitspersample} bits a sample, which cannot be "
            "unpacked without loss.",
            "Save it without compression, or install the package imagecodecs, which unpacks it.",
        )
    return array


def _named(array: NDArray, axes: str, path: Path) -> tuple[NDArray, str]:
    """Return (volume, component, z, y, x) and the names of the axes; pages without a name are slices."""
    used = [number for number, axis in enumerate(axes) if array.shape[number] > 1 or axis in "YX"]
    array, axes = array.reshape([array.shape[number] for number in used]), "".join(axes[number] for number in used)
    if "Z" not in axes:
        last = max((number for number, axis in enumerate(axes) if axis in _UNNAMED), default=None)
        axes = axes if last is None else axes[:last] + "Z" + axes[last + 1 :]
    odd = [axis for axis in axes if axis not in "TCSZYX" + _UNNAMED]
    if odd or len(set(axes)) != len(axes) or not {"Y", "X"} <= set(axes):
        raise DataError(
            f"{path} has the axes {axes} of {' x '.join(map(str, array.shape))}; expected some of T, C, Z, Y, X.",
            "Save it with these, for example with Fiji.",
        )
    groups = [
        [number for number, axis in enumerate(axes) if axis in names] for names in ("T" + _UNNAMED, "CS", "Z", "Y", "X")
    ]
    shape = [prod(array.shape[number] for number in group) for group in groups]
    return array.transpose([number for group in groups for number in group]).reshape(shape), axes


def _interpret(array: NDArray, page: Any, mask: bool) -> NDArray:
    """Return stored numbers (volume, component, z, y, x) as meant: colours of a palette, white as zero turned."""
    if array.dtype == bool:
        white = array != (page.photometric == _WHITE_IS_ZERO)
        return white.astype(np.uint8) * np.uint8(255)
    if mask:
        return array
    if page.photometric == _PALETTE and array.shape[1] == 1:
        colours = np.asarray(page.colormap)[:, array[:, 0]]  # 16 bits each
        colours = np.moveaxis(colours, 0, 1)
        # a palette of 8 bits is stored as multiples of 256, or of 257
        low, high = page.colormap & 255, page.colormap >> 8
        return (colours >> 8).astype(np.uint8) if ((low == 0) | (low == high)).all() else colours
    if page.photometric == _WHITE_IS_ZERO and array.dtype.kind == "u":
        return ((1 << page.bitspersample) - 1 - array).astype(array.dtype)
    return array


def _is_straight(image: Image) -> bool:
    """Return whether the axes of a grid run along x, y and z."""
    steps = image.affine[:3, :3]
    return bool(np.abs(steps - np.diag(np.abs(np.diag(steps)))).max() <= 1e-6 * np.abs(steps).max())


def _spacing_zyx(tiff: Any, slices: int, path: Path) -> _Spacing | None:
    """Return the distance of voxels in mm along z, y and x; None if it is not known.

    Args:
        tiff: tifffile's open file.
        slices: their number; for a single one, the distance of slices does not matter.
        path: the file. `{"spacing": [z, y, x]}` in CASE.json beside it goes before everything else, for CASE_0000.tif
            as well (nnU-Net's convention).

    Raises:
        DataError: the file beside it is not understood.
    """
    beside = _from_side_file(path)
    if beside is not None:
        return beside
    spacing: _Spacing | None
    if tiff.is_ome:
        spacing = pixel_size_zyx(tiff.ome_metadata or "")
    elif tiff.is_imagej:
        spacing = _from_imagej(tiff)
    else:
        spacing = _from_tags(tiff)
    if spacing is None or not all(0 < size < float("inf") for size in spacing[1:]):
        return None
    if not 0 < spacing[0] < float("inf"):
        return None if slices > 1 else (1.0, spacing[1], spacing[2])
    return spacing


def _side_file(path: Path) -> Path | None:
    """Return the file beside a TIFF that may hold its spacing."""
    stem = _TIFF_SUFFIX.sub("", path.name)
    names = (f"{stem}.json", f"{_CHANNEL.sub('', stem)}.json")
    return next((beside for name in names if (beside := path.with_name(name)).is_file()), None)


def _from_side_file(path: Path) -> _Spacing | None:
    """Return the spacing in the JSON file beside a TIFF; None if there is no such file, or no spacing in it."""
    beside = _side_file(path)
    if beside is None:
        return None
    try:
        values = parse_json(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{beside} is not JSON: {error}.", 'Expected {"spacing": [z, y, x]} in millimetres.') from None
    if not isinstance(values, dict) or "spacing" not in values:
        return None  # it is about something else
    spacing = values["spacing"]
    if (
        not isinstance(spacing, list)
        or not 2 <= len(spacing) <= 3
        or not all(isinstance(size, int | float) and 0 < size < float("inf") for size in spacing)
    ):
        raise DataError(f"{beside}: spacing is {spacing!r}; expected two or three numbers: [z, y, x] in millimetres.")
    z, y, x = spacing if len(spacing) == 3 else (1.0, *spacing)
    return float(z), float(y), float(x)


def _from_imagej(tiff: Any) -> _Spacing | None:
    """Return the spacing from ImageJ's distance of slices and pixels per unit."""
    description = tiff.imagej_metadata or {}
    unit = mm_in(str(description.get("unit", "")))
    per_unit = _per_unit(tiff)
    if unit is None or per_unit is None:
        return None
    return number_in(description.get("spacing", 0)) * unit, unit / per_unit[0], unit / per_unit[1]


def _from_tags(tiff: Any) -> _Spacing | None:
    """Return the spacing from pixels per centimetre or inch, unless programs write these by habit; 0 for slices."""
    page = tiff.pages[0]
    unit, per_unit = page.tags.get("ResolutionUnit"), _per_unit(tiff)
    mm = _MM_PER_UNIT.get(int(unit.value)) if unit is not None and isinstance(unit.value, int) else None
    if mm is None or per_unit is None:
        return None
    if all(any(abs(count * 25.4 / mm - dpi) < 0.01 * dpi for dpi in _PRINTER_DPI) for count in per_unit):
        return None
    return 0.0, mm / per_unit[0], mm / per_unit[1]


def _per_unit(tiff: Any) -> tuple[float, float] | None:
    """Return the pixels per unit of length along y and x."""
    tags = [tiff.pages[0].tags.get(name) for name in ("YResolution", "XResolution")]
    per_unit = []
    for tag in tags:
        if tag is None or not isinstance(tag.value, tuple) or len(tag.value) != 2 or 0 in tag.value:
            return None
        per_unit.append(tag.value[0] / tag.value[1])
    return per_unit[0], per_unit[1]
