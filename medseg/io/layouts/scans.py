"""Find the scans that a model is to segment: from a file or a folder to cases without labels.

What knows the layouts of folders is imported only for a folder: a single file is answered sooner without it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.core.case import Case
from medseg.core.errors import DataError, MedsegError
from medseg.core.wording import counted
from medseg.io.formats.table import is_image, split_suffix
from medseg.io.images import read_image
from medseg.io.layouts.file_names.names import split_channel
from medseg.io.layouts.studies import SeriesRules, case_of_study, patient_of, studies_in, with_series

if TYPE_CHECKING:
    from medseg.io.layouts.folder_of_scans import Files
    from medseg.io.layouts.unread_entries import Unread
_MOST_SHOWN = 10


def find_scans(
    source: Path,
    channels: Sequence[str],
    patterns: Sequence[str] | None = None,
    series_rules: SeriesRules | None = None,
) -> tuple[list[Case], dict[str, str]]:
    """Find the scans that a model is to segment.

    `CASE_0000.nii.gz` is channel 0 of CASE, and CASE itself for a model of one channel; a file without such a suffix
    holds all channels. Files may also be named after the model's channels (`CASE_flair.nii.gz`), all in one folder, in
    one folder per case, or as in BIDS. Of a data set, `imagesTs` is taken if it exists, else what its table or JSON
    file lists, else the training images. A folder or zip of DICOM is a case too, named after the folder or zip.

    Args:
        source: one file, or a folder.
        channels: names of the model's channels, in order.
        patterns: one per channel, such as `*_flair.nii.gz` or `*/t1.nii.gz`, where `*` is the case id.
        series_rules: which series of DICOM studies are the channels; a study where that is not clear is left out.

    Returns:
        The cases sorted by id, and {case: why it is left out}.

    Raises:
        DataError: there is nothing to segment, or the names do not say which files are channels and which are cases.
    """
    source = Path(source)
    if not source.exists():
        raise DataError(f"There is no file or folder {source}.", "Expected a scan, or a folder of scans.")
    series_rules = series_rules or SeriesRules()
    listed = None if patterns or source.is_file() else _listed(source, channels)
    root, studies = (source, {}) if patterns or listed else _studies(source, bool(series_rules.rules))
    if studies:
        return _with_studies(root, channels, studies, series_rules)
    files, problems = listed or _files_by_case(source, channels, patterns)
    if not files:
        raise _no_complete_scan(source, channels, problems)
    cases = []
    for id in sorted(files):
        try:
            case = Case(id, id, files[id])
            cases.append(with_series(case, channels, series_rules) if patterns or listed else case)
        except MedsegError as error:
            if len(files) == 1:
                raise
            problems[id] = str(error)
    if not cases:
        raise DataError(f"None of the studies in {source} can be used. {next(iter(problems.values()))}")
    return cases, dict(sorted(problems.items()))


def unread_scans(source: Path, cases: Sequence[Case], named: Collection[str], channels: Sequence[str]) -> Unread:
    """Return what looks like a scan beside the cases that `find_scans` found by the names of files, and is not read.

    Args:
        source: the folder.
        cases: its cases.
        named: ids of the cases that are left out.
        channels: names of the model's channels.
    """
    from medseg.io.layouts.beside_scans import beside_scans
    from medseg.io.layouts.published.listed_scans import listed_scans, unlisted
    from medseg.io.layouts.unread_entries import Unread, unread_entries

    listed = None
    with suppress(DataError):  # planning names what is wrong with the list
        listed = listed_scans(source, channels)
    if listed is not None:
        return Unread(source, others=unlisted(listed))  # the list says which files there are
    scans = {case.id: case.channels for case in cases}
    unread = unread_entries(source, scans, named=named)
    return replace(unread, others=[*beside_scans(source, scans, named), *unread.others])


def _listed(folder: Path, channels: Sequence[str]) -> tuple[Files, dict[str, str]] | None:
    """Return the scans that a data set's own list names, by case, and {case: why it is left out}; None for no list."""
    from medseg.io.layouts.published.listed_scans import in_order, listed_scans

    try:
        listed = listed_scans(folder, channels)
    except DataError:
        from medseg.io.layouts.case_table import NAME as TABLE
        from medseg.io.layouts.folder_of_scans import look_through

        if not (folder / TABLE).is_file() and look_through(folder, channels)[0]:
            return None  # planning names what is wrong with the JSON files; here the folder is one of images
        raise
    return None if listed is None else in_order(listed, channels)


def _files_by_case(
    source: Path, channels: Sequence[str], patterns: Sequence[str] | None
) -> tuple[Files, dict[str, str]]:
    """Return the files of each case, and {case: why it is left out}; see `find_scans`.

    Raises:
        DataError: a single file is no image, or there are not as many patterns as channels.
    """
    if source.is_file() and not is_image(source):
        read_image(source)  # refuses, and says which formats are known
    if patterns:
        files, problems = _by_pattern(source if source.is_dir() else source.parent, patterns, channels)
        if source.is_file():
            return {id: paths for id, paths in files.items() if source in paths}, {}
        return files, problems
    if source.is_file():
        return _by_file(source, len(channels)), {}
    from medseg.io.layouts.folder_of_scans import scans_of_folder

    return scans_of_folder(source, channels)


def _no_complete_scan(source: Path, channels: Sequence[str], problems: dict[str, str]) -> DataError:
    """Return the error for a source of which no case has all channels."""
    from medseg.io.layouts.dataset import sentences
    from medseg.io.layouts.find import first_of

    expected = f"{counted(len(channels), 'channel')} ({', '.join(channels)})"
    return DataError(
        f"{source} has no complete scan of {expected}. {first_of(sentences(problems))}",
        "Expected CASE_0000, CASE_0001, ... or one file per case; or give one pattern per channel ('*_t1.nii.gz'), "
        "or one pattern for files that hold all channels ('*.png').",
    )


def _studies(source: Path, chosen: bool) -> tuple[Path, dict[str, Path]]:
    """Return where the scans are (of a data set's folder, its images), and the studies there; see `studies_in`."""
    if source.is_file():
        return source, studies_in(source)
    from medseg.io.layouts.folder_of_scans import IMAGES, TEST_IMAGES

    for name in (TEST_IMAGES, *IMAGES):
        if (source / name).is_dir() and (studies := studies_in(source / name, chosen)):
            return source / name, studies
    return source, studies_in(source, chosen)


def _with_studies(
    source: Path, channels: Sequence[str], studies: dict[str, Path], series_rules: SeriesRules
) -> tuple[list[Case], dict[str, str]]:
    """Return studies as cases together with the scans of other formats beside them, and {case: why it is left out}.

    Raises:
        DataError: there is only one study and it cannot be used, or nothing can be used.
    """
    files: Files = {}
    problems: dict[str, str] = {}
    if source.is_dir() and source.resolve() not in [path.resolve() for path in studies.values()]:
        from medseg.io.layouts.folder_of_scans import look_through

        files, problems = look_through(source, channels)
    cases = {id: Case(id, id, paths) for id, paths in files.items()}
    for id, container in studies.items():
        patient = patient_of(id, container, source)
        problems.pop(id, None)
        problems.pop(patient, None)
        try:
            if id in cases and not series_rules.rules:
                del cases[id]
                raise DataError(
                    f"Both the DICOM study {container} and the file {files[id][0]} may be the scan.",
                    "Choose the study with --series, or the file with --channels '*/scan.nii.gz'.",
                )
            cases[id] = case_of_study(id, container, channels, series_rules, patient)
        except MedsegError as error:
            if len(studies) == 1 and not cases:
                raise
            problems[id] = str(error)
    if not cases:
        from medseg.io.dicom.elements.dataset import require_pydicom  # loaded only for DICOM

        require_pydicom()
        shown = "\n".join(f"  {id}: {why.splitlines()[0]}" for id, why in [*problems.items()][:_MOST_SHOWN])
        raise DataError(
            f"None of the studies in {source} can be used ({len(problems)}).\n{shown}",
            "`medseg series FOLDER` shows what a study holds; --series chooses, --resample-tilt and --allow-gaps read "
            "series with a tilt or with gaps.",
        )
    return [cases[id] for id in sorted(cases)], dict(sorted(problems.items()))


def _by_file(source: Path, channels: int) -> Files:
    """Return one file as a case, or all channels of a case of which it is the first."""
    stem = split_suffix(source)[0]
    case, number = split_channel(stem)
    paths = tuple(source.with_name(f"{case}_{channel:04d}{source.name[len(stem) :]}") for channel in range(channels))
    if source in paths and all(path.is_file() for path in paths):
        return {case: paths}
    return {case if number == 0 else stem: (source,)}


def _by_pattern(folder: Path, patterns: Sequence[str], channels: Sequence[str]) -> tuple[Files, dict[str, str]]:
    """Return the files that match one pattern a channel, or a single one, by case, and {case: why it is left out}."""
    if len(patterns) not in (1, len(channels)):
        raise DataError(
            f"{counted(len(patterns), 'pattern')} given ({', '.join(patterns)}); the model takes "
            f"{counted(len(channels), 'channel')}.",
            f"Give one for each of {', '.join(channels)} in this order, or a single one for files that hold them all.",
        )
    from medseg.io.layouts.patterns import match_patterns

    return match_patterns(folder, patterns)
