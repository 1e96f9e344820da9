"""A CSV that lists the files of each case: one row a case, one column a channel, and what else is known of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medseg.core.case import Case, Row, check_unique_ids, parse_row, read_rows
from medseg.core.errors import DataError, MedsegError
from medseg.core.wording import counted
from medseg.io.dicom.elements.paths import holds_dicom
from medseg.io.dicom.listing.find import find_series
from medseg.io.formats.table import FORMATS, is_dicom, is_image, split_suffix
from medseg.io.layouts.dataset import DataSet, LeftOut
from medseg.io.layouts.names import channel_numbers
from medseg.io.layouts.studies import WHY, SeriesRules, channels_of

NAME = "cases.csv"
_RESERVED = ("id", "patient", "channels", "label", "annotated", "weight")
_LABEL_COLUMNS = ("label", "mask", "segmentation", "seg")
_MOST_SHOWN = 5


def read_case_table(folder: Path, path: Path, how: SeriesRules | None = None) -> DataSet | None:
    """Read a table whose rows name files; None where no column does, so that it only says more of known cases.

    A channel may be the folder or zip of a DICOM study; `how` says what is allowed to be done to its series.

    Columns: `id` (else the label file's name), `patient`, one column a channel under the channel's name (or `channels`
    with `;` between files), `label` (or mask, segmentation, seg), `annotated` (structures with `;` between), `weight`;
    any other is kept as an attribute. Files are relative to the table, else to the data set's folder.

    Raises:
        DataError: it is no table, or a row is not valid.
    """
    rows = read_rows(path)
    label = next((name for name in _LABEL_COLUMNS if name in rows[0]), None)
    places = path.parent, folder
    channels = [name for name in rows[0] if name not in (*_RESERVED, label) and _names_files(rows, name, places)]
    if not channels and "channels" not in rows[0]:
        return None
    cases = []
    problems: list[str] = []
    for line, row in enumerate(rows, start=2):
        case, why = _case(row, channels, label, folder, path, line)
        if why is None:
            case, why = _with_series(case, channels, how or SeriesRules())
        if why:
            problems.append(LeftOut(case.id, f"{path.name}, line {line}: {why}"))
        else:
            cases.append(case)
    check_unique_ids(cases, path)
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
    return replace(
        data, cases=cases, problems=[*data.problems, f"{path.name} says more of {counted(len(rows), 'case')}"]
    )


def _names_files(rows: list[Row], name: str, places: tuple[Path, Path]) -> bool:
    values = [row[name] for row in rows if row.get(name)]
    if not values or all(is_image(Path(value)) for value in values):
        return bool(values)
    return 2 * sum(_is_study(_resolve(value, *places)) for value in values) > len(values)


def _is_study(path: Path) -> bool:
    return not is_image(path) and path.exists() and holds_dicom(path, [*FORMATS])


def _with_series(case: Case, channels: list[str], how: SeriesRules) -> tuple[Case, str | None]:
    """The case with a series for each channel that is a study, and why it is left out."""
    files, reasons = [], []
    for number, path in enumerate(case.channels):
        if not _is_study(path):
            files.append(path)
            continue
        try:
            found, why = channels_of(find_series(path), [channels[number] if channels else ""], how)
        except MedsegError as error:
            return case, str(error).rstrip(".")
        files += found
        reasons.append(why)
    attributes = {**case.attributes, WHY: "; ".join(reasons)} if reasons else case.attributes
    return replace(case, channels=tuple(files), attributes=attributes), None


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
    if absent := [file for file in found if not (file.exists() or is_dicom(file))]:
        return case, f"there is no image file {absent[0]}"
    there = label_file.is_file() or is_dicom(label_file)
    return case, None if there else f"there is no label file {label_file}"


def _resolve(name: str, *places: Path) -> Path:
    candidates = [place / name for place in places]
    return next((path for path in candidates if path.exists()), candidates[0])
