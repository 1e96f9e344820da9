"""Case: one subject's channel files and label file; a data set is a table of them (cases.csv)."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from medseg.core.errors import DataError
from medseg.core.files import write_text

_COLUMNS = ("id", "patient", "channels", "label", "annotated", "weight")
_SEPARATOR = ";"
_NOT_IN_NAMES = frozenset("/\\\0")
_MOST_SHOWN = 5

Row = dict[str, str]
"""A line of a table, by column."""


@dataclass(frozen=True)
class Case:
    """One case of a data set.

    Attributes:
        id: unique name; answers and scores carry it.
        patient: cases of one patient never fall into different folds.
        channels: image files in the order of the plan's channels; one file may hold several.
        label: label file, or None for a case to predict.
        annotated: names of the structures that were annotated; None means all of them.
        weight: how often the case is drawn in training, relative to the others.
        attributes: anything else that a user's table says (site, scanner, sex).
    """

    id: str
    patient: str
    channels: tuple[Path, ...]
    label: Path | None = None
    annotated: tuple[str, ...] | None = None
    weight: float = 1.0
    attributes: dict[str, str] = field(default_factory=dict)


def write_cases(path: Path, cases: list[Case], folder: Path) -> None:
    """Write the table; files below `folder` are written relative to it, so that the set can be moved."""
    extra = sorted({name for case in cases for name in case.attributes})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_COLUMNS, *extra])
    for case in cases:
        annotated = "" if case.annotated is None else _SEPARATOR.join(case.annotated)
        channels = _SEPARATOR.join(_shorten(file, folder) for file in case.channels)
        label = "" if case.label is None else _shorten(case.label, folder)
        values = [case.id, case.patient, channels, label, annotated, f"{case.weight:g}"]
        writer.writerow(values + [case.attributes.get(name, "") for name in extra])
    write_text(path, text.getvalue())


def read_cases(path: Path, folder: Path) -> list[Case]:
    """Read the table, as medseg wrote it or as a user edited it.

    Raises:
        DataError: it is no table, a column is missing, a value is not valid, or an id appears twice.
    """
    rows = read_rows(path)
    missing = {"id", "channels"} - rows[0].keys()
    if missing:
        raise DataError(
            f"{path} has no column {' and no column '.join(sorted(missing))}; it has {', '.join(sorted(rows[0]))}.",
            "Expected the columns " + ", ".join(_COLUMNS) + "; delete the file to have it written anew.",
        )
    cases = [parse_row(row, path, line, folder) for line, row in enumerate(rows, start=2)]
    unique_ids(cases, path)
    return cases


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV file, at least one, by column, spaces at the ends of values removed.

    Fields are separated by commas; by semicolons or tabs where the first line has those and no comma.

    Raises:
        DataError: there is no such file, it is no table, or it has no rows.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        first = text.partition("\n")[0]
        separator = next((sign for sign in ",;\t" if sign in first), ",")
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=separator))
    except FileNotFoundError:
        raise DataError(f"There is no file {path}.", "Expected a CSV file with one row a case.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text.", "In Excel, save it as “CSV UTF-8”.") from None
    except csv.Error as error:
        raise DataError(f"{path} is not a table: {error}.", "Save it as CSV, fields with commas in quotes.") from None
    if not rows:
        raise DataError(f"{path} has no rows.", "Expected a line with the names of the columns, and one a case.")
    return [{name.strip(): (value or "").strip() for name, value in row.items() if name} for row in rows]


def unique_ids(cases: Iterable[Case], path: Path) -> None:
    """Refuse ids that stand twice in a table, or that cannot be the name of a file.

    Raises:
        DataError: naming one.
    """
    ids = [case.id for case in cases]
    check_ids(ids, str(path))
    twice = sorted(id for id, count in Counter(ids).items() if count > 1)
    if twice:
        raise DataError(f"{path}: the id {twice[0]!r} appears more than once.", "Give every case an id of its own.")


def check_ids(ids: Iterable[str], source: str) -> None:
    """Refuse ids that cannot be the name of a file: answers and preprocessed cases are called after them.

    Raises:
        DataError: naming them; `source` is the file that they stand in.
    """
    odd = [id for id in ids if id.startswith(".") or not _NOT_IN_NAMES.isdisjoint(id)]
    if odd:
        shown = ", ".join(map(repr, odd[:_MOST_SHOWN])) + ", ..." * (len(odd) > _MOST_SHOWN)
        raise DataError(
            f"{source}: {shown} cannot be the id of a case, because files are called after it.",
            "Expected ids without / and \\ that do not start with a dot; write sub-01_scan for sub-01/scan.",
        )


def parse_row(row: Row, path: Path, line: int, folder: Path) -> Case:
    """A row of the table as a case; files that are not absolute lie below `folder`.

    Raises:
        DataError: there is no id or no channel file, or the weight is not a number of 0 or more.
    """
    value = {name: row.get(name, "") for name in _COLUMNS}
    if not value["id"] or not value["channels"]:
        raise DataError(f"{path}, line {line}: a case needs an id and at least one channel file.")
    try:
        weight = float(value["weight"] or 1)
    except ValueError:
        weight = -1.0
    if not 0 <= weight < float("inf"):
        raise DataError(f"{path}, line {line}: weight is {value['weight']!r}; expected a number of 0 or more.")
    annotated = tuple(part.strip() for part in value["annotated"].split(_SEPARATOR) if part.strip())
    return Case(
        id=value["id"],
        patient=value["patient"] or value["id"],
        channels=tuple(folder / part.strip() for part in value["channels"].split(_SEPARATOR)),
        label=folder / value["label"] if value["label"] else None,
        annotated=annotated or None,
        weight=weight,
        attributes={name: text for name, text in row.items() if name not in _COLUMNS},
    )


def _shorten(file: Path, folder: Path) -> str:
    """A file below the folder relative to it, any other in full; links stay links."""
    relative = Path(os.path.relpath(file.absolute(), folder.absolute()))
    return file.absolute().as_posix() if ".." in relative.parts else relative.as_posix()
