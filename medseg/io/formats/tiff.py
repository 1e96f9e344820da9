"""TIFF: grey and colour of any depth, stacks of pages, BigTIFF, ImageJ's and OME's, with spacing where it is known."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.files import atomic
from medseg.core.image import Image
from medseg.io.formats import content
from medseg.io.formats.nifti import smallest_integer
from medseg.io.formats.stack import Stack, native, opaque, usable_affine
from medseg.io.formats.tiff_directory import check_directories
from medseg.io.formats.tiff_spacing import side_file, spacing_zyx

if TYPE_CHECKING:
    import tifffile

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # it logs what it also raises
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_PHOTOMETRIC = (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR)
_LOSSY = (6, 7, 34892)  # the kinds of JPEG
_UNPACKED = (1, 8, 32773, 32946, 34925)  # nothing, deflate, PackBits, deflate, LZMA
_PREDICTED = (1, 2)  # nothing, differences
_UNNAMED = "IQ"
_MOST_PER_BYTE = 3000  # pixels that one byte of such a file can stand for: LZW's longest strings
_IMAGEJ = (np.dtype(np.uint8), np.dtype(np.uint16))


def read(path: Path) -> Stack:
    """Read numbers as stored; palettes as their colours, grey with white as zero turned so that bright is high.

    Pages are slices, unless the file (ImageJ, OME) says that they are channels or points in time.

    Raises:
        DataError: the file is damaged, holds several images, or colours other than grey and RGB.
    """
    return _read(path, mask=False)


def read_mask(path: Path) -> Stack:
    """Read label values as stored: indices of a palette, whichever of black and white is zero.

    Raises:
        DataError: as `read`, or JPEG inside.
    """
    return _read(path, mask=True)


def parts(path: Path) -> list[Path]:
    """The file, and the one beside it that holds its spacing."""
    beside = side_file(path)
    return [path] if beside is None else [path, beside]


def write(path: Path, image: Image, like: Path | None) -> None:
    """Write one channel of whole numbers in the smallest type, packed; the tags of ImageJ or OME hold the spacing.

    Raises:
        DataError: the axes of the grid are turned, which TIFF cannot say.
    """
    import tifffile

    array = image.array[0]
    array = np.ascontiguousarray(array if array.shape[0] > 1 else array[0], smallest_integer(array))
    settings: dict[str, Any] = {"compression": "zlib", "photometric": "minisblack"}
    if image.spacing_known:
        _check_straight(image, path)
        z, y, x = image.spacing_mm
        axes = "ZYX"[3 - array.ndim :]
        imagej = array.dtype in _IMAGEJ
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
    import tifffile

    check_directories(path)
    with tifffile.TiffFile(path) as tiff:
        series = tiff.series
        if len(series) != 1:
            sizes = ", ".join(" x ".join(map(str, one.shape)) for one in series[:4])
            raise DataError(f"{path} holds {len(series)} images ({sizes}).", "Save each as a file of its own.")
        page = series[0].keyframe
        _check_readable(page, series[0], path, mask)
        array, axes = _named(_pixels(tiff, path), series[0].axes, path)
        unnamed = any(axis in _UNNAMED for axis in series[0].axes)
        array = _meant(array, page, mask)
        if page.photometric == _RGB and array.shape[1] == 4:
            array = opaque(array, path)
        spacing = spacing_zyx(tiff, array.shape[2], path)
    step = np.diag([*(spacing or (1.0, 1.0, 1.0))[::-1], 1.0])
    affine = usable_affine(step, path, "Its resolution, or the spacing in the file beside it,")
    return Stack(native(array), affine, spacing is not None, "T" in axes, unnamed)


def _check_readable(page: Any, series: tifffile.TiffPageSeries, path: Path, mask: bool) -> None:
    """Refuse what would be misread, and sizes that the file cannot hold, before memory is claimed for them."""
    if page.dtype is None or page.dtype.kind not in "biuf":
        raise DataError(f"{path} holds no whole or real numbers (its type is {page.dtype}).", "Save it as those.")
    if page.photometric not in _PHOTOMETRIC:
        raise DataError(f"{path} has the colours {page.photometric!s}; expected grey or RGB.", "Convert it.")
    if mask and page.compression in _LOSSY:
        raise DataError(
            f"{path} is a mask packed as JPEG, which changes values.",
            "Threshold the masks (at half of their largest value if they are black and white) and save them unpacked.",
        )
    plain = page.compression == 1 and page.bitspersample % 8 == 0
    content.check_claim(path, series.shape, page.dtype.itemsize if plain else 1, 1 if plain else _MOST_PER_BYTE)
    size = path.stat().st_size
    for part in series.pages:
        places = zip(part.dataoffsets, part.databytecounts, strict=False) if part is not None else [(0, 0)]
        if any(length < 1 or start + length > size for start, length in places):
            raise content.damaged(path, "pixels that it declares lie outside of the file")


def _pixels(tiff: tifffile.TiffFile, path: Path) -> NDArray:
    """The pixels of the only series, by tifffile, or by pillow where tifffile cannot unpack them."""
    series = tiff.series[0]
    page = series.keyframe
    unpacks = page.compression in _UNPACKED and page.predictor in _PREDICTED
    if not unpacks and find_spec("imagecodecs") is None:
        pages = [_by_pillow(path, int(part.index), page) for part in series.pages if part is not None]
        return np.stack(pages).reshape(series.shape)
    return np.asarray(series.asarray(maxworkers=1)).reshape(series.shape)


def _by_pillow(path: Path, index: int, page: Any) -> NDArray:
    from PIL import Image as pillow

    with pillow.open(path, formats=("TIFF",)) as picture:
        picture.seek(index)
        array = np.asarray(picture)
        if picture.mode in ("1", "L") and page.photometric == _WHITE_IS_ZERO:
            array = ~array  # pillow has turned it
    if array.dtype != page.dtype or array.size != prod(page.shape):
        raise DataError(
            f"{path} is packed ({page.compression.name}) with {page.bitspersample} bits a sample, which cannot be "
            "unpacked without loss.",
            "Save it without compression, or install the package imagecodecs, which unpacks it.",
        )
    return array


def _named(array: NDArray, axes: str, path: Path) -> tuple[NDArray, str]:
    """(volume, component, z, y, x) by the names of the axes; pages without a name are slices."""
    kept = [place for place, axis in enumerate(axes) if array.shape[place] > 1 or axis in "YX"]
    array, axes = array.reshape([array.shape[place] for place in kept]), "".join(axes[place] for place in kept)
    if "Z" not in axes:
        last = max((place for place, axis in enumerate(axes) if axis in _UNNAMED), default=None)
        axes = axes if last is None else axes[:last] + "Z" + axes[last + 1 :]
    odd = [axis for axis in axes if axis not in "TCSZYX" + _UNNAMED]
    if odd or len(set(axes)) != len(axes) or not {"Y", "X"} <= set(axes):
        raise DataError(
            f"{path} has the axes {axes} of {' x '.join(map(str, array.shape))}; expected some of T, C, Z, Y, X.",
            "Save it with these, for example with Fiji.",
        )
    groups = [
        [place for place, axis in enumerate(axes) if axis in names] for names in ("T" + _UNNAMED, "CS", "Z", "Y", "X")
    ]
    shape = [prod(array.shape[place] for place in group) for group in groups]
    return array.transpose([place for group in groups for place in group]).reshape(shape), axes


def _meant(array: NDArray, page: Any, mask: bool) -> NDArray:
    """Stored numbers (volume, component, z, y, x) to what they stand for."""
    if array.dtype == bool:
        white = array != (page.photometric == _WHITE_IS_ZERO)
        return white.astype(np.uint8) * np.uint8(255)
    if mask:
        return array
    if page.photometric == _PALETTE and array.shape[1] == 1:
        colours = np.asarray(page.colormap)[:, array[:, 0]]  # 16 bits each
        colours = np.moveaxis(colours, 0, 1)
        low, high = page.colormap & 255, page.colormap >> 8
        return (colours >> 8).astype(np.uint8) if ((low == 0) | (low == high)).all() else colours
    if page.photometric == _WHITE_IS_ZERO and array.dtype.kind == "u":
        return ((1 << page.bitspersample) - 1 - array).astype(array.dtype)
    return array


def _check_straight(image: Image, path: Path) -> None:
    steps = image.affine[:3, :3]
    if np.abs(steps - np.diag(np.abs(np.diag(steps)))).max() > 1e-6 * np.abs(steps).max():
        raise DataError(f"{path}: TIFF cannot say how the axes of this grid run.", "Write .nii.gz instead.")
