"""Read images and labels side by side in one folder: `case7_image.nii.gz` with `case7_seg.nii.gz`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.wording import first_few
from medseg.io.layouts.dataset import DataSet, Naming, sentences
from medseg.io.layouts.names import images_by_stem
from medseg.io.layouts.roles import Files, cases_of, left_aside, settle_roles
from medseg.io.layouts.similar_names import match_similar, pairing_note
from medseg.io.layouts.words import chunks, names_labels, remove_name, splits


def read_flat_folder(folder: Path, naming: Naming) -> DataSet | None:
    """Read a folder in which names say what is an image and what is a label; None where no name says so.

    Args:
        folder: the data set.
        naming: what the user says about which files are meant.

    Raises:
        DataError: the names do not say which image belongs to which label, or which of several labels is meant.
    """
    files_by_stem, problems = images_by_stem(folder)
    labels = {stem: path for stem, path in files_by_stem.items() if names_labels(stem)}
    images = {stem: path for stem, path in files_by_stem.items() if stem not in labels}
    if not labels or not images:
        return None
    files = _by_case(images, labels)
    roles = settle_roles(files, naming, folder) if files else None
    if roles is not None:
        cases, incomplete = cases_of(files, roles)
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
    problems |= dict.fromkeys(unpaired, "it has no counterpart")
    return DataSet(folder, "files", ("image",), None, cases, [*sentences(problems), pairing_note(pairs)])


def files_for_channels(stems: dict[str, Path], channels: Sequence[str]) -> Files:
    """Return the files by case and channel where names are `CASE_channel` or `channel_CASE`, whatever their case.

    Args:
        stems: {name without suffix: file}.
        channels: names of the channels.
    """
    files: Files = {}
    for stem, path in stems.items():
        for channel in sorted(channels, key=len, reverse=True):  # t1ce before t1
            case = remove_name(stem, channel)
            if case:
                files.setdefault(case, {})[channel] = path
                break
    return files


def _by_case(images: dict[str, Path], labels: dict[str, Path]) -> Files:
    """Return the files by case and role; empty where names do not begin or end with a word for labels.

    The id of a case is the name of its label file without that word.
    """
    files: Files = {}
    for stem, path in labels.items():
        parts = chunks(stem)
        label_word = next((part for part in (parts[-1], parts[0]) if names_labels(part)), None)
        case = remove_name(stem, label_word) if label_word else None
        if label_word is None or not case or label_word in files.get(case, {}):
            return {}
        files.setdefault(case, {})[label_word] = path
    for stem, path in images.items():
        owners = [(case, role) for case, role in splits(stem) if case in files]
        if owners:
            case, role = max(owners, key=lambda owner: len(owner[0]))  # p10 and not p1 for p10_flair
            files[case][role] = path
    return files if any(len(roles) > 1 for roles in files.values()) else {}


def _some(names: dict[str, Path]) -> str:
    return first_few(sorted(path.name for path in names.values()), most=2)
