"""Read images and labels side by side in one folder: `case7_image.nii.gz` with `case7_seg.nii.gz`."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import chain
from pathlib import Path

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.wording import first_few
from medseg.io.layouts.dataset import DataSet, Naming, Why, sentences
from medseg.io.layouts.file_names.names import images_by_stem
from medseg.io.layouts.file_names.roles import Files, Further, cases_of, left_aside, settle_roles, unclear_cases
from medseg.io.layouts.file_names.similar_names import match_similar, pairing_note
from medseg.io.layouts.file_names.words import SEPARATORS, chunks, names_labels, remove_name, splits


def read_flat_folder(folder: Path, naming: Naming) -> DataSet | None:
    """Read a folder in which names say what is an image and what is a label; None where no name says so.

    Args:
        folder: the data set.
        naming: what the user says about which files are meant.

    Returns:
        The data set.

    Raises:
        DataError: the names do not say which image belongs to which label, or which of several labels is meant.
    """
    files_by_stem, problems = images_by_stem(folder)
    labels = {stem: path for stem, path in files_by_stem.items() if names_labels(stem)}
    images = {stem: path for stem, path in files_by_stem.items() if stem not in labels}
    if not labels or not images:
        return None
    files, further = _by_case(images, labels)
    roles = settle_roles(files, naming, folder) if files else None
    if roles is not None:
        cases, incomplete = cases_of(files, roles)
        unclear = unclear_cases(files, further, roles)
        cases, incomplete = [case for case in cases if case.id not in unclear], incomplete | unclear
        used = {path for by_role in files.values() for path in by_role.values()} | {*chain(*further.values())}
        # images of no case, and labels whose names are misspelt: they look like images
        incomplete |= {
            stem: Why(f"there is no label of this name in {folder}", "missing label")
            for stem, path in images.items()
            if path not in used
        }
        notes = [*sentences(problems | incomplete), *left_aside(files, roles)]
        return DataSet(folder, "files", roles.channel_names, None, cases, notes)
    pairs = match_similar(images, labels)
    if not pairs:
        raise DataError(
            f"{folder} holds {len(images)} images ({_some(images)}) and {len(labels)} labels ({_some(labels)}); the "
            "names do not say which belong together.",
            "Give patterns in which * is the case: --images '*_image.nii.gz' --labels '*_seg.nii.gz'.",
        )
    cases = [Case(image, image, (images[image],), labels[label]) for image, label in pairs.items()]
    unpaired = (images.keys() - pairs.keys()) | (labels.keys() - set(pairs.values()))
    problems |= dict.fromkeys(unpaired, Why("it has no counterpart", "missing label"))
    return DataSet(folder, "files", ("image",), None, cases, [*sentences(problems), pairing_note(pairs)])


def files_for_channels(stems: dict[str, Path], channels: Sequence[str]) -> dict[str, list[tuple[str, Path]]]:
    """Return (channel, file) by case where names are `CASE_channel` or `channel_CASE`, whatever their case.

    A channel stands there twice if two names say it: `p1_ct` and `p1-ct`.

    Args:
        stems: {name without suffix: file}.
        channels: names of the channels.
    """
    files: dict[str, list[tuple[str, Path]]] = {}
    for stem, path in stems.items():
        for channel in sorted(channels, key=len, reverse=True):  # t1ce before t1
            case = remove_name(stem, channel)
            if case:
                files.setdefault(case, []).append((channel, path))
                break
    return files


def _by_case(images: dict[str, Path], labels: dict[str, Path]) -> tuple[Files, Further]:
    """Return the files by case and role, and further files of the same case and role: `p1-ct` beside `p1_ct`.

    Both are empty where names do not begin or end with a word for labels. The id of a case is the name of its label
    file without that word.
    """
    files: Files = {}
    further: Further = {}
    for stem, path in labels.items():
        case, label_word = _case_and_word(stem, labels)
        if not case or label_word in files.get(case, {}):
            return {}, {}
        files.setdefault(case, {})[label_word] = path
    for stem, path in images.items():
        owners = [(case, role) for case, role in splits(stem) if case in files]
        if owners:
            case, role = max(owners, key=lambda owner: len(owner[0]))  # p10 and not p1 for p10_flair
            if files[case].setdefault(role, path) != path:
                further.setdefault((case, role), []).append(path)
    return (files, further) if any(len(roles) > 1 for roles in files.values()) else ({}, {})


def _case_and_word(stem: str, labels: Collection[str]) -> tuple[str, str]:
    """Return the case and the word for labels of a name that begins or ends with one; ("", "") for other names.

    A number after the word belongs to it if the same name without it is a label too: a further mask of the case.

    Args:
        stem: the name.
        labels: the names of all labels.

    >>> _case_and_word("p7_seg", ()), _case_and_word("label-p7", ()), _case_and_word("p_mask_1", ["p_mask"])
    (('p7', 'seg'), ('p7', 'label'), ('p', 'mask_1'))
    """
    parts = chunks(stem)
    ends = [parts[-1], parts[0]]
    unnumbered = re.fullmatch(rf"(.+?)[{re.escape(SEPARATORS)}]*\d+", stem)
    if unnumbered and unnumbered[1] in labels and names_labels(chunks(unnumbered[1])[-1]):
        word = chunks(unnumbered[1])[-1]
        ends.insert(0, stem[unnumbered[1].rindex(word) :])
    for word in ends:
        case = remove_name(stem, word) if names_labels(word) else None
        if case:
            return case, word
    return "", ""


def _some(names: dict[str, Path]) -> str:
    return first_few(sorted(path.name for path in names.values()), most=2)
