"""Read lists of class names: one name per line, as labelme and its exports have them, or a table of index and name."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from medseg.core.errors import DataError

BACKGROUND = ("_background_", "background", "__background__")
IGNORED = ("__ignore__", "_ignore_", "ignore")

_NO_STRUCTURE = frozenset(
    (
        *(
            *BACKGROUND,
            "bg",
            "back ground",
            "unlabeled",
            "unlabelled",
            "clear label",
            "none",
            "nothing",
            "void",
            "empty",
        ),
        *("unknown", "other", "others", "rest", "outside", "exterior", "air", "normal", "healthy", "0", ""),
    )
)


def means_background(name: str) -> bool:
    """Return whether a name, in upper or lower case, is one that files give to the value 0, which is no structure.

    >>> means_background("Clear_Label"), means_background("nodule")
    (True, False)
    """
    plain = name.strip().lower()
    return plain in _NO_STRUCTURE or plain.strip("_").replace("_", " ").replace("-", " ") in _NO_STRUCTURE


def check_zero(name: str, source: str) -> None:
    """Refuse a structure whose value is 0: either the names count from 0 and the masks from 1, or it would be lost.

    Args:
        name: what the file calls the value 0.
        source: the file, for messages.

    Raises:
        DataError: it is not a name for the background.
    """
    if not means_background(name):
        raise DataError(
            f"{source} calls the value 0 {name!r}, but 0 is the background.",
            "If classes are counted from 0 there and from 1 in the masks, add 1 to each value and call 0 background. "
            f"If voxels of 0 are {name!r} indeed, say that there is no background, by null for it in the labels of a "
            "dataset.json; elsewhere take the list away and use --structures NAME=0, and so on.",
        )


def check_spellings(names: Iterable[str], source: str) -> None:
    """Refuse structures whose names differ in capitals alone: one of them is a slip, and two would be trained.

    Names in labels are looked up without regard to capitals, too (`named_masks.values_by_number`).

    Args:
        names: the structures.
        source: what declares them, for messages.

    Raises:
        DataError: there are such names.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.strip().casefold(), name)
        if other != name:
            raise DataError(
                f"{source}: the structures {other!r} and {name!r} differ in capitals or spaces alone.",
                "Give structures that are one a single name there, and others names that differ.",
            )


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file that are not empty, without spaces at their ends.

    Raises:
        DataError: there is no such file, or it is not text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"There is no file {path}.", "Expected a text file with one name per line.") from None
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path} cannot be read as text: {error}.", "Expected UTF-8 with one name per line.") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def number_names(names: Sequence[str], source: str) -> dict[str, int]:
    """Assign values to structures in the order of a list, from 1 on; background and ignored classes get none.

    The background, if it is listed, is 0 and has to come before the structures, as in labelme's `labels.txt`.

    Args:
        names: the names in their order.
        source: the file, for messages.

    Returns:
        The number of each structure.

    Raises:
        DataError: a name is listed twice, in whatever capitals, the background comes after a structure, or there is no
            structure.

    >>> number_names(["_background_", "liver", "spleen"], "labels.txt")
    {'liver': 1, 'spleen': 2}
    """
    structures = [name for name in names if name not in (*BACKGROUND, *IGNORED)]
    twice = sorted({name for name in structures if structures.count(name) > 1})
    if twice or not structures:
        what = f"lists {twice[0]!r} twice" if twice else "lists no structure"
        raise DataError(f"{source} {what}.", "Expected one name per line, each once; _background_ comes first.")
    check_spellings(structures, source)
    late = [name for name in BACKGROUND if name in names and names.index(name) > names.index(structures[0])]
    if late:
        raise DataError(
            f"{source} lists {late[0]} after {structures[0]!r}, so numbers could start at 0 or at 1.",
            "Put the background first, or name the structures: --structures NAME=VALUE.",
        )
    return {name: value for value, name in enumerate(structures, start=1)}


def read_index_table(path: Path) -> dict[str, int]:
    """Read a table with the columns index and name, such as BIDS's `dseg.tsv`.

    Returns:
        {name: value}, without the background.

    Raises:
        DataError: it is not such a table.
    """
    lines = read_lines(path)
    rows = list(csv.DictReader(io.StringIO("\n".join(lines)), delimiter="\t" if path.suffix == ".tsv" else ","))
    try:
        values = {row["name"].strip(): int(float(row["index"])) for row in rows}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DataError(
            f"{path} is not a table of labels: its first line is {lines[0] if lines else ''!r}.",
            "Expected the columns index and name.",
        ) from None
    if len(values) < len(rows):
        raise DataError(f"{path} has one name for several values.", "Give each structure a name of its own.")
    for name, value in values.items():
        if value == 0:
            check_zero(name, str(path))
    return {name: value for name, value in values.items() if value != 0}
