"""Values as they stand in a label file, to the values meant, as the plan's `reading` says.

Nothing is guessed from a single file: what is soft, blurred or coloured is refused with the values seen and the option
that settles it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.io.values.soft import is_soft
from medseg.plans.sections import Reading

_WHOLE_NUMBER_TOLERANCE = 1e-3
_MOST_SHOWN = 8
_MOST_LOOKED_UP = 1 << 16
_JPEG_START = b"\xff\xd8\xff"


def values_meant(array: NDArray, path: Path, reading: Reading) -> NDArray[np.integer]:
    """(channel, z, y, x) as a file stores it, to (1, z, y, x) whole numbers with the meaning that `reading` gives them.

    In this order: colours are looked up, a threshold (on the brightest of red, green and blue) makes 0 and 1, whole
    numbers are rounded, values are mapped.

    Raises:
        DataError: with the values seen and the option that settles it.
    """
    if reading.colours:
        array = _look_up(array, path, reading.colours)
    elif array.shape[0] == 3 and reading.threshold is not None:
        array = array.max(axis=0, keepdims=True)
    elif array.shape[0] != 1:
        _refuse_channels(array, path)
    if reading.threshold is not None:
        array = (array >= reading.threshold).astype(np.uint8)
    else:
        _refuse_blur(array, path, reading)
    values = whole_numbers(array, str(path))
    return map_values(values, reading.map) if reading.map else values


def whole_numbers(array: NDArray, source: str) -> NDArray[np.integer]:
    """Labels as integers; floating-point values that are whole numbers up to rounding are accepted.

    Raises:
        DataError: a value that is not a whole number; `source` names the file in the message.
    """
    if array.dtype.kind in "iu":
        return array
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    rounded = np.rint(array)
    with np.errstate(invalid="ignore"):  # of infinity, which is no whole number either
        odd = ~(np.abs(array - rounded) <= _WHOLE_NUMBER_TOLERANCE)
    if odd.any():
        raise DataError(
            f"{source} holds labels that are not whole numbers: {shown_values(array[odd])}.",
            f"A soft mask needs --threshold: --threshold {_middle(array):.3g} takes what is at least that as the "
            "structure. An interpolated label map has to be made again with nearest-neighbour interpolation.",
            "soft label",
        )
    wide = np.abs(rounded).max(initial=0) > np.iinfo(np.int32).max
    return rounded.astype(np.int64 if wide else np.int32)


def refuse_soft(array: NDArray[np.integer], source: str) -> None:
    """Refuse whole numbers that are the smoothed edge of something, where nothing says that they are structures.

    Raises:
        DataError: with the values seen; `source` names the file.
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
    """Values replaced as `Reading.map` says: single ones (`3`), and ranges (`100-255`) for those without their own."""
    present = np.unique(values)
    meant = present.astype(np.int64)
    for source, target in sorted(table.items(), key=lambda item: isinstance(item[0], int)):  # single values last
        low, high = Reading.bounds(source)
        meant[(present >= low) & (present <= high)] = target
    low, high = int(present[0]), int(present[-1])
    if high - low > _MOST_LOOKED_UP:
        return meant[np.searchsorted(present, values)]
    lookup = np.zeros(high - low + 1, np.int64)
    lookup[present - low] = meant
    return lookup[values - low]


def shown_values(array: NDArray) -> str:
    """The values of an array in words for messages: all of a few, else how many and some from smallest to largest."""
    present = np.unique(array)
    if present.size <= _MOST_SHOWN:
        return ", ".join(f"{value:.6g}" for value in present.tolist())
    some = present[np.linspace(0, present.size - 1, _MOST_SHOWN).astype(int)]
    return f"{present.size} values such as {', '.join(f'{value:.6g}' for value in some.tolist())}"


def packed_colours(array: NDArray) -> NDArray[np.int32]:
    """(1 or 3, z, y, x) grey or colour of 8 bits to (z, y, x) numbers 0xRRGGBB."""
    red, green, blue = array.astype(np.int32) if array.shape[0] == 3 else np.repeat(array, 3, 0).astype(np.int32)
    return (red << 16) | (green << 8) | blue


def hex_colour(packed: int) -> str:
    """0xRRGGBB as `#rrggbb`."""
    return f"#{packed:06x}"


def _look_up(array: NDArray, path: Path, colours: dict[str, int]) -> NDArray[np.integer]:
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
    present = np.array(sorted(table))
    meant = np.array([table[colour] for colour in present.tolist()])
    return meant[np.searchsorted(present, packed)][np.newaxis]


def _refuse_channels(array: NDArray, path: Path) -> None:
    if array.shape[0] != 3 or array.dtype != np.uint8:
        raise DataError(
            f"{path} holds {array.shape[0]} channels; a label file holds one value per voxel.",
            "Merge the channels into one map in which each structure has a value of its own.",
            "label channels",
        )
    present = np.unique(array.reshape(3, -1), axis=1).T
    some = ", ".join("#" + "".join(f"{int(part):02x}" for part in colour) for colour in present[:_MOST_SHOWN])
    raise DataError(
        f"{path} is a mask in {len(present)} colours ({some}{', ...' * (len(present) > _MOST_SHOWN)}), and which of "
        "them is which structure is not known.",
        "Name them: --colours 'liver=#ff0000', repeated, or --colours TABLE.csv with the columns name and colour.",
        "colour label",
    )


def _refuse_blur(array: NDArray, path: Path, reading: Reading) -> None:
    """Refuse a mask stored as JPEG, whatever it is called, and soft ones of which `map` covers values only in part."""
    ranges = [Reading.bounds(source) for source in reading.map]
    covered = [(array >= low) & (array <= high) for low, high in ranges]
    rest = array[~np.any(covered, axis=0)] if covered else array
    blurred = _is_jpeg(path)
    partly = any(isinstance(source, str) for source in reading.map) and is_soft(array)
    rest = rest[rest != 0]
    if not rest.size or not (blurred or partly):
        return
    which = f"; --map says nothing of {shown_values(rest)}" if reading.map else ""
    what = "is a mask stored as JPEG, which changes values; it holds" if blurred else "is a soft mask; it holds"
    raise DataError(
        f"{path} {what} {shown_values(array)}{which}.",
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
    return (float(array.min()) + float(array.max())) / 2
