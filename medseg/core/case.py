"""A case (one scan with its label file), and the table of cases (`cases.csv`) that a data set is kept as."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medseg.core.csv_text import csv_text, original_cell
from medseg.core.errors import DataError
from medseg.core.files import write_text
from medseg.core.names import name_problem, shown_name
from medseg.core.wording import counted, first_few

_COLUMNS = ("id", "patient", "channels", "label", "annotated", "weight")
_LOSS_WEIGHT, _WEIGHT_MAP = "loss_weight", "weight_map"
"""Columns that are written only where a case has a value other than the default."""
_SEPARATOR = ";"
"""Between the values of one field: several channel files, several structures."""

CASE_COLUMNS = (*_COLUMNS, _LOSS_WEIGHT, _WEIGHT_MAP)
"""All columns of a table of cases that are medseg's own; the others are attributes of the cases."""
_NAMES_A_CASE = ("id", "case")
_KNOWN = {*CASE_COLUMNS, "mask", "segmentation", "seg", "case", "split", "fold"}
"""Columns that have a meaning somewhere; `Patient` and `PATIENT` are this column, too."""
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
"""The first line that Excel reads and writes to say which sign separates fields."""

NO_VALUE = frozenset(("na", "n/a", "nan", "none", "null", "-"))
"""What people and programs write into a field that has no value."""

Row = dict[str, str]
"""A row of a table: column name -> value."""


@dataclass(frozen=True)
class Case:
    """One case of a data set.

    Attributes:
        id: unique name; predicted files and scores are named after it.
        patient: name of the patient; all cases of a patient go into the same fold.
        channels: image files in the order of the plan's channels; one file may hold several channels.
        label: label file, or None for a case to predict.
        annotated: names of the structures that were annotated; None means all of them.
        weight: how often the case is drawn in training, relative to the others.
        attributes: the other columns of a user's table (site, scanner, sex), column name -> value.
        loss_weight: what its loss is multiplied by when it is drawn.
        weight_map: image of the weight of each voxel in the loss, on the grid of the scan; None for 1 everywhere.
    """

    id: str
    patient: str
    channels: tuple[Path, ...]
    label: Path | None = None
    annotated: tuple[str, ...] | None = None
    weight: float = 1.0
    attributes: dict[str, str] = field(default_factory=dict)
    loss_weight: float = 1.0
    weight_map: Path | None = None

    @property
    def is_learnt_from(self) -> bool:
        """Whether training draws the case and its loss counts: neither of its weights is 0."""
        return self.weight > 0 and self.loss_weight > 0

    @property
    def patient_or_id(self) -> str:
        """The patient; the case itself where it is a patient of its own."""
        return self.patient or self.id


def write_cases(path: Path, cases: list[Case], folder: Path) -> None:
    """Write a table of cases as CSV.

    Args:
        path: the table to write.
        cases: one row each.
        folder: the data set's folder; files below it are written relative to it, so that the data set can be moved.
    """
    extra = sorted({name for case in cases for name in case.attributes})
    weighted = any(case.loss_weight != 1 for case in cases)
    mapped = any(case.weight_map is not None for case in cases)
    columns = [*_COLUMNS, *([_LOSS_WEIGHT] if weighted else []), *([_WEIGHT_MAP] if mapped else []), *extra]
    rows = []
    for case in cases:
        annotated = "" if case.annotated is None else _SEPARATOR.join(case.annotated)
        channels = _SEPARATOR.join(_path_as_text(file, folder) for file in case.channels)
        label = "" if case.label is None else _path_as_text(case.label, folder)
        values = [case.id, case.patient, channels, label, annotated, f"{case.weight:g}"]
        values += [f"{case.loss_weight:g}"] if weighted else []
        values += ["" if case.weight_map is None else _path_as_text(case.weight_map, folder)] if mapped else []
        rows.append(values + [case.attributes.get(name, "") for name in extra])
    write_text(path, csv_text(columns, rows))


def read_cases(path: Path, folder: Path) -> list[Case]:
    """Read a table of cases, as medseg wrote it or as a user edited it.

    Args:
        path: the table.
        folder: the folder that relative file names start from.

    Returns:
        The cases in the order of the rows.

    Raises:
        DataError: the file is not a table, a column is missing, a value is not valid, or an id appears twice.
    """
    rows = read_rows(path)
    columns = rows[0][1].keys()
    missing = {"id", "channels"} - columns
    if missing:
        raise DataError(
            f"{path} has no column {' and no column '.join(sorted(missing))}; it has {', '.join(sorted(columns))}.",
            "Expected the columns " + ", ".join(_COLUMNS) + "; if you delete the file, it is written again.",
        )
    cases = [parse_row(row, path, line, folder) for line, row in rows]
    check_unique_ids(cases, path)
    return cases


def read_rows(path: Path) -> list[tuple[int, Row]]:
    """Return the rows of a CSV file with their lines, with the spaces around names and values removed.

    Fields are separated by commas, or by semicolons or tabs if the first line has those and no comma, as spreadsheets
    write them in many countries; or by the sign that a line `sep=;` names. Names of columns that medseg knows are in
    lower case, whatever the table has. Rows without a value are left out.

    Args:
        path: the file; its first line names the columns.

    Returns:
        (number of the line, row), at least one.

    Raises:
        DataError: there is no such file, it is not a table, it has no rows, two columns have one name, or a row has
            more fields than there are columns.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets start a file with a byte order mark
        separator_line = _SEPARATOR_LINE.match(text)
        first = 1 if separator_line is None else 2
        text = text if separator_line is None else text[separator_line.end() :]
        header = text.partition("\n")[0]
        separator = next((sign for sign in ",;\t" if sign in header), ",")
        separator = separator if separator_line is None else separator_line[1]
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        table = [(reader.line_num + first - 1, [field.strip() for field in fields]) for fields in reader]
    except FileNotFoundError:
        raise DataError(f"There is no file {path}.", "Expected a CSV file with one row for each case.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text.", "In Excel, save it as “CSV UTF-8”.") from None
    except csv.Error as error:
        raise DataError(f"{path} is not a table: {error}.", "Save it as CSV, fields with commas in quotes.") from None
    filled = [(line, fields) for line, fields in table if any(fields)]
    if len(filled) < 2:
        raise DataError(
            f"{path} has no rows.", "Expected a line with the names of the columns, then one for each case."
        )
    columns = _columns(filled[0][1], path)
    return [(line, _row(columns, fields, path, line)) for line, fields in filled[1:]]


def rows_by_case(path: Path, ids: Sequence[str], named_after: str) -> dict[str, tuple[int, Row]]:
    """Return the row of each case in a table that adds facts on cases; the case is named by the column id or case.

    Args:
        path: the CSV file.
        ids: the cases that there are; rows of others are returned, too.
        named_after: the files that give the cases their names, for the message.

    Returns:
        {case: (number of the line, row without the column case)}.

    Raises:
        DataError: as `read_rows`, or the table has neither column, names a case twice, or none of the cases.
    """
    rows: dict[str, tuple[int, Row]] = {}
    for line, row in read_rows(path):
        if row.keys().isdisjoint(_NAMES_A_CASE):
            raise DataError(
                f"{path} has no column called {' or '.join(_NAMES_A_CASE)}; it has {', '.join(row)}.",
                f"Give this name to the column that holds the names of the {named_after} without suffix.",
            )
        id = row.get("id") or row.pop("case", "")
        if id in rows:
            raise DataError(f"{path}, line {line}: case {id!r} has a row already.", "Keep one row for each case.")
        rows[id] = line, row
    if rows.keys().isdisjoint(ids):
        raise DataError(
            f"{path} names none of the cases: it has {first_few([*rows])}; the cases are {first_few(ids)}.",
            f"Its column id (or case) has to hold the names of the {named_after} without suffix.",
        )
    return rows


def unmatched_rows(table: Path, named: Collection[str], ids: Sequence[str], thing: str) -> list[str]:
    """Return a note on the cases that a table has no row for, and on its rows of other names; [] where all have one.

    Rows of other cases alone are not worth a note: the table may be that of a whole study.

    Args:
        table: the table.
        named: the cases that it names.
        ids: the cases that there are.
        thing: what they are: `case` or `scan`.

    >>> unmatched_rows(Path("t.csv"), ["p1", "P2"], ["p1", "p2"], "case")
    ['t.csv has no row for 1 case: p2; none has the name of its row P2']
    >>> unmatched_rows(Path("t.csv"), ["p1", "p2"], ["p1"], "case")
    []
    """
    without, others = [id for id in ids if id not in named], [name for name in named if name not in ids]
    if not without:
        return []
    rows = f"; none has the name of its row{'s' * (len(others) > 1)} {first_few(others)}" if others else ""
    return [f"{table.name} has no row for {counted(len(without), thing)}: {first_few(without)}{rows}"]


def headings(columns: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """Return {column of a user's table: its heading among columns of medseg's}; a name that is taken gets a word more.

    Args:
        columns: names of the user's columns.
        taken: headings of medseg's own columns.

    >>> headings(["site", "dice"], ["case", "dice"])
    {'site': 'site', 'dice': 'table dice'}
    """
    return {name: f"table {name}" if name in taken else name for name in columns}


def _columns(names: list[str], path: Path) -> list[str]:
    """Return the names of the columns of a table, those with a meaning in lower case.

    Raises:
        DataError: two columns have one name.
    """
    columns = [name.lower() if name.lower() in _KNOWN else original_cell(name) for name in names]
    repeated = [name for name, count in Counter(columns).items() if name and count > 1]
    if repeated:
        raise DataError(f"{path} has two columns called {repeated[0]!r}.", "Give each column a name of its own.")
    return columns


def _row(columns: list[str], fields: list[str], path: Path, line: int) -> Row:
    """Return a row; fields that are not there are empty, and columns without a name are left out.

    Raises:
        DataError: there are more fields than columns.
    """
    if any(fields[len(columns) :]):
        raise DataError(
            f"{path}, line {line}: {counted(len(fields), 'field')}; expected {counted(len(columns), 'column')}.",
            "Put values with the separating sign in quotes, or give the further column a name.",
        )
    values = [*fields, *[""] * (len(columns) - len(fields))]
    return {name: original_cell(value) for name, value in zip(columns, values, strict=False) if name}


def check_unique_ids(cases: Iterable[Case], path: Path) -> None:
    """Refuse ids that appear twice in a table, or that cannot be the name of a file.

    Args:
        cases: the cases of the table.
        path: the table, for the message.

    Raises:
        DataError: there is such an id; the message names it.
    """
    ids = [case.id for case in cases]
    check_ids(ids, str(path))
    repeated = sorted(id for id, count in Counter(ids).items() if count > 1)
    if repeated:
        raise DataError(f"{path}: the id {repeated[0]!r} appears more than once.", "Give every case an id of its own.")


def check_ids(ids: Iterable[str], source: str) -> None:
    """Refuse ids that cannot be the name of a file: predicted and preprocessed files are named after them.

    Args:
        ids: the ids of cases.
        source: the file that lists them, for the message.

    Raises:
        DataError: there are such ids; the message names them.
    """
    problems = {id: problem for id in ids if (problem := name_problem(id))}
    if problems:
        raise DataError(
            f"{source}: {first_few([shown_name(id) for id in problems])} cannot be the id of a case, because files are "
            f"named after it: it {next(iter(problems.values()))}.",
            "Expected ids that can be names of files on every system; write sub-01_scan for sub-01/scan.",
        )


def parse_row(row: Row, path: Path, line: int, folder: Path) -> Case:
    """Return one row of the table as a case.

    Args:
        row: column name -> value; only `id` and `channels` must have a value.
        path: the table, for the message.
        line: number of the row's line in the table, for the message.
        folder: the folder that relative file names start from.

    Returns:
        The case; the columns that medseg does not know are its attributes.

    Raises:
        DataError: there is no id or no channel file, or a weight is not a number of 0 or more.
    """
    value = {name: row.get(name, "") for name in _COLUMNS}
    if not value["id"] or not value["channels"]:
        raise DataError(f"{path}, line {line}: a case needs an id and at least one channel file.")
    annotated = tuple(part.strip() for part in value["annotated"].split(_SEPARATOR) if part.strip())
    return Case(
        id=value["id"],
        patient=value["patient"] or value["id"],
        channels=tuple(folder / part.strip() for part in value["channels"].split(_SEPARATOR)),
        label=folder / value["label"] if value["label"] else None,
        annotated=annotated or None,
        weight=_weight(row, "weight", path, line),
        loss_weight=_weight(row, _LOSS_WEIGHT, path, line),
        weight_map=folder / row[_WEIGHT_MAP] if row.get(_WEIGHT_MAP) else None,
        attributes={name: text for name, text in row.items() if name not in CASE_COLUMNS},
    )


def _weight(row: Row, column: str, path: Path, line: int) -> float:
    """Return the number in a column of weights; 1 where it is empty."""
    text = row.get(column, "")
    try:
        weight = float(text or 1)
    except ValueError:
        weight = -1.0  # refused in the next line, as negative weights are
    if not 0 <= weight < float("inf"):
        raise DataError(f"{path}, line {line}: {column} is {text!r}; expected a number of 0 or more.")
    return weight


def _path_as_text(file: Path, folder: Path) -> str:
    """Return a file below the folder relative to it, any other as an absolute path; links are not resolved."""
    relative = Path(os.path.relpath(file.absolute(), folder.absolute()))
    return file.absolute().as_posix() if ".." in relative.parts else relative.as_posix()
