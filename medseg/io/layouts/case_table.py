"""Read a CSV that lists the files of each case (one row per case, one column per channel) or adds facts on cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medseg.core.case import CASE_COLUMNS, NO_VALUE, Case, Row, check_unique_ids, parse_row, read_rows
from medseg.core.errors import DataError, MedsegError
from medseg.core.names import declared_path
from medseg.core.wording import counted, first_few
from medseg.io.annotations.coco import split_reference
from medseg.io.formats.table import is_dicom, is_image, split_suffix
from medseg.io.layouts.dataset import DEFAULT_NAMING, DataSet, LeftOut, Naming, Why
from medseg.io.layouts.file_names.modalities import kinds_named
from medseg.io.layouts.file_names.names import channel_numbers
from medseg.io.layouts.file_names.words import LABEL_WORDS, names_images, words
from medseg.io.layouts.published.descriptions import ListedScans
from medseg.io.layouts.split_lists import is_test_case
from medseg.io.layouts.studies import SeriesRules, is_study, named_by_modality, parse_rules, with_series
from medseg.io.several_files import structure_masks, united_files

NAME = "cases.csv"
_LABEL_COLUMNS = ("label", "mask", "segmentation", "seg")
_PATIENTS, _OF_PATIENTS = {"patient", "subject"}, {"id", "name", "number", "no", "nr", "code", "key"}
"""Words of columns that seem to name the patient: `PatientID`, `subject_id`; not `patient_age`."""
_MOST_SHOWN = 5


def read_case_table(folder: Path, path: Path, naming: Naming = DEFAULT_NAMING) -> DataSet | None:
    """Read a table whose rows name files.

    Columns: `id` (else the label file's name), `patient`, one column per channel under the channel's name (or
    `channels` with `;` between files), `label` (or mask, segmentation, seg), `annotated` (structures with `;` between),
    `weight`, `loss_weight`, `weight_map`; any other is an attribute. Files are relative to the table, else to the data
    set's folder. A channel may be the folder, zip or file of a DICOM study.

    Args:
        folder: the data set's folder.
        path: the table.
        naming: how a series of each study is chosen, and what may be done to it.

    Returns:
        The data set; None where no column names files: such a table only adds facts on cases (`add_facts`).

    Raises:
        DataError: the file is not a table, or a row is not valid.
    """
    lines = read_rows(path)
    label, channels = _columns(lines, folder, path)
    if not channels and "channels" not in lines[0][1]:
        return None
    rules = parse_rules(naming.series, channels)[1] if naming.series else ()
    series_rules = SeriesRules(rules, naming.dicom)
    cases = []
    problems: list[str] = []
    for line, row in lines:
        case, reason = _case(row, channels, label, folder, path, line)
        if reason is None:
            try:
                case = with_series(case, channels, series_rules)
            except MedsegError as error:
                reason = Why.of(error)
        if reason:
            problems.append(LeftOut(case.id, Why(f"{path.name}, line {line}: {reason}", reason.kind, reason.file)))
        else:
            cases.append(case)
    check_unique_ids(cases, path)
    names = named_by_modality(tuple(channels) or channel_numbers(cases), cases)
    problems += _unused_patients(lines[0][1], path)
    problems += [
        f"{path.name}: the column {name!r} is an input of the network, as every other column of files is"
        for name in channels
        if LABEL_WORDS & {*words(name)}
    ]
    return DataSet(folder, "table", names, None, cases, problems, series_rules=rules)


def scans_of_table(folder: Path, names: Sequence[str]) -> ListedScans | None:
    """Return the scans that the table of a data set lists, with or without labels; None where no table lists files.

    Args:
        folder: the data set's folder, with a `cases.csv`.
        names: of the model's channels. Without labels, a column lists scans if it is called after one of them, after a
            kind of scan, or `image`: others may be of previews.

    Raises:
        DataError: the file is not a table, or a row is not valid.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    lines = read_rows(path)
    label, channels = _columns(lines, folder, path)
    if not channels and "channels" not in lines[0][1]:
        return None
    known = {name.lower() for name in names}
    lists = any(name.lower() in known or names_images(name) or kinds_named(name) for name in channels)
    if label is None and channels and not lists:
        return None
    read = [(line, *_case(row, channels, label, folder, path, line)) for line, row in lines]
    cases, absent = [], []
    for line, case, reason in read:
        if reason is None or reason.kind == "missing label":
            cases.append(case)
        else:
            absent.append((line, case, reason))
    check_unique_ids([case for _, case, _ in read], path)
    for_testing = any(is_test_case(case) for _, case, _ in read)  # then nobody misses the others
    problems = {
        case.id: f"{path.name}, line {line}: {reason}"
        for line, case, reason in absent
        if is_test_case(case) or not for_testing
    }
    files = (file for _, case, _ in read for file in (*case.channels, case.label, case.weight_map))
    beside = frozenset(file for file in files if file is not None)
    return ListedScans(path, tuple(channels), {case.id: case.channels for case in cases}, problems, beside)


def _columns(lines: list[tuple[int, Row]], folder: Path, path: Path) -> tuple[str | None, list[str]]:
    """Return the column of the label files, or None, and those of the channels."""
    rows = [row for _, row in lines]
    roots = path.parent, folder
    label = _label_column(rows, path, roots)
    return label, [name for name in rows[0] if name not in (*CASE_COLUMNS, label) and _names_files(rows, name, roots)]


def add_facts(data: DataSet, path: Path) -> DataSet:
    """Add the facts of a table without files to the cases: patient, annotated structures, weights, attributes.

    Args:
        data: the data set.
        path: the table; its column `id` holds ids of cases.

    Returns:
        The data set with these facts.

    Raises:
        DataError: the file is not a table, has no ids, or names a case that the data set does not have.
    """
    lines = read_rows(path)
    if "id" not in lines[0][1]:
        raise DataError(
            f"{path} has no column id; its columns are {first_few([*lines[0][1]])}.",
            "Call the column with the names of the cases id; or, to list files, give the table a column for each "
            "channel and one called label.",
        )
    rows: dict[str, tuple[int, Row]] = {}
    for line, row in lines:
        if row["id"] in rows:
            raise DataError(
                f"{path}, line {line}: case {row['id']!r} has a row already.", "Keep one row for each case."
            )
        rows[row["id"]] = line, row
    unknown = sorted(rows.keys() - {case.id for case in data.cases})
    left_out = [id for id in unknown if any(text.startswith(f"{id}: ") for text in data.problems)]
    unknown = [id for id in unknown if id not in left_out]
    if unknown:
        known = ", ".join(sorted(case.id for case in data.cases)[:_MOST_SHOWN])
        raise DataError(
            f"{path} names {', '.join(map(repr, unknown[:_MOST_SHOWN]))}, which is not a case here ({known}, ...).",
            "Its column id has to hold the ids of the cases. To list files, give it a column for each channel and one "
            "called label.",
        )
    cases = []
    for case in data.cases:
        if case.id in rows:
            line, row = rows[case.id]
            facts = parse_row({**row, "channels": "-"}, path, line, data.folder)
            case = replace(
                case,
                patient=facts.patient if row.get("patient") else case.patient,
                annotated=facts.annotated,
                weight=facts.weight if row.get("weight") else case.weight,
                loss_weight=facts.loss_weight if row.get("loss_weight") else case.loss_weight,
                weight_map=facts.weight_map or case.weight_map,
                attributes={**case.attributes, **facts.attributes},
            )
        cases.append(case)
    notes = [f"{path.name} adds facts on {counted(len(rows), 'case')}"]
    notes += _unused_patients(next(iter(rows.values()))[1], path)
    return replace(data, cases=cases, problems=[*data.problems, *notes])


def _unused_patients(row: Row, path: Path) -> list[str]:
    """Return a note if a column seems to name the patient and is not the one that does (`patient`)."""
    names = [name for name in row if (parts := {*words(name)}) & _PATIENTS and parts <= _PATIENTS | _OF_PATIENTS]
    if "patient" in row or not names:
        return []
    return [
        f"{path.name}: the column {names[0]!r} is kept, and decides nothing: if its values are patients, call it "
        "'patient', so that all cases of one come into the same fold"
    ]


def _label_column(rows: list[Row], path: Path, roots: tuple[Path, Path]) -> str | None:
    """Return the column of the label files; None where there is none.

    Raises:
        DataError: several columns may be meant: one of them would be an input of the network.
    """
    names = [name for name in _LABEL_COLUMNS if name in rows[0]]
    of_files = [name for name in names if _names_files(rows, name, roots)]
    if len(of_files) > 1:
        raise DataError(
            f"{path} has {len(of_files)} columns of labels: {', '.join(of_files)}; expected one.",
            "Keep the one that is to be learnt. A column of other files is an input of the network, such as a channel "
            "called prior.",
        )
    return next(iter(of_files or names), None)


def _value(row: Row, name: str) -> str:
    """Return what a row has in a column of files; empty where it says that there is none."""
    text = row.get(name, "")
    return "" if text.strip().lower() in NO_VALUE else text


def _names_files(rows: list[Row], name: str, roots: tuple[Path, Path]) -> bool:
    """Return whether a column holds files: mostly names of images, or mostly DICOM studies that exist."""
    values = [text for row in rows if (text := _value(row, name))]
    if not values or 2 * sum(is_image(Path(value)) for value in values) > len(values):
        return bool(values)
    return 2 * sum(is_study(_resolve(value, *roots)) for value in values) > len(values)


def _case(
    row: Row, channels: list[str], label: str | None, folder: Path, path: Path, line: int
) -> tuple[Case, Why | None]:
    """Return the case of a row, and why it is left out (None if it is not)."""
    files = [_value(row, name) for name in channels] if channels else row.get("channels", "").split(";")
    reference = _value(row, label) if label else ""
    first = next((name for name in (reference, *files) if name.strip()), None)
    id = row.get("id") or (split_suffix(_resolve(first, path.parent, folder))[0] if first else "")
    rest = {name: value for name, value in row.items() if name not in (*channels, label)}
    case = parse_row({**rest, "id": id, "channels": "-"}, path, line, folder)
    paths = [_resolve(name.strip(), path.parent, folder) for name in files if name.strip()]
    label_file = _resolve(reference, path.parent, folder) if reference else None
    weight_map = _resolve(row["weight_map"], path.parent, folder) if row.get("weight_map") else None
    case = replace(case, channels=tuple(paths), label=label_file, weight_map=weight_map)
    if len(paths) < len(files) or not paths:
        return case, Why("a channel has no file", "missing channel")
    if absent := [file for file in paths if not (file.exists() or is_dicom(file))]:
        return case, Why(f"there is no image file {absent[0]}", "missing image", absent[0])
    if weight_map is not None and not weight_map.is_file():
        return case, Why(f"there is no weight map {weight_map}", "missing image", weight_map)
    if label_file is None:
        return case, Why("it has no label file", "missing label")
    exists = label_file.is_file() or _is_annotated(label_file) or is_dicom(label_file)
    return case, None if exists else Why(f"there is no label file {label_file}", "missing label", label_file)


def _resolve(name: str, *roots: Path) -> Path:
    """Return the file in the first of the folders that has it; in the first folder where none has it."""
    return declared_path(name, *roots, exists=lambda path: path.exists() or _is_annotated(path))


def _is_annotated(path: Path) -> bool:
    """Return whether a path names an image in a JSON file of COCO, or masks, that are there."""
    reference = split_reference(path)
    return bool(united_files(path) or structure_masks(path)) if reference is None else reference[0].is_file()
