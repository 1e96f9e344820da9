"""Find the scans that a model is to segment: from a file or a folder to cases without labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.core.case import Case
from medseg.core.errors import DataError, MedsegError
from medseg.core.wording import counted
from medseg.io.formats.table import FORMATS, is_image, split_suffix
from medseg.io.images import read_image
from medseg.io.layouts.dataset import sentences
from medseg.io.layouts.dataset_json import lists_cases, read_dataset_json
from medseg.io.layouts.find import first_of, found_in
from medseg.io.layouts.flat_folder import files_for_channels
from medseg.io.layouts.names import Group, channel_files, group_by_case, images_by_stem, split_channel
from medseg.io.layouts.pairs import IMAGES, LABELS
from medseg.io.layouts.patterns import match_patterns
from medseg.io.layouts.roles import Files as RoleFiles
from medseg.io.layouts.scan_folders import Files, scans_by_role, scans_in_folders
from medseg.io.layouts.studies import SeriesRules, case_of_study, studies_in
from medseg.io.layouts.voc import IMAGES as VOC_IMAGES
from medseg.io.layouts.words import names_labels, splits

TEST_IMAGES = "imagesTs"
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
    one folder per case, or as in BIDS. Of a data set, `imagesTs` is taken if it exists, else the training images. A
    folder or zip of DICOM is a case too, named after the folder or zip.

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
    studies = {} if patterns else _studies(source)
    if source.is_file() and not studies and not is_image(source):
        read_image(source)  # refuses, and says which formats are known
    if studies:
        return _with_studies(source, channels, studies, series_rules or SeriesRules())
    if patterns:
        files, problems = _by_pattern(source if source.is_dir() else source.parent, patterns, channels)
        if source.is_file():
            files, problems = {id: paths for id, paths in files.items() if source in paths}, {}
    elif source.is_file():
        files, problems = _by_file(source, len(channels)), {}
    else:
        files, problems = _by_folder(source, channels)
    if not files:
        wanted = f"{counted(len(channels), 'channel')} ({', '.join(channels)})"
        raise DataError(
            f"{source} has no complete scan of {wanted}. {first_of(sentences(problems))}",
            "Expected CASE_0000, CASE_0001, ... or one file per case; or give one pattern per channel ('*_t1.nii.gz'), "
            "or one pattern for files that hold all channels ('*.png').",
        )
    return [Case(id, id, files[id]) for id in sorted(files)], dict(sorted(problems.items()))


def _studies(source: Path) -> dict[str, Path]:
    """Return the DICOM studies of a folder; of a data set's folder, those of its images."""
    for name in (TEST_IMAGES, *IMAGES):
        if (source / name).is_dir() and (studies := studies_in(source / name)):
            return studies
    return studies_in(source)


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
        files, problems = _look_through(source, channels)
    cases = {id: Case(id, id, paths) for id, paths in files.items()}
    for id, container in studies.items():
        problems.pop(id, None)
        try:
            if id in cases and not series_rules.rules:
                del cases[id]
                raise DataError(
                    f"{container} is a DICOM study, and there is {files[id][0]}, too: which is meant is not clear.",
                    "Choose by --series or, for the files, by --channels '*/scan.nii.gz'.",
                )
            cases[id] = case_of_study(id, container, channels, series_rules)
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


def _by_folder(folder: Path, channels: Sequence[str]) -> tuple[Files, dict[str, str]]:
    """Return the scans of a folder by case, and {case: why it is left out}.

    Raises:
        DataError: there are no scans at all.
    """
    files, problems = _look_through(folder, channels)
    if files or problems:
        return files, problems
    raise DataError(
        f"{folder} holds no scans. {found_in(folder)}",
        f"Expected image files ({', '.join(FORMATS)}), DICOM studies, one folder per case, or a data set's folder with "
        f"{TEST_IMAGES}/ or images/.",
    )


def _look_through(folder: Path, channels: Sequence[str]) -> tuple[Files, dict[str, str]]:
    """Return the scans of a folder by case, and {case: why it is left out}; both empty where there are none.

    In this order: images right in the folder; a data set's test images, else its training images; one folder per case.
    """
    for name in ("", TEST_IMAGES, *IMAGES, VOC_IMAGES):
        images, problems = images_by_stem(folder / name)
        if images or problems:
            numbered = all(split_channel(stem)[1] is not None for stem in images)  # CT_0000: a case called CT
            named = {} if name or numbered else _by_name(images, channels)
            if named:
                files, incomplete = scans_by_role(named, channels)
                return files, problems | incomplete
            label_folders = LABELS if name in IMAGES else ()
            known = {stem for inner in label_folders for stem in images_by_stem(folder / inner)[0]}
            groups = group_by_case(images if name else _without_labels(images), known)
            single = len(channels) == 1
            files, incomplete = channel_files(_one_channel(groups, folder) if single else groups, len(channels))
            return files, problems | incomplete
    if lists_cases(folder):
        return {case.id: case.channels for case in read_dataset_json(folder).cases}, {}
    return scans_in_folders(folder, channels)


def _without_labels(images: dict[str, Path]) -> dict[str, Path]:
    """Return the files without those that are named as the label of another one: `case7_seg` beside `case7`."""
    return {
        stem: path
        for stem, path in images.items()
        if not any(names_labels(part) and rest in images for part, rest in splits(stem))
    }


def _by_name(images: dict[str, Path], channels: Sequence[str]) -> RoleFiles:
    """Return files by case and channel where names say the channel (`CASE_flair`); empty if a file fits no case.

    Other files of a known case (`CASE_seg`) may stay unused.
    """
    named = files_for_channels(images, channels)
    used = {path for by_channel in named.values() for path in by_channel.values()}
    unused = [stem for stem, path in images.items() if path not in used]
    return named if all(any(part in named for part, _ in splits(stem)) for stem in unused) else {}


def _one_channel(groups: dict[str, Group], folder: Path) -> dict[str, Group]:
    """Regroup files for a model of one channel: CASE_0000 is CASE; any other number belongs to the case's name.

    Raises:
        DataError: numbered files may be channels or cases.
    """
    settled: dict[str, Group] = {}
    for case, group in groups.items():
        numbers = sorted(number for number in group if number is not None)
        if 0 in numbers and len(numbers) > 1:
            first, last = group[0].name, group[numbers[-1]].name
            raise DataError(
                f"{folder}: {first} to {last} may be {len(numbers)} channels of one case, or {len(numbers)} cases; "
                "the model takes one channel.",
                f"Give a pattern, in which * is the case id: '*{split_suffix(group[0])[1]}' if each file is a case, "
                f"'*_0000{split_suffix(group[0])[1]}' if only this channel is wanted.",
            )
        for number, path in group.items():
            if number in (None, 0):
                settled.setdefault(case, {})[number] = path
            else:
                settled[split_suffix(path)[0]] = {None: path}
    return settled


def _by_pattern(folder: Path, patterns: Sequence[str], channels: Sequence[str]) -> tuple[Files, dict[str, str]]:
    """Return the files that match one pattern a channel, or a single one, by case, and {case: why it is left out}."""
    if len(patterns) not in (1, len(channels)):
        raise DataError(
            f"{counted(len(patterns), 'pattern')} given ({', '.join(patterns)}); the model takes "
            f"{counted(len(channels), 'channel')}.",
            f"Give one for each of {', '.join(channels)} in this order, or a single one for files that hold them all.",
        )
    return match_patterns(folder, patterns)
