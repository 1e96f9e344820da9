"""Find the scans of other formats than DICOM in a folder: `scans` looks here where a model is to segment a folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from medseg.core.errors import DataError
from medseg.io.formats.table import FORMATS, split_suffix
from medseg.io.layouts.case_folders import files_of_folders
from medseg.io.layouts.file_names.modalities import kinds_named, may_be, says
from medseg.io.layouts.file_names.names import Group, channel_files, group_by_case, images_by_stem, split_channel
from medseg.io.layouts.file_names.roles import two_files
from medseg.io.layouts.file_names.words import chunks, names_images, names_labels, splits
from medseg.io.layouts.find import found_in
from medseg.io.layouts.flat_folder import files_for_channels
from medseg.io.layouts.pairs import IMAGES, LABELS, TEST_IMAGES, images_folder
from medseg.io.layouts.published.bids import scans_of_bids
from medseg.io.layouts.published.cityscapes import scans_of_cityscapes
from medseg.io.layouts.published.coco import scans_of_coco
from medseg.io.layouts.published.labelme_folders import scans_of_labelme_folders
from medseg.io.layouts.published.listed_scans import check_order
from medseg.io.layouts.published.voc import IMAGES as VOC_IMAGES
from medseg.io.layouts.split_folders import scans_folder

IMAGE_FOLDERS = ("", TEST_IMAGES, *IMAGES, VOC_IMAGES)
"""Folders in a folder that may hold images, in the order in which they are looked for."""

Files = dict[str, tuple[Path, ...]]
"""The files of each case in the order of the model's channels; one file may hold them all."""

ByCase = Mapping[str, Sequence[tuple[str, Path]]]
"""The files of each case with their roles; a role stands there twice where two names say it."""


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
    for name in IMAGE_FOLDERS:
        images, problems = images_by_stem(folder / name)
        if images or problems:
            files, incomplete = _among_images(folder, name, images, channels)
            return files, problems | incomplete | _absent_of_coco(folder, name)
    for scans_of in (scans_of_cityscapes, scans_of_coco, scans_of_labelme_folders):
        found, problems = scans_of(folder)
        if found or problems:
            return found, problems
    part = scans_folder(folder)
    if part is not None:
        return look_through(part, channels)
    beside_labels = _images_beside_labels(folder)
    images, problems = images_by_stem(beside_labels) if beside_labels is not None else ({}, {})
    if beside_labels is not None and (images or problems):
        files, incomplete = _among_images(folder, beside_labels.name, images, channels)
        return files, problems | incomplete
    return _in_folders_or_bids(folder, channels)


def _absent_of_coco(folder: Path, name: str) -> dict[str, str]:
    """Return {image: why it is left out} where files of COCO beside a folder of images list what is not there."""
    if name == TEST_IMAGES:
        return {}
    with suppress(DataError):  # planning names what is wrong with these files
        return scans_of_coco(folder)[1]
    return {}


def _images_beside_labels(folder: Path) -> Path | None:
    """Return the folder of images that `plan` pairs with one of labels, whatever both are called: `img/`, `gt/`."""
    try:
        images = images_folder(folder, None)
    except DataError:  # several folders say images: each may be a case
        return None
    others = [path for path in folder.iterdir() if path.is_dir() and path != images]
    return images if any(names_labels(path.name) for path in others) else None


def _among_images(
    folder: Path, name: str, images: dict[str, Path], channels: Sequence[str]
) -> tuple[Files, dict[str, str]]:
    """Return the scans among the images of one folder by case, and {case: why it is left out}.

    Args:
        folder: the folder that was searched.
        name: of the folder in it that holds the images; empty where they lie right in it.
        images: {name without suffix: file}.
        channels: names of the model's channels.
    """
    numbered = all(split_channel(stem)[1] is not None for stem in images)  # CT_0000: a case called CT
    say_channels = {} if name or numbered else files_for_channels(images, channels)
    named, others = _by_name(say_channels, images, channels)
    if others and len(channels) > 1:
        check_order(folder / name, channels, split_suffix(next(iter(others.values())))[1] if numbered else None)
    files, incomplete = _by_role(named, channels)
    label_folders = LABELS if name in IMAGES else ()
    known = {stem for inner in label_folders for stem in images_by_stem(folder / inner)[0]}
    groups = group_by_case(others if name else without_labels(others, others), known)
    groups = _one_channel(groups, folder) if len(channels) == 1 else groups
    alone, lacking = channel_files(groups, len(channels))
    for case in alone.keys() & named.keys():  # C.nii.gz beside C_t1.nii.gz
        both = [*alone.pop(case), *(path for role, path in named[case] if role in channels)]
        files.pop(case, None)
        incomplete[case] = f"{' and '.join(path.name for path in both)} claim to be one case; keep one"
    return alone | files, lacking | incomplete


def without_labels(stems: Mapping[str, Path], images: Collection[str]) -> dict[str, Path]:
    """Return the files without those that are named as the label of an image: `case7_seg` beside `case7`.

    Args:
        stems: {name without suffix: file}.
        images: names of the images.
    """
    return {
        stem: path
        for stem, path in stems.items()
        if not any(names_labels(part) and rest in images for part, rest in splits(stem))
    }


def _by_name(
    say_channels: Mapping[str, list[tuple[str, Path]]], images: Mapping[str, Path], channels: Sequence[str]
) -> tuple[ByCase, dict[str, Path]]:
    """Return the files by case and role where names say it (`CASE_flair`), and the files of which each is a case.

    Files of which the name says another channel are of a case as well, so that it is named if it has no other. Where no
    case has a second file, and some file fits none, a name may have the word of a channel by chance: then names say
    nothing of cases.

    Args:
        say_channels: the files that are named after a channel, by case.
        images: {name without suffix: file} of all files.
        channels: names of the model's channels.
    """
    used = {path for pairs in say_channels.values() for _, path in pairs}
    unused = {stem: path for stem, path in images.items() if path not in used}
    owners = {stem: [pair for pair in splits(stem) if pair[0] in say_channels] for stem in unused}
    of_cases = {stem: pairs for stem, pairs in owners.items() if pairs and stem not in say_channels}
    roles = {role.lower() for pairs in of_cases.values() for _, role in pairs}
    others = {stem: _of_another_channel(stem, roles, channels) for stem in unused.keys() - of_cases.keys()}
    free = {stem: path for stem, path in unused.items() if stem in others and others[stem] is None}
    ids = {split_channel(stem)[0] for stem in images}
    named: dict[str, list[tuple[str, Path]]] = {}
    for stem, pair in sorted(others.items()):
        if pair is not None and (pair[0] == stem or pair[0] not in ids):  # else it lies beside the scan of this case
            named.setdefault(pair[0], []).append((pair[1], unused[stem]))
    if free and not of_cases and all(len(pairs) == 1 for pairs in say_channels.values()):
        return named, {stem: path for stem, path in images.items() if path in used or stem in free}
    named |= {case: [*with_channels] for case, with_channels in say_channels.items()}
    for stem, pairs in of_cases.items():
        case, role = max(pairs, key=lambda pair: len(pair[0]))  # p10 and not p1 for p10_flair
        named[case].append((role, unused[stem]))
    return named, free


def _of_another_channel(stem: str, roles: Collection[str], channels: Sequence[str]) -> tuple[str, str] | None:
    """Return the case and the role of a file of which the name says that it is no channel; None where it does not.

    Args:
        stem: the name, which says none of the channels.
        roles: in lower case, those of files that lie beside channels of other cases.
        channels: names of the model's channels.
    """
    pairs = [(case, role) for case, role in splits(stem) if case and role]
    if beside := [pair for pair in pairs if pair[1].lower() in roles]:
        return min(beside, key=lambda pair: len(pair[0]))
    if may_be(stem, channels) or split_channel(stem)[1] is not None:
        return None
    said = [pair for pair in pairs if len(chunks(pair[1])) == 1 and kinds_named(pair[1]) and not kinds_named(pair[0])]
    return said[0] if said else (stem, stem)


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
                settled.setdefault(split_suffix(path)[0], {})[None] = path
    return settled


def _in_folders_or_bids(folder: Path, channels: Sequence[str]) -> tuple[Files, dict[str, str]]:
    """Find the files of each case in a BIDS folder or a folder of case folders.

    Args:
        folder: where to look.
        channels: names of the model's channels, in order.

    Returns:
        {case: files in the order of the channels}, and {case: why it is left out}.
    """
    of_subjects = scans_of_bids(folder)
    if of_subjects:
        return _by_role(of_subjects, channels)
    roles, problems = files_of_folders(folder)
    files, incomplete = _by_role({case: [*by_role.items()] for case, by_role in roles.items()}, channels)
    return files, problems | incomplete


def _by_role(roles: ByCase, channels: Sequence[str]) -> tuple[Files, dict[str, str]]:
    """Choose the files of each case that are named after the model's channels, or its only file that is not a label.

    Upper and lower case do not matter, and `channel_0` is also called `0000`.

    Args:
        roles: {case: its files with their roles}.
        channels: names of the model's channels, in order.

    Returns:
        {case: files in the order of the channels}, and {case: why it is left out}.
    """
    spellings = [{channel.lower(), _numbered(channel.lower())} for channel in channels]
    said = {spelling for of_channel in spellings for spelling in of_channel}
    in_cases = [{role.lower() for role, _ in pairs} for pairs in roles.values()]
    beside = {role for of_case in in_cases if of_case & said for role in of_case - said}
    named = any(of_case & said for of_case in in_cases)
    files: Files = {}
    problems: dict[str, str] = {}
    for case, pairs in roles.items():
        fitting = [[path for role, path in pairs if role.lower() in of_channel] for of_channel in spellings]
        missing = [channel for channel, paths in zip(channels, fitting, strict=True) if not paths]
        several = [(channel, paths) for channel, paths in zip(channels, fitting, strict=True) if len(paths) > 1]
        scans = [(role, path) for role, path in pairs if not names_labels(role)]
        alone = scans[0][0] if len(scans) == 1 and len(missing) == len(channels) else None
        if several:
            problems[case] = two_files(*several[0])
        elif not missing:
            files[case] = tuple(paths[0] for paths in fitting)
        elif alone is not None and alone.lower() not in beside and _may_hold(alone, channels, named):
            files[case] = (scans[0][1],)
        else:
            present = ", ".join(sorted({role or path.name for role, path in pairs}))
            problems[case] = f"there is no {' and no '.join(missing)}; there is {present}"
    return files, problems


def _may_hold(role: str, channels: Sequence[str], named: bool) -> bool:
    """Return whether the only scan of a case may be taken for all channels of a model.

    It may whatever its name says where channels have no names of their own (`image`, `channel_0`); else its name must
    say no other modality, and say the channels where files of other cases do.

    Args:
        role: what the name of the file says.
        channels: names of the model's channels.
        named: whether files of other cases are named after channels.
    """
    unnamed = all(names_images(channel) or _numbered(channel) != channel for channel in channels)
    return unnamed or says(role, channels) or (not named and may_be(role, channels))


def _numbered(channel: str) -> str:
    """Return `0000` for `channel_0`."""
    number = channel.removeprefix("channel_")
    return f"{int(number):04d}" if number.isdecimal() else channel
