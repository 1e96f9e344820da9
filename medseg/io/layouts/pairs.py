"""Read `images/` beside `labels/` or `masks/`: files are paired by equal names, else by similar ones."""

from __future__ import annotations

from pathlib import Path

from medseg.core.errors import DataError
from medseg.core.wording import counted, first_few
from medseg.io.formats.table import split_suffix
from medseg.io.layouts.dataset import DataSet, Naming, pair_up, sentences
from medseg.io.layouts.file_names.names import Group, channel_files, channel_numbers, group_by_case, images_by_stem
from medseg.io.layouts.file_names.similar_names import match_similar, pairing_note
from medseg.io.layouts.file_names.words import names_images, names_labels, words
from medseg.io.layouts.mask_folders import labels_of_masks

IMAGES = ("images", "imagesTr")
TEST_IMAGES = "imagesTs"
LABELS = ("labels", "masks", "labelsTr")
"""The usual names; else a folder is found by a word for images or labels in its name."""

_HELD_OUT = {"ts", "test"}


def read_pairs(folder: Path, naming: Naming) -> DataSet | None:
    """Read paired folders; None where there are none.

    Args:
        folder: the data set.
        naming: what the user says about which folders are meant.

    Returns:
        The data set.

    Raises:
        DataError: several folders may be meant, or the names in them do not say which files belong together.
    """
    image_folder = named_images_folder(folder, naming)
    label_folder = labels_folder(folder, image_folder, naming.labels)
    if image_folder is None or label_folder is None:
        return None
    return read_paired(folder, image_folder, label_folder)


def read_paired(folder: Path, image_folder: Path, label_folder: Path) -> DataSet:
    """Read one folder of images and one of labels, whatever they are called.

    Args:
        folder: the data set.
        image_folder: the folder of the images.
        label_folder: the folder of the labels.

    Returns:
        The data set.

    Raises:
        DataError: the names do not say which files belong together.
    """
    folders = image_folder, label_folder
    images, problems = images_by_stem(image_folder)
    labels, label_problems = images_by_stem(label_folder)
    problems |= label_problems
    if not labels:
        labels, unclear = labels_of_masks(label_folder, images)
        problems |= unclear
    groups = group_by_case(images, known=labels)
    notes = []
    if groups.keys().isdisjoint(labels) and images and labels:
        groups, labels = _similar(images, labels, groups, folders)
        notes = [pairing_note({case: labels[case].name for case in groups.keys() & labels.keys()})]
    highest = max((number or 0 for id in groups.keys() & labels.keys() for number in groups[id]), default=0)
    files, incomplete = channel_files(groups, highest + 1)
    problems |= incomplete
    cases = pair_up(files, labels, folders, problems)
    return DataSet(folder, "pairs", channel_numbers(cases), None, cases, sentences(problems) + notes)


def _similar(
    images: dict[str, Path], labels: dict[str, Path], groups: dict[str, Group], folders: tuple[Path, Path]
) -> tuple[dict[str, Group], dict[str, Path]]:
    """Return image files by case, and labels under the names of their images.

    Raises:
        DataError: the names are not similar enough.
    """
    single: dict[str, Group] = {stem: {None: path} for stem, path in images.items()}
    for candidates in (single, groups):
        pairs = match_similar(candidates, labels)
        if pairs:
            image_of = {label: image for image, label in pairs.items()}
            return candidates, {image_of.get(label, label): path for label, path in labels.items()}
    names = [", ".join(sorted(path.name for path in side.values())[:2]) for side in (images, labels)]
    raise DataError(
        f"Names in {folders[0]} ({names[0]}, ...) and in {folders[1]} ({names[1]}, ...) do not say which image belongs "
        "to which label.",
        "Give patterns in which * is the case: "
        f"--images '{folders[0].name}/*_image.png' --labels '{folders[1].name}/*_label.png'.",
    )


def named_images_folder(folder: Path, naming: Naming) -> Path | None:
    """Return the folder of the images that the user names, else that of the usual names; None where there is none.

    Args:
        folder: the data set.
        naming: what the user says.

    Raises:
        DataError: several may be meant, or the user names several: a folder holds the images of all channels.
    """
    found = images_folder(folder, naming.images[0] if naming.images else None)
    if found is not None and len(naming.images) > 1:
        patterns = " ".join(f"--images '{name}/*{_suffix_in(folder / name)}'" for name in naming.images)
        raise DataError(
            f"--images names {counted(len(naming.images), 'folder')}, {first_few(naming.images)}; expected one that "
            "holds the images of all channels.",
            f"If each holds one channel, give a pattern for each, and one for the labels: {patterns} "
            "--labels 'FOLDER/*.SUFFIX'",
        )
    return found


def _suffix_in(folder: Path) -> str:
    """Return the suffix of the first image in a folder; empty where there is none."""
    images = images_by_stem(folder)[0] if folder.is_dir() else {}
    return next((split_suffix(path)[1] for path in images.values()), "")


def images_folder(folder: Path, name: str | None) -> Path | None:
    """Return the folder of the images inside a data set; None where there is none.

    Args:
        folder: the data set.
        name: the name that the user gives; None for one of the usual names, else any with a word for images.

    Raises:
        DataError: several may be meant.
    """
    named = [path for path in _folders(folder) if path.name == name or (name is None and path.name in IMAGES)]
    other = [path for path in _folders(folder) if name is None and names_images(path.name)]
    return _only(folder, named or other, "--images")


def labels_folder(folder: Path, images: Path | None, name: str | None) -> Path | None:
    """Return the folder of the labels inside a data set; None where there is none.

    Args:
        folder: the data set.
        images: the folder of the images, which is another one.
        name: the name that the user gives; None for any with a word for labels.

    Raises:
        DataError: several may be meant.
    """
    others = [path for path in _folders(folder) if path != images]
    fitting = [path for path in others if path.name == name or (name is None and names_labels(path.name))]
    return _only(folder, fitting, "--labels")


def _folders(folder: Path) -> list[Path]:
    """Return the folders inside, without those of a test set."""
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    return [path for path in inner if _HELD_OUT.isdisjoint(words(path.name))]


def _only(folder: Path, candidates: list[Path], option: str) -> Path | None:
    if len(candidates) > 1:
        files = [images_by_stem(path)[0].keys() for path in candidates]
        by_structure = option == "--labels" and files[0] and all(names == files[0] for names in files)
        raise DataError(
            f"{folder} has {' and '.join(path.name + '/' for path in candidates)}: which is meant is not clear.",
            f"Choose one: {option} {candidates[0].name}."
            + (
                " Where each holds the masks of one structure, put them into one folder: masks/STRUCTURE/IMAGE.png."
                if by_structure
                else ""
            ),
        )
    return candidates[0] if candidates else None
