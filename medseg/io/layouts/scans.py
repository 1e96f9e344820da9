"""Scans to segment: a file or a folder -> cases without labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.core.case import Case
from medseg.core.errors import DataError, MedsegError
from medseg.core.wording import counted
from medseg.io.dicom.elements.dataset import need_pydicom
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
_MOST_TOLD = 10


def find_scans(
    source: Path, channels: Sequence[str], patterns: Sequence[str] | None = None, how: SeriesRules | None = None
) -> tuple[list[Case], dict[str, str]]:
    """Find the scans that a model is to segment.

    `CASE_0000.nii.gz` is channel 0 of CASE, and CASE itself for a model of one channel; a file without such a suffix
    holds all channels. Names may also say the model's channels (`CASE_flair.nii.gz`), with all cases in one folder, a
    folder for each, or BIDS. Of a data set's folder, `imagesTs` is taken if it is there, else the training images.
    Folders and zips of DICOM are cases, too, one a study, called after the folder or zip.

    Args:
        source: one file, or a folder.
        channels: names of the model's channels, in order.
        patterns: one per channel, such as `*_flair.nii.gz` or `*/t1.nii.gz`, where `*` is the case id.
        how: which series of DICOM studies are the channels; where a study leaves it open, it is left out.

    Returns:
        The cases sorted by id, and those that were left out, by id, with the reason.

    Raises:
        DataError: there is nothing to segment, or it is open which files are channels and which are cases.
    """
    source = Path(source)
    if not source.exists():
        raise DataError(f"There is no file or folder {source}.", "Expected a scan, or a folder of scans.")
    studies = {} if patterns else _studies(source)
    if source.is_file() and not studies and not is_image(source):
        read_image(source)  # refuses, and says which formats are known
    if studies:
        return _with_studies(source, channels, studies, how or SeriesRules())
    if patterns:
        files, problems = _by_pattern(source if source.is_dir() else source.parent, patterns, channels)
        if source.is_file():
            files, problems = {id: paths for id, paths in files.items() if source in paths}, {}
    elif source.is_file():
        files, problems = _by_file(source, len(channels)), {}
    else:
        files, problems = _by_folder(source, channels)
    if not files:
        wanted = f"{len(channels)} channel{'s' * (len(channels) > 1)} ({', '.join(channels)})"
        raise DataError(
            f"{source} has no complete scan of {wanted}. {first_of(sentences(problems))}",
            "Expected CASE_0000, CASE_0001, ... or one file per case; or give one pattern per channel ('*_t1.nii.gz'), "
            "or one pattern for files that hold all channels ('*.png').",
        )
    return [Case(id, id, files[id]) for id in sorted(files)], dict(sorted(problems.items()))


def _studies(source: Path) -> dict[str, Path]:
    """The DICOM studies of a folder; of a data set's folder, those of its images."""
    inner = [source / name for name in (TEST_IMAGES, *IMAGES) if (source / name).is_dir()]
    return next((found for folder in inner if (found := studies_in(folder))), None) or studies_in(source)


def _with_studies(
    source: Path, channels: Sequence[str], studies: dict[str, Path], how: SeriesRules
) -> tuple[list[Case], dict[str, str]]:
    """Studies as cases, and the scans of other formats beside them.

    Raises:
        DataError: there is one study only, and it cannot be used.
    """
    files: Files = {}
    problems: dict[str, str] = {}
    if source.is_dir() and source.resolve() not in [path.resolve() for path in studies.values()]:
        files, problems = _look_through(source, channels)
    cases = {id: Case(id, id, paths) for id, paths in files.items()}
    for id, container in studies.items():
        problems.pop(id, None)
        try:
            if id in cases and not how.rules:
                del cases[id]
                raise DataError(
                    f"{container} is a DICOM study, and there is {files[id][0]}, too: which of them is meant is open.",
                    "Choose by --series or, for the files, by --channels '*/scan.nii.gz'.",
                )
            cases[id] = case_of_study(id, container, channels, how)
        except MedsegError as error:
            if len(studies) == 1 and not cases:
                raise
            problems[id] = str(error)
    if not cases:
        need_pydicom()
        told = "\n".join(f"  {id}: {why.splitlines()[0]}" for id, why in [*problems.items()][:_MOST_TOLD])
        raise DataError(
            f"None of the studies in {source} can be used ({len(problems)}).\n{told}",
            "`medseg series FOLDER` shows what a study holds; --series chooses, --resample-tilt and --allow-gaps read "
            "series with a tilt or with gaps.",
        )
    return [cases[id] for id in sorted(cases)], dict(sorted(problems.items()))


def _by_file(source: Path, channels: int) -> Files:
    """One file, or the channels of one case of which it is the first."""
    stem = split_suffix(source)[0]
    case, number = split_channel(stem)
    paths = tuple(source.with_name(f"{case}_{channel:04d}{source.name[len(stem) :]}") for channel in range(channels))
    if source in paths and all(path.is_file() for path in paths):
        return {case: paths}
    return {case if number == 0 else stem: (source,)}


def _by_folder(folder: Path, channels: Sequence[str]) -> tuple[Files, dict[str, str]]:
    """The scans of a folder, and why others are left out.

    Raises:
        DataError: there is neither one nor the other.
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
    """A plain folder of scans, the test images, else the training images, of a data set, or one folder per case."""
    for name in ("", TEST_IMAGES, *IMAGES, VOC_IMAGES):
        images, problems = images_by_stem(folder / name)
        if images or problems:
            numbered = all(split_channel(stem)[1] is not None for stem in images)  # then CT_0000 is CT
            named = {} if name or numbered else _by_name(images, channels)
            if named:
                files, incomplete = scans_by_role(named, channels)
                return files, problems | incomplete
            places = LABELS if name in IMAGES else ()
            known = {stem for place in places for stem in images_by_stem(folder / place)[0]}
            groups = group_by_case(images if name else _without_labels(images), known)
            single = len(channels) == 1
            files, incomplete = channel_files(_one_channel(groups, folder) if single else groups, len(channels))
            return files, problems | incomplete
    if lists_cases(folder):
        return {case.id: case.channels for case in read_dataset_json(folder).cases}, {}
    return scans_in_folders(folder, channels)


def _without_labels(images: dict[str, Path]) -> dict[str, Path]:
    """The files less those that are the label of another one by their name: `case7_seg` beside `case7`."""
    return {
        stem: path
        for stem, path in images.items()
        if not any(names_labels(part) and rest in images for part, rest in splits(stem))
    }


def _by_name(images: dict[str, Path], channels: Sequence[str]) -> RoleFiles:
    """Files by case and channel where names say the channel (`CASE_flair`); nothing where some file is left over.

    Further files of a case that is known so (`CASE_seg`) are not left over.
    """
    named = files_for_channels(images, channels)
    used = {path for own in named.values() for path in own.values()}
    rest = [stem for stem, path in images.items() if path not in used]
    return named if all(any(part in named for part, _ in splits(stem)) for stem in rest) else {}


def _one_channel(groups: dict[str, Group], folder: Path) -> dict[str, Group]:
    """CASE_0000 is CASE for a model of one channel, and any other number belongs to the case's name."""
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
    if len(patterns) not in (1, len(channels)):
        raise DataError(
            f"{counted(len(patterns), 'pattern')} given ({', '.join(patterns)}); the model takes "
            f"{counted(len(channels), 'channel')}.",
            f"Give one for each of {', '.join(channels)} in this order, or a single one for files that hold them all.",
        )
    return match_patterns(folder, patterns)
