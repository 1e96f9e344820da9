"""Interpret the values in a label file: from what is stored to the structures' values, as the plan's `reading` says.

Nothing is guessed from a single file: what is soft, blurred or coloured is refused with the values seen and the option
that settles it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.io.values.soft import is_soft
from medseg.plans.sections.reading import Reading

_WHOLE_NUMBER_TOLERANCE = 1e-3  # label maps scaled by a tiny slope are whole numbers up to float32 rounding
_MOST_SHOWN = 8
_LONGEST_LOOKUP = 1 << 16  # entries; values farther apart are searched instead of looked up
_JPEG_START = b"\xff\xd8\xff"
_LUMINANCE = np.array([299, 587, 114])  # in thousandths: red, green and blue in a grey level (ITU-R BT.601)


def interpret_values(array: NDArray, path: Path, reading: Reading) -> NDArray[np.integer]:
    """Return the label map that the values of a file mean.

    In this order: colours are looked up; a threshold (on the brightest of red, green and blue) makes 0 and 1; grey or
    one colour on black, stored in three channels, becomes one value; whole numbers are rounded; values are mapped.

    Args:
        array: (channel, z, y, x), as the file stores it.
        path: the file, for messages.
        reading: what the user said about the values.

    Returns:
        (1, z, y, x) whole numbers.

    Raises:
        DataError: with the values seen and the option that settles it.
    """
    if reading.colours:
        array = _look_up(array, path, reading.colours)
    elif array.shape[0] == 3:
        array = _single_channel(array) if reading.threshold is None else array.max(axis=0, keepdims=True)
    if array.shape[0] != 1:
        _refuse_channels(array, path)
    if reading.threshold is not None:
        _refuse_nan(array, str(path))  # a comparison would make them background
        array = (array >= reading.threshold).astype(np.uint8)
    else:
        _refuse_blur(array, path, reading)
    values = whole_numbers(array, str(path))
    return map_values(values, reading.map) if reading.map else values


def whole_numbers(array: NDArray, source: str) -> NDArray[np.integer]:
    """Return labels as integers; floating-point values that are whole numbers up to rounding are accepted.

    Args:
        array: the values, of any shape.
        source: the file, for messages.

    Returns:
        The array itself if it holds integers, else 8, 32 or 64-bit integers.

    Raises:
        DataError: a value is not a whole number.
    """
    if array.dtype.kind in "iu":
        return array
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    rounded = np.rint(array)
    with np.errstate(invalid="ignore"):  # infinity minus infinity; it is not a whole number either
        odd = ~(np.abs(array - rounded) <= _WHOLE_NUMBER_TOLERANCE)
    _refuse_nan(array, source)
    if odd.any():
        raise DataError(
            f"{source} holds labels that are not whole numbers: {shown_values(array[odd])}.",
            f"A soft mask needs --threshold: --threshold {_middle(array):.3g} takes what is at least that as the "
            "structure. An interpolated label map has to be made again with nearest-neighbour interpolation.",
            "soft label",
        )
    wide = np.abs(rounded).max(initial=0) > np.iinfo(np.int32).max
    return rounded.astype(np.int64 if wide else np.int32)


def _refuse_nan(array: NDArray, source: str) -> None:
    """Refuse label values that are NaN, which mean neither background nor a structure."""
    nan = int(np.isnan(array).sum()) if array.dtype.kind == "f" else 0
    if nan:
        raise DataError(
            f"{source} holds NaN in {nan} of {array.size} voxels of a label map; expected whole numbers.",
            "Write 0 (background) there, or the ignore value if these voxels were not annotated.",
            "not finite",
        )


def refuse_soft(array: NDArray[np.integer], source: str) -> None:
    """Refuse whole numbers that are the smoothed edge of something, where nothing says that they are structures.

    Args:
        array: (..., y, x) whole numbers.
        source: the file, for messages.

    Raises:
        DataError: with the values seen.
    """
    if is_soft(array):
        raise DataError(
            f"{source} holds {shown_values(array)}, nearly all of them at edges, between a smaller and a larger "
            "neighbour: it is a soft, interpolated or blurred mask.",
            f"--threshold {_middle(array):.0f} takes what is at least that as the structure; of several structures, "
            "--map 100-160=1 takes a range of values as one. Declared structures (--structures NAME=VALUE) are taken "
            "as they stand.",
            "soft label",
        )


def map_values(values: NDArray[np.integer], table: dict[int | str, int]) -> NDArray[np.integer]:
    """Return values replaced as `Reading.map` says; values that it does not name stay.

    Args:
        values: whole numbers of any shape.
        table: the new value by the old one (`3`), or by a range (`"100-255"`). A single value goes before a range.

    Returns:
        64-bit integers of the same shape.

    >>> map_values(np.array([0, 3, 120]), {"100-255": 1, 3: 2}).tolist()
    [0, 2, 1]
    """
    present = np.unique(values)
    replaced = present.astype(np.int64)
    for source, target in sorted(table.items(), key=lambda item: isinstance(item[0], int)):  # single values last
        low, high = Reading.bounds(source)
        replaced[(present >= low) & (present <= high)] = target
    low, high = int(present[0]), int(present[-1])
    if high - low > _LONGEST_LOOKUP:
        return replaced[np.searchsorted(present, values)]
    # several times faster than searching each voxel
    lookup = np.zeros(high - low + 1, np.int64)
    lookup[present - low] = replaced
    return lookup[values - low]


def shown_values(array: NDArray) -> str:
    """Return the values of an array in words for messages: all of a few, else their number and some of them."""
    present = np.unique(array)
    if present.size <= _MOST_SHOWN:
        return ", ".join(f"{value:.6g}" for value in present.tolist())
    some = present[np.linspace(0, present.size - 1, _MOST_SHOWN).astype(int)]
    return f"{present.size} values such as {', '.join(f'{value:.6g}' for value in some.tolist())}"


def packed_colours(array: NDArray) -> NDArray[np.int32]:
    """Return grey or colour of 8 bits, (1 or 3, z, y, x), as (z, y, x) numbers 0xRRGGBB."""
    red, green, blue = array.astype(np.int32) if array.shape[0] == 3 else np.repeat(array, 3, 0).astype(np.int32)
    return (red << 16) | (green << 8) | blue


def hex_colour(packed: int) -> str:
    """Return 0xRRGGBB as `#rrggbb`."""
    return f"#{packed:06x}"


def _single_channel(array: NDArray) -> NDArray:
    """Return (3, z, y, x) as (1, z, y, x) if it holds grey levels, or one colour on black; else as it is.

    A single colour is one structure, whose value is the colour's luminance: it keeps the structures of two files apart
    that each use one colour.
    """
    if (array == array[:1]).all():
        return array[:1]
    marked: NDArray[np.bool_] = np.any(array != 0, axis=0)
    first = array[(slice(None), *(indices[0] for indices in np.nonzero(marked)))]
    if (array[:, marked] != first[:, np.newaxis]).any():
        return array
    value = max(1, round(float(first @ _LUMINANCE) / 1000))
    return (marked[np.newaxis] * value).astype(array.dtype)


def _look_up(array: NDArray, path: Path, colours: dict[str, int]) -> NDArray[np.integer]:
    """Return the value (1, z, y, x) of each colour (1 or 3, z, y, x)."""
    if array.shape[0] not in (1, 3) or array.dtype != np.uint8:
        raise DataError(
            f"{path} holds {array.shape[0]} channels of {array.dtype}; colours are looked up in pictures of 8 bits.",
            "Leave this file out, or leave --colours out.",
            "colour label",
        )
    packed = packed_colours(array)
    table = {int(colour[1:], 16): value for colour, value in colours.items()}
    unknown = [colour for colour in np.unique(packed).tolist() if colour not in table]
    if unknown:
        some = ", ".join(
            f"{hex_colour(colour)} in {int((packed == colour).sum())} pixels" for colour in unknown[:_MOST_SHOWN]
        )
        raise DataError(
            f"{path} has {len(unknown)} colour{'s' * (len(unknown) > 1)} that no structure has: {some}"
            f"{', ...' * (len(unknown) > _MOST_SHOWN)}; known are {', '.join(colours)}.",
            "Name them (--colours 'tumour=#ff0000'), or draw the mask again without smoothed edges.",
            "unknown label",
        )
    known = np.array(sorted(table))
    values = np.array([table[colour] for colour in known.tolist()])
    return values[np.searchsorted(known, packed)][np.newaxis]


def _refuse_channels(array: NDArray, path: Path) -> None:
    """Raise the error for a label file of several channels."""
    if array.shape[0] != 3 or array.dtype != np.uint8:
        raise DataError(
            f"{path} holds {array.shape[0]} channels; a label file holds one value per voxel.",
            "Merge the channels into one map in which each structure has a value of its own.",
            "label channels",
        )
    present = np.unique(array.reshape(3, -1), axis=1).T
    some = ", ".join("#" + "".join(f"{int(part):02x}" for part in colour) for colour in present[:_MOST_SHOWN])
    raise DataError(
        f"{path} is a mask in {len(present)} colours ({some}{', ...' * (len(present) > _MOST_SHOWN)}), and it is not "
        "known which of them is which structure.",
        "Name them: --colours 'liver=#ff0000', repeated, or --colours TABLE.csv with the columns name and colour.",
        "colour label",
    )


def _refuse_blur(array: NDArray, path: Path, reading: Reading) -> None:
    """Refuse a mask stored as JPEG, whatever its name, and a soft mask of which `map` covers only some values."""
    blurred = _is_jpeg(path)
    if not blurred and not (any(isinstance(source, str) for source in reading.map) and is_soft(array)):
        return
    ranges = [Reading.bounds(source) for source in reading.map]
    covered = [(array >= low) & (array <= high) for low, high in ranges]
    rest = array[~np.any(covered, axis=0)] if covered else array
    rest = rest[rest != 0]
    if not rest.size:
        return
    unmapped = f"; --map does not name {shown_values(rest)}" if reading.map else ""
    what = "is a mask stored as JPEG, which changes values; it holds" if blurred else "is a soft mask; it holds"
    raise DataError(
        f"{path} {what} {shown_values(array)}{unmapped}.",
        f"--threshold {_middle(array):.0f} takes what is at least that as the structure; ranges of values, such as "
        "--map 0-99=0 --map 100-255=1, have to cover everything; better, export the masks again as PNG.",
        "lossy label" if blurred else "soft label",
    )


def _is_jpeg(path: Path) -> bool:
    if not path.name.lower().endswith((".jpg", ".jpeg", ".png", ".bmp", ".gif")):
        return False
    with path.open("rb") as stream:
        return stream.read(3) == _JPEG_START


def _middle(array: NDArray) -> float:
    """Return the number halfway between the smallest and the largest value: a threshold to propose."""
    return (float(array.min()) + float(array.max())) / 2
