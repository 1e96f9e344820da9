"""Write a NIfTI file of real numbers a few planes at a time, whatever the order of their axes.

Probability maps are larger than memory allows at once; the planes come as the sliding window finishes them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from medseg.core.errors import MedsegError
from medseg.core.files import atomic
from medseg.core.image import Image
from medseg.io.formats import gz
from medseg.io.formats.nifti import new_header

Write = Callable[[int, NDArray], None]
"""Takes the number of the first of some planes, and the planes (planes, y, x); called in rising order."""

Turn = Callable[[NDArray], NDArray]
"""A view of an array (channel, z, y, x) with its axes permuted and reversed, from the planes' order to the file's."""

Shape = tuple[int, int, int]

_NO_EXTENSION = bytes(4)  # NIfTI's mark after the header: no extensions follow
_LEVEL, _GZIP_WRAPPER = 1, 31  # the fastest compression; zlib's window bits for a gzip header
_MOST_VOXELS = 1 << 22
"""Voxels that are filled in or reordered at once: 16 MB as float32."""


@contextmanager
def writing_planes(
    path: Path,
    grid: Image,
    like: Path | None,
    planes: tuple[Shape, Turn] | None = None,
    outside: float = 0.0,
    largest: float | None = None,
) -> Iterator[Write]:
    """Give a function that takes planes; the file appears when the block ends without an error, and not before.

    Planes that follow one another in the file too go straight into it; others wait, uncompressed, in a nameless file
    beside it, and are reordered at the end. Memory holds a few planes either way.

    Args:
        path: ends in `.nii` or `.nii.gz`.
        grid: an image on the file's grid; its values do not matter.
        like: a NIfTI file whose geometry fields to copy; see `nifti.write`.
        planes: the shape (z, y, x) of the volume whose planes come, and the function that turns it to the file's axes;
            None if the planes come in the file's own axes.
        outside: the value of planes that are left out.
        largest: None for float32; else values from 0 to this are stored in 16 bits, in half the space.

    Yields:
        The function that takes planes; see `Write`.

    Raises:
        DataError: `like` is on another grid than the image.
        MedsegError: the file cannot be written.
    """
    shape, turn = planes or (grid.shape_zyx, lambda array: array)
    header, dtype, slope = _header(grid, like, largest)

    def encode(values: NDArray) -> NDArray:
        return values.astype(dtype, copy=False) if largest is None else np.rint(values / slope).astype(dtype)

    with _failures(path), atomic(path) as temporary, temporary.open("wb") as stream:
        put, end = _output(stream, path.name.lower().endswith(".gz"))
        put(header)
        if _in_order(shape, turn):
            yield from _all_planes(shape, outside, lambda block: put(_bytes(turn(encode(block)[None]))))
        else:
            with TemporaryFile(dir=path.parent) as waiting:
                yield from _all_planes(shape, outside, lambda block: waiting.write(_bytes(encode(block))))
                waiting.flush()
                for part in _reordered(waiting, dtype, shape, turn):
                    put(_bytes(part))
        end()


def _header(grid: Image, like: Path | None, largest: float | None) -> tuple[bytes, np.dtype, float]:
    """Return the bytes before the voxels, the type of the voxels, and the factor that readers multiply them by."""
    _, header = new_header(grid, like)
    dtype = np.dtype(np.float32 if largest is None else np.uint16)
    slope = 1.0 if largest is None else largest / np.iinfo(np.uint16).max
    header.set_data_dtype(dtype)
    header.set_slope_inter(slope, 0)
    header["magic"], header["vox_offset"] = header.single_magic, header.single_vox_offset
    return header.binaryblock + _NO_EXTENSION, dtype, slope


def _all_planes(shape: Shape, outside: float, put: Callable[[NDArray], Any]) -> Iterator[Write]:
    """Give a `Write` that passes on every plane of a volume, in order, also those left out."""
    next_plane = 0
    at_once = max(1, _MOST_VOXELS // (shape[1] * shape[2]))

    def fill(stop: int) -> None:
        for first in range(next_plane, stop, at_once):
            put(np.full((min(at_once, stop - first), *shape[1:]), outside, np.float32))

    def write(first: int, block: NDArray) -> None:
        nonlocal next_plane
        if not next_plane <= first <= first + len(block) <= shape[0] or block.shape[1:] != shape[1:]:
            raise ValueError(f"planes {block.shape} from {first} do not come after {next_plane} planes of {shape}")
        fill(first)
        put(block)
        next_plane = first + len(block)

    yield write
    fill(shape[0])


def _in_order(shape: Shape, turn: Turn) -> bool:
    """Return whether the first axis of the planes' volume is the file's too, in the same direction."""
    # a view of one byte shows by its strides what the turn does to the axes
    strides = (shape[1] * shape[2], shape[2], 1)
    turned = turn(as_strided(np.empty(1, np.int8), (1, *shape), (0, *strides)))
    return shape[0] == 1 or (turned.shape[1] == shape[0] and turned.strides[1] == strides[0])


def _reordered(waiting: Any, dtype: np.dtype, shape: Shape, turn: Turn) -> Iterator[NDArray]:
    """Yield a volume that was written plane by plane, in parts that follow one another in the file."""
    volume = np.memmap(waiting, dtype, "r", shape=(1, *shape))
    turned = turn(volume)[0]
    at_once = max(1, _MOST_VOXELS // (turned.shape[1] * turned.shape[2]))
    for first in range(0, len(turned), at_once):
        yield turned[first : first + at_once]


def _bytes(block: NDArray) -> memoryview:
    return np.ascontiguousarray(block).reshape(-1).view(np.uint8).data


def _output(stream: BinaryIO, packed: bool) -> tuple[Callable[[Any], Any], Callable[[], Any]]:
    """Return the function that writes bytes to a file, as gzip if `packed`, and the one to call after the last."""
    if not packed:
        return stream.write, stream.flush
    packer = gz.engine.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WRAPPER)
    return lambda data: stream.write(packer.compress(data)), lambda: stream.write(packer.flush())


@contextmanager
def _failures(path: Path) -> Iterator[None]:
    """Turn an error of the operating system into one that names the file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise MedsegError(f"{path} cannot be written: {reason}.", "Free some space, or check permissions.") from None
