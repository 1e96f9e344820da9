"""Find the scans of other formats than DICOM in a folder: `scans` looks here where a model is to segment a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.core.errors import DataError
from medseg.io.formats.table import FORMATS, split_suffix
from medseg.io.layouts.case_folders import files_of_folders
from medseg.io.layouts.file_names.names import Group, channel_files, group_by_case, images_by_stem, split_channel
from medseg.io.layouts.file_names.roles import Files as RoleFiles
from medseg.io.layouts.file_names.words import names_labels, splits
from medseg.io.layouts.find import found_in
from medseg.io.layouts.flat_folder import files_for_channels
from medseg.io.layouts.pairs import IMAGES, LABELS
from medseg.io.layouts.published.bids import scans_of_bids
from medseg.io.layouts.published.cityscapes import scans_of_cityscapes
from medseg.io.layouts.published.coco import scans_of_coco
from medseg.io.layouts.published.dataset_json import lists_cases, read_dataset_json
from medseg.io.layouts.published.labelme_folders import scans_of_labelme_folders
from medseg.io.layouts.published.voc import IMAGES as VOC_IMAGES
from medseg.io.layouts.split_folders import scans_folder

TEST_IMAGES = "imagesTs"

Files = dict[str, tuple[Path, ...]]
"""The files of each case in the order of the model's channels; one file may hold them all."""


def scans_of_folder(folder: Path, channels: Sequence[str]) -> tuple[Files, dict[str, str]]:
    """Return the scans of a folder by case, and {case: why it is left out}.

    Args:
        folder: the folder of scans, or of a data set.
        channels: names of the model's channels, in order.

    Raises:
        DataError: there are no scans at all.
    """
    files, problems = look_through(folder, channels)
    if files or problems:
        return files, problems
    raise DataError(
        f"{folder} holds no scans. {found_in(folder)}",
        f"Expected image files ({', '.join(FORMATS)}), DICOM studies, one folder per case, or a data set's folder with "
        f"{TEST_IMAGES}/ or images/.",
    )


def look_through(folder: Path, channels: Sequence[str]) -> tuple[Files, dict[str, str]]:
    """Return the scans of a folder by case, and {case: why it is left out}; both empty where there are none.

    In this order: images right in the folder; a data set's test images, else its training images; of folders for the
    parts of a split, the test part's; one folder per case.
    """
    for name in ("", TEST_IMAGES, *IMAGES, VOC_IMAGES):
        images, problems = images_by_stem(folder / name)
        if images or problems:
            numbered = all(split_channel(stem)[1] is not None for stem in images)  # CT_0000: a case called CT
            named, others = ({}, images) if name or numbered else _by_name(images, channels)
            files, incomplete = _by_role(named, channels)
            label_folders = LABELS if name in IMAGES else ()
            known = {stem for inner in label_folders for stem in images_by_stem(folder / inner)[0]}
            groups = group_by_case(others if name else _without_labels(others), known)
            groups = _one_channel(groups, folder) if len(channels) == 1 else groups
            alone, lacking = channel_files(groups, len(channels))
            for case in alone.keys() & named.keys():  # C.nii.gz beside C_t1.nii.gz
                both = [*alone.pop(case), *named[case].values()]
                files.pop(case, None)
                incomplete[case] = f"{' and '.join(path.name for path in both)} claim to be one case; keep one"
            return alone | files, problems | lacking | incomplete
    if scenes := scans_of_cityscapes(folder) or scans_of_coco(folder):
        return scenes, {}
    exported = scans_of_labelme_folders(folder)
    if exported:
        return exported, {}
    part = scans_folder(folder)
    if part is not None:
        return look_through(part, channels)
    if lists_cases(folder):
        return {case.id: case.channels for case in read_dataset_json(folder).cases}, {}
    return _in_folders_or_bids(folder, channels)


def _without_labels(images: dict[str, Path]) -> dict[str, Path]:
    """Return the files without those that are named as the label of another one: `case7_seg` beside `case7`."""
    return {
        stem: path
        for stem, path in images.items()
        if not any(names_labels(part) and rest in images for part, rest in splits(stem))
    }


def _by_name(images: dict[str, Path], channels: Sequence[str]) -> tuple[RoleFiles, dict[str, Path]]:
    """Return files by case and channel where names say the channel (`CASE_flair`), and the files that fit no case.

    Other files of a known case (`CASE_seg`) may stay unused. Where no case has a second file, and some file fits none,
    a name may have the word of a channel by chance: then names say nothing.
    """
    named = files_for_channels(images, channels)
    used = {path for by_channel in named.values() for path in by_channel.values()}
    unused = {stem: path for stem, path in images.items() if path not in used}
    of_cases = {stem for stem in unused if stem not in named and any(part in named for part, _ in splits(stem))}
    others = {stem: path for stem, path in unused.items() if stem not in of_cases}
    tells_channels = bool(of_cases) or any(len(by_channel) > 1 for by_channel in named.values())
    return (named, others) if tells_channels or not others else ({}, images)


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


def _in_folders_or_bids(folder: Path, channels: Sequence[str]) -> tuple[Files, dict[str, str]]:
    """Find the files of each case in a BIDS folder or a folder of case folders.

    Args:
        folder: where to look.
        channels: names of the model's channels, in order.

    Returns:
        {case: files in the order of the channels}, and {case: why it is left out}.
    """
    roles = scans_of_bids(folder)
    if roles:
        return _by_role(roles, channels)
    roles, problems = files_of_folders(folder)
    files, incomplete = _by_role(roles, channels)
    return files, problems | incomplete


def _by_role(roles: RoleFiles, channels: Sequence[str]) -> tuple[Files, dict[str, str]]:
    """Choose the files of each case that are named after the model's channels, or its only file that is not a label.

    Upper and lower case do not matter, and `channel_0` is also called `0000`.

    Args:
        roles: {case: {role: file}}.
        channels: names of the model's channels, in order.

    Returns:
        {case: files in the order of the channels}, and {case: why it is left out}.
    """
    files: Files = {}
    problems: dict[str, str] = {}
    for case, by_role in roles.items():
        by_lower = {role.lower(): path for role, path in by_role.items()}
        paths = [by_lower.get(channel.lower(), by_lower.get(_numbered(channel))) for channel in channels]
        missing = [channel for channel, path in zip(channels, paths, strict=True) if path is None]
        scans = [path for role, path in by_role.items() if not names_labels(role)]
        if not missing:
            files[case] = tuple(path for path in paths if path is not None)
        elif len(scans) == 1 and len(missing) == len(channels):
            files[case] = (scans[0],)
        else:
            problems[case] = f"there is no {' and no '.join(missing)}; there is {', '.join(sorted(by_role))}"
    return files, problems


def _numbered(channel: str) -> str:
    """Return `0000` for `channel_0`."""
    number = channel.removeprefix("channel_")
    return f"{int(number):04d}" if number.isdecimal() else channel
