"""Find the cases of a data set and how its files are read, by its folder and by the user's options."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medseg.core.case import Case, read_cases
from medseg.core.errors import DataError
from medseg.core.wording import counted, first_few
from medseg.datasets.data_options import DataOptions
from medseg.datasets.label_options import apply_label_options
from medseg.io.dicom.elements.options import DicomOptions
from medseg.io.layouts.dataset import DataSet, LeftOut, Naming, assign_patients
from medseg.io.layouts.find import find_cases
from medseg.io.layouts.split_lists import is_test_case, with_split_of
from medseg.planning.annotation import check_annotated_names

_OF_FILES = ("images", "labels", "cases", "series")
"""Options that say which files are meant."""


def named_as_before(options: DataOptions, before: Mapping[str, Any], folder: Path) -> tuple[DataOptions, bool]:
    """Return the options of a new plan, with the files named as for the earlier one where they name none.

    Args:
        options: what the user says now.
        before: what the user said of the earlier plan, as `DataOptions.given` has it.
        folder: the folder of the data set.

    Returns:
        The options, and whether the files are named as before: then the table of the earlier plan holds.

    Raises:
        DataError: files were named by a table that is not in the folder.
    """
    now = {key: value for key, value in options.given().items() if key in _OF_FILES}
    before = {key: before[key] for key in _OF_FILES if key in before}
    if "cases" in now:  # a table of the user's, which may have changed since
        return options, False
    if now or not before:
        return options, now == before
    table = folder / str(before["cases"]) if "cases" in before else None
    if table is not None and not table.is_file():
        raise DataError(
            f"The earlier plan's files were named by the table {table.name}, and there is no such file in {folder}.",
            f"Say where it lies: --cases FOLDER/{table.name}",
        )
    images, series = tuple(before.get("images", ())), tuple(before.get("series", ()))
    return replace(options, images=images, labels=before.get("labels"), cases=table, series=series), True


def find_data(folder: Path, options: DataOptions, table: Path | None = None, left_out: Collection[str] = ()) -> DataSet:
    """Return the data set in a folder, as the options describe it.

    Args:
        folder: the data set's folder.
        options: what the user says about it.
        table: the table of cases of an earlier plan with files of the same names, which the user may have edited. If
            it exists, it decides which cases there are.
        left_out: ids of the cases that the earlier plan could not use, and that are therefore not in its table.

    Returns:
        The cases that the user does not exclude, how their files are read, and the structures if they are declared.

    Raises:
        MedsegError: the folder is not a data set, or an option does not fit it.
    """
    allowed = DicomOptions(options.resample_tilt, options.allow_gaps)
    naming = Naming(tuple(options.images), options.labels, options.cases, tuple(options.series), allowed)
    data_set = find_cases(folder, naming=naming, frame=options.frame)
    cases, problems = data_set.cases, data_set.problems
    known = {case.id for case in cases}
    if table is not None and table.exists():
        listed = read_cases(table, data_set.folder.absolute())
        _check_channels(listed, data_set, table)
        listed = with_split_of(listed, data_set)
        ids = {case.id for case in listed}
        cases = [*listed, *(case for case in cases if case.id in left_out and case.id not in ids)]
    left_out_ids = {problem.id for problem in problems if isinstance(problem, LeftOut)}
    excluded = read_ids(options.exclude, known | left_out_ids) if options.exclude is not None else set()
    if table is not None and table.exists():
        wanted = {case.id for case in data_set.cases if not is_test_case(case)}
        others = sorted(wanted - {case.id for case in cases} - excluded)
        lacks = f"; it lacks {counted(len(others), 'case')} of the folder: {first_few(others)}" if others else ""
        problems = [*problems, f"the cases are those of {table}{lacks}; delete it to have the folder searched again"]
    if options.exclude is not None:
        cases = [case for case in cases if case.id not in excluded]
        if not cases:
            raise DataError(
                f"{options.exclude} leaves out all {counted(len(known), 'case')} of {folder}.",
                "It lists the cases to leave out, and not those to keep.",
            )
        # a case that cannot be used is no problem any more where the user leaves it out
        problems = [text for text in problems if not (isinstance(text, LeftOut) and text.id in excluded)]
    if options.patient_pattern:
        cases = assign_patients(cases, options.patient_pattern)
    settled = apply_label_options(replace(data_set, cases=cases, problems=problems), options)
    if settled.labels is not None:
        check_annotated_names(settled.cases, settled.labels)
    return settled


def _check_channels(listed: Sequence[Case], found: DataSet, table: Path) -> None:
    """Refuse a table that lists the files of a case in another order than the data set has its channels.

    Raises:
        DataError: a file would be read as another channel.
    """
    channels = {case.id: [os.path.abspath(file) for file in case.channels] for case in found.cases}
    for case in listed:
        files, expected = [os.path.abspath(file) for file in case.channels], channels.get(case.id, [])
        if files != expected and sorted(files) == sorted(expected):
            raise DataError(
                f"{table} lists the files of {case.id} in another order than the channels "
                f"{', '.join(found.channels)}: {first_few([Path(file).name for file in files])}.",
                "List them in the order of the channels, or delete the table to have the folder searched again.",
            )


def read_ids(listing: Path, known: Collection[str]) -> set[str]:
    """Return the ids in a text file with one id on each line.

    Args:
        listing: the text file.
        known: all ids that there are.

    Raises:
        DataError: there is no such file, or it has an unknown id.
    """
    try:
        ids = {line.strip() for line in listing.read_text(encoding="utf-8-sig").splitlines() if line.strip()}
    except FileNotFoundError:
        raise DataError(f"There is no file {listing} with the ids to leave out.") from None
    except UnicodeDecodeError:
        raise DataError(f"{listing} is not a text file; expected case ids, one on each line.") from None
    unknown = sorted(ids - set(known))
    if unknown:
        raise DataError(f"{listing} names {first_few(unknown)}, which the data set does not have.")
    return ids
