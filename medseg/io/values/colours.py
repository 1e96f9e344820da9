"""Find which colour of a mask is which structure: from a table, or from the masks of a whole set."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError, MedsegError
from medseg.core.labels import Labels
from medseg.core.machine.parallel import map_cases
from medseg.io.formats.content import PNG_START
from medseg.io.images import read_stack
from medseg.io.values.class_names import BACKGROUND, IGNORED, read_lines
from medseg.io.values.label_values import hex_colour, packed_colours
from medseg.io.values.soft import interior

TABLES = ("colours.csv", "colors.csv", "class_dict.csv", "labelmap.txt", "label_colors.txt")
"""Names of files in a data set's folder that are taken for its colour table."""

MOST_COLOURS = 64
BLACK = "#000000"

_PICTURES = (".png", ".bmp", ".gif", ".jpg", ".jpeg", ".tif", ".tiff")
_PNG_COLOUR_TYPE_AT, _PNG_GREY_TYPES = 25, (0, 4)
_MOST_BYTES = 1 << 26  # of a file: masks in colours are pictures, not volumes
_IGNORE_VALUE = 255
_MOST_SHOWN = 6
_MOST_THIN = 2  # colours without an area that are accepted: a thin structure, a line drawn by hand


def parse_colour(text: str) -> str | None:
    """Return `#f00`, `#FF0000`, `255,0,0` or `255 0 0` as `#ff0000`; None if the text is not a colour.

    >>> parse_colour("255, 0, 0")
    '#ff0000'
    """
    text = text.strip().lower()
    if short := re.fullmatch("#([0-9a-f])([0-9a-f])([0-9a-f])", text):
        return "#" + "".join(digit * 2 for digit in short.groups())
    if re.fullmatch("#[0-9a-f]{6}", text):
        return text
    parts = re.fullmatch(r"(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})", text)
    if parts and all(int(part) < 256 for part in parts.groups()):
        return "#" + "".join(f"{int(part):02x}" for part in parts.groups())
    return None


def read_colour_table(path: Path) -> dict[str, str]:
    """Read a table of colours: CSV (name with r, g, b, or with colour), `255 0 0 name`, or CVAT's `name:255,0,0::`.

    Returns:
        {name: `#rrggbb`}.

    Raises:
        DataError: it is none of these.
    """
    lines = [line for line in read_lines(path) if not line.startswith("#")]
    colours = _read_columns(lines) if path.suffix == ".csv" else _read_lines(lines)
    if not colours:
        raise DataError(
            f"{path} is not a table of colours: its first line is {lines[0] if lines else ''!r}.",
            "Expected the columns name, r, g, b (or name, colour with #rrggbb).",
        )
    counts = Counter(colours.values())
    twice = [name for name, colour in colours.items() if counts[colour] > 1]
    if twice:
        raise DataError(f"{path} gives {' and '.join(twice)} one colour.", "Each needs a colour of its own.")
    return colours


def meaning(name: str, declared: Labels | None = None) -> str:
    """Return what a name in a table of colours stands for: background, ignore or structure.

    Void is what benchmarks of streets and photographs do not score (CamVid, PASCAL VOC); unlabelled is the background.

    Args:
        name: the name, in upper or lower case.
        declared: the structures, if the user declared them; what they name is a structure.

    >>> meaning("Background"), meaning("Void"), meaning("Road")
    ('background', 'ignore', 'structure')
    """
    plain = name.strip().lower()
    if declared is not None and name in declared.structures:
        return "structure"
    if plain in (*BACKGROUND, "unlabelled", "unlabeled"):
        return "background"
    return "ignore" if plain in (*IGNORED, "void") else "structure"


def name_colours(
    names: Mapping[str, str], declared: Labels | None, ignore: int | None
) -> tuple[Labels, dict[str, int]]:
    """Return the structures, and the value of each colour, from a table of names.

    Structures that are not declared are numbered from 1 in the order of the table; the background is 0, and black
    unless the table says otherwise.

    Args:
        names: {name: `#rrggbb`}, see `read_colour_table`.
        declared: the structures, if the user declared them.
        ignore: the value of voxels to ignore, if the user gave one.

    Returns:
        The structures, and {`#rrggbb`: value}.

    Raises:
        DataError: the table names a structure that is not among those declared.
    """
    meanings = {name: meaning(name, declared) for name in names}
    structures = [name for name in names if meanings[name] == "structure"]
    unknown = [name for name in structures if declared is not None and name not in declared.structures]
    if unknown or not structures:
        known = ", ".join(declared.structures) if declared is not None else "none"
        raise DataError(
            f"The colour table names {', '.join(unknown) or 'no structure'}; the structures are {known}.",
            "Give each structure its colour: --colours 'liver=#ff0000'.",
        )
    if declared is not None:
        labels = declared
        if ignore is None and labels.ignore is None and "ignore" in meanings.values():
            labels = Labels.model_validate({**labels.model_dump(), "ignore": _IGNORE_VALUE})
    else:
        ignored = "ignore" in meanings.values()
        value = (_IGNORE_VALUE if ignore is None else ignore) if ignored or ignore is not None else None
        labels = Labels(structures={name: value for value, name in enumerate(structures, start=1)}, ignore=value)
    colours = {} if labels.background is None else {BLACK: labels.background}
    for name, colour in names.items():
        if meanings[name] == "background":
            if labels.background is None:
                raise DataError(
                    f"The colour table names {name}, and these labels have no background.",
                    "Give the colour the name of a structure, or --ignore and the name __ignore__.",
                )
            colours[colour] = labels.background
        elif meanings[name] == "ignore":
            colours[colour] = _IGNORE_VALUE if labels.ignore is None else labels.ignore
        else:
            colours[colour] = labels.written_values[name]
    return labels, colours


def survey_palettes(files: Iterable[Path]) -> dict[str, int]:
    """Find the value of each colour in a set's masks with a palette, whose indices are their values.

    Args:
        files: the masks. A file that cannot be read, or has no palette, is skipped.

    Returns:
        {`#rrggbb`: value} of the values that occur; black, the background, is 0.
    """
    values: dict[str, int] = {}
    for _, mask in map_cases(_look, [path for path in files if _may_have_colours(path)]):
        if not isinstance(mask, MedsegError):
            values |= {hex_colour(colour): index for index, colour in mask.palette.items()}
    return values


def survey_colours(files: Iterable[Path]) -> dict[str, str]:
    """Find the colours of a set's masks.

    Args:
        files: the masks. A file that cannot be read is skipped here and refused when it is read.

    Returns:
        {`colour_ff0000`: `#ff0000`, ...} of masks in several colours on black; empty if masks hold values.

    Raises:
        DataError: colours without a black background, too many or blurred ones, or palettes that contradict each
            other.
    """
    first_file: dict[int, Path] = {}  # by colour
    filling_an_area: set[int] = set()
    palettes: dict[int, tuple[int, Path]] = {}
    for path, mask in map_cases(_look, [path for path in files if _may_have_colours(path)]):
        if isinstance(mask, MedsegError):
            continue
        for index, colour in mask.palette.items():
            known, other = palettes.setdefault(index, (colour, path))
            if known != colour:
                raise DataError(
                    f"The palettes of {other} and {path} disagree: {index} is {hex_colour(known)} in one and "
                    f"{hex_colour(colour)} in the other.",
                    "If the colours are what counts, name them: --colours 'liver=#ff0000', repeated.",
                )
        filling_an_area |= mask.filling_an_area
        for colour in mask.colours:
            first_file.setdefault(colour, path)
    _refuse_blends(first_file, filling_an_area)
    if len(first_file.keys() - {0}) < 2 or all(_is_grey(colour) for colour in first_file):
        return {}
    if 0 not in first_file:
        shown = ", ".join(hex_colour(colour) for colour in sorted(first_file)[:_MOST_SHOWN])
        raise DataError(
            f"The masks are in {len(first_file)} colours ({shown}), none of which is black, so the background is not "
            "known.",
            f"Name them: --colours 'background={hex_colour(min(first_file))}', and so on for each structure; if none "
            "is the background, name all as structures and add --no-background.",
        )
    return {f"colour_{colour:06x}": hex_colour(colour) for colour in sorted(first_file.keys() - {0})}


@dataclass(frozen=True)
class _MaskColours:
    """The colours of a mask, 0xRRGGBB.

    Attributes:
        colours: all of them, or one more than the most that are accepted.
        filling_an_area: those that surround a pixel of their own.
        palette: the colour of each index of a palette that is used.
    """

    colours: Sequence[int] = ()
    filling_an_area: Set[int] = frozenset()
    palette: Mapping[int, int] = field(default_factory=dict)


def _look(path: Path) -> _MaskColours:
    """Return the colours of a mask; none if it is not a picture of 8 bits."""
    stored = read_stack(path, mask=True).array[0]
    if stored.dtype != np.uint8 or stored.shape[0] not in (1, 3):
        return _MaskColours()
    if stored.shape[0] == 1:
        return _MaskColours(palette=_palette(path, stored))
    packed = packed_colours(stored)
    colours = np.unique(packed)[: MOST_COLOURS + 1]
    return _MaskColours(colours.tolist(), {*np.unique(packed[interior(packed)]).tolist()})


def _palette(path: Path, indices: NDArray) -> dict[int, int]:
    """Return the colour of each index that a mask uses; empty if it has no palette."""
    shown = read_stack(path).array[0]
    if shown.shape[0] != 3:
        return {}
    used, first = np.unique(indices, return_index=True)
    return dict(zip(used.tolist(), packed_colours(shown).reshape(-1)[first].tolist(), strict=True))


def _may_have_colours(path: Path) -> bool:
    """Return whether a file has to be looked at: a picture that is not grey by its header."""
    if not path.name.lower().endswith(_PICTURES) or not path.is_file() or path.stat().st_size > _MOST_BYTES:
        return False
    with path.open("rb") as stream:
        start = stream.read(_PNG_COLOUR_TYPE_AT + 1)
    is_png = start.startswith(PNG_START) and len(start) > _PNG_COLOUR_TYPE_AT
    return not (is_png and start[_PNG_COLOUR_TYPE_AT] in _PNG_GREY_TYPES)


def _refuse_blends(first_file: Mapping[int, Path], filling_an_area: Set[int]) -> None:
    """Refuse colours most of which fill no area anywhere: they are blends of a few others."""
    thin = sorted(first_file.keys() - filling_an_area)
    if len(first_file) <= MOST_COLOURS and len(thin) <= max(_MOST_THIN, len(filling_an_area) // 2):
        return
    shown = ", ".join(hex_colour(colour) for colour in thin[:_MOST_SHOWN])
    example = first_file[thin[0]] if thin else next(iter(first_file.values()))
    raise DataError(
        f"The masks are in {'more than ' * (len(first_file) > MOST_COLOURS)}{min(len(first_file), MOST_COLOURS)} "
        f"colours, many of which fill no area ({shown}, ..., as in {example}): their edges were smoothed, or they were "
        "stored as JPEG.",
        "A single structure needs --threshold 128 (of the brightest of red, green and blue); several need masks "
        "exported without smoothing, as PNG.",
    )


def _is_grey(colour: int) -> bool:
    return colour >> 16 == (colour >> 8) & 255 == colour & 255


def _read_columns(lines: list[str]) -> dict[str, str]:
    """Return the colours of a CSV; empty if a line has no name or no colour."""
    colours = {}
    for row in csv.DictReader(io.StringIO("\n".join(lines)), skipinitialspace=True):
        value = {str(name).strip().lower(): str(text).strip() for name, text in row.items() if name}
        name = next((value[key] for key in ("name", "class", "structure", "label") if value.get(key)), None)
        text = next((value[key] for key in ("colour", "color", "hex", "rgb") if value.get(key)), None)
        text = text or ",".join(value.get(key, "") for key in "rgb")
        colour = parse_colour(text)
        if name is None or colour is None:
            return {}
        colours[name] = colour
    return colours


def _read_lines(lines: list[str]) -> dict[str, str]:
    """Return the colours of lines `255 0 0 name` or `name:255,0,0::`; empty if a line is neither."""
    colours = {}
    for line in lines:
        cvat = re.match(r"([^:]+):(\d+,\d+,\d+):", line)
        plain = re.fullmatch(r"(\d+\s+\d+\s+\d+)\s+(.+)", line)
        if not cvat and not plain:
            return {}
        name, text = (cvat[1], cvat[2]) if cvat else (plain[2], plain[1])  # type: ignore[index]
        colour = parse_colour(text)
        if colour is None:
            return {}
        colours[name.strip()] = colour
    return colours
