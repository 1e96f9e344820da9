"""A CSV that lists the files of each case: one row a case, one column a channel, and what else is known of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medseg.case import Case, Row, parse_row, read_rows, unique_ids
from medseg.errors import DataError
from medseg.io import is_image, split_suffix
from medseg.io.dataset import DataSet, LeftOut
from medseg.io.names import channel_numbers

NAME = "cases.csv"
_RESERVED = ("id", "patient", "channels", "label", "annotated", "weight")
_LABEL_COLUMNS = ("label", "mask", "segmentation", "seg")
_MOST_SHOWN = 5


def read_case_table(folder: Path, path: Path) -> DataSet | None:
    """Read a table whose rows name files; None where no column does, so that it only says more of known cases.

    Columns: `id` (else the label file's name), `patient`, one column a channel under the channel's name (or `channels`
    with `;` between files), `label` (or mask, segmentation, seg), `annotated` (structures with `;` between), `weight`;
    any other is kept as an attribute. Files are relative to the table, else to the data set's folder.

    Raises:
        DataError: it is no table, or a row is not valid.
    """
    rows = read_rows(path)
    label = next((name for name in _LABEL_COLUMNS if name in rows[0]), None)
    channels = [name for name in rows[0] if name not in (*_RESERVED, label) and _names_files(rows, name)]
    if not channels and "channels" not in rows[0]:
        return None
    cases = []
    problems: list[str] = []
    for line, row in enumerate(rows, start=2):
        case, why = _case(row, channels, label, folder, path, line)
        if why:
            problems.append(LeftOut(case.id, f"{path.name}, line {line}: {why}"))
        else:
            cases.append(case)
    unique_ids(cases, path)
    return DataSet(folder, "table", tuple(channels) or channel_numbers(cases), None, cases, problems)


def add_facts(data: DataSet, path: Path) -> DataSet:
    """Cases with what a table without files says of them: patient, annotated structures, weight, attributes.

    Raises:
        DataError: it is no table, has no ids, or names a case that is not there.
    """
    rows = {row.get("id", ""): (line, row) for line, row in enumerate(read_rows(path), start=2)}
    unknown = sorted(rows.keys() - {case.id for case in data.cases})
    left_out = [id for id in unknown if any(text.startswith(f"{id}: ") for text in data.problems)]
    unknown = [id for id in unknown if id not in left_out]
    if unknown:
        known = ", ".join(sorted(case.id for case in data.cases)[:_MOST_SHOWN])
        raise DataError(
            f"{path} speaks of {', '.join(map(repr, unknown[:_MOST_SHOWN]))}, which is no case here ({known}, ...).",
            "Its column id has to hold the ids of the cases. To list files, give it a column for each channel and one "
            "called label.",
        )
    cases = []
    for case in data.cases:
        if case.id in rows:
            line, row = rows[case.id]
            said = parse_row({**row, "channels": "-"}, path, line, data.folder)
            patient = said.patient if row.get("patient") else case.patient
            case = replace(
                case,
                patient=patient,
                annotated=said.annotated,
                weight=said.weight,
                attributes={**case.attributes, **said.attributes},
            )
        cases.append(case)
    return replace(data, cases=cases, problems=[*data.problems, f"{path.name} says more of {len(rows)} cases"])


def _names_files(rows: list[Row], name: str) -> bool:
    values = [row[name] for row in rows if row.get(name)]
    return bool(values) and all(is_image(Path(value)) for value in values)


def _case(
    row: Row, channels: list[str], label: str | None, folder: Path, path: Path, line: int
) -> tuple[Case, str | None]:
    """The case of a row, and why it is left out."""
    files = [row.get(name, "") for name in channels] if channels else row.get("channels", "").split(";")
    reference = row.get(label, "") if label else ""
    id = row.get("id") or split_suffix(Path(reference or files[0]))[0]
    rest = {name: value for name, value in row.items() if name not in (*channels, label)}
    case = parse_row({**rest, "id": id, "channels": "-"}, path, line, folder)
    found = [_resolve(name.strip(), path.parent, folder) for name in files if name.strip()]
    label_file = _resolve(reference, path.parent, folder) if reference else None
    case = replace(case, channels=tuple(found), label=label_file)
    if len(found) < len(files) or not found:
        return case, "a channel has no file"
    if label_file is None:
        return case, "it has no label file"
    if absent := [file for file in found if not file.is_file()]:
        return case, f"there is no image file {absent[0]}"
    return case, None if label_file.is_file() else f"there is no label file {label_file}"


def _resolve(name: str, *places: Path) -> Path:
    candidates = [place / name for place in places]
    return next((path for path in candidates if path.is_file()), candidates[0])
