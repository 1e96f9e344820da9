"""Folders as they lie -> cases. Nothing is renamed, and what is ambiguous is refused with what settles it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from medseg.case import Case
from medseg.errors import DataError
from medseg.io import read_image
from medseg.io.dataset import DataSet, assign_patients, pair_up, sentences
from medseg.io.dataset_json import NAME, read_dataset_json
from medseg.io.names import channel_files, group_by_case, images_by_stem
from medseg.labels import Labels

IMAGES = ("images", "imagesTr")
LABELS = ("labels", "masks", "labelsTr")
_UNDERSTOOD = f"""\
medseg understands:
- {NAME} with modality, labels and a training list (Medical Segmentation Decathlon)
- {NAME} with channel_names, labels and file_ending, beside imagesTr/ and labelsTr/ (nnU-Net v2)
- images/ beside labels/ or masks/, with the same file names; CASE_0000, CASE_0001 are channels of CASE"""
_MOST_INFERRED = 200
_MOST_SHOWN = 8


def find_cases(folder: Path, patient_pattern: str | None = None) -> DataSet:
    """Find the cases of a data set, its channels, and its structures where they are declared.

    Args:
        folder: laid out as the Medical Segmentation Decathlon, as nnU-Net v2, or as paired folders.
        patient_pattern: a regular expression whose group 1 (or whole match) in a case id is the patient; without
            one, every case is a patient of its own.

    Raises:
        DataError: no such folder, another layout, no usable case, or a pattern that does not match an id.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.", "Expected the folder of a data set with images and labels.")
    data = read_dataset_json(folder) if (folder / NAME).is_file() else _read_pairs(folder)
    if not data.cases:
        raise DataError(
            f"{folder} has no case with image and label. {first_of(data.problems) or found_in(folder)}",
            _UNDERSTOOD,
        )
    cases = sorted(data.cases, key=lambda case: case.id)
    if patient_pattern is not None:
        cases = assign_patients(cases, patient_pattern)
    return replace(data, cases=cases)


def infer_labels(values: Iterable[int]) -> Labels:
    """Structures for label files whose layout does not declare them, 0 being the background.

    One value is called `foreground`, several `label_1`, `label_2`, ... after their values.

    Raises:
        DataError: no value but 0, a negative one, or so many that they are no structures.
    """
    found = sorted(set(values) - {0})
    if not found:
        raise DataError("The label files hold nothing but 0.", "Check that they are masks, and the right ones.")
    if found[0] < 0 or len(found) > _MOST_INFERRED:
        what = f"{len(found)} values from {found[0]} to {found[-1]}"
        raise DataError(
            f"The label files hold {what}: these cannot be taken for structures without being told.",
            "Masks with soft edges have to be thresholded, numbered objects merged into one value; or declare the "
            "structures and their values.",
        )
    if len(found) == 1:
        return Labels(structures={"foreground": found[0]})
    return Labels(structures={f"label_{value}": value for value in found})


def found_in(folder: Path) -> str:
    """What lies in a folder, for messages."""
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir() if not path.name.startswith("."))
    shown = ", ".join(names[:_MOST_SHOWN]) + (f" and {len(names) - _MOST_SHOWN} more" * (len(names) > _MOST_SHOWN))
    return f"Found there: {shown}." if names else "It is empty."


def first_of(problems: list[str]) -> str:
    """The first few problems, for messages."""
    rest = len(problems) - _MOST_SHOWN
    return "; ".join(problems[:_MOST_SHOWN] + [f"and {rest} more"] * (rest > 0))


def _read_pairs(folder: Path) -> DataSet:
    images_folder, labels_folder = _one_of(folder, IMAGES), _one_of(folder, LABELS)
    if images_folder is None or labels_folder is None:
        inner = [path.name for path in sorted(folder.iterdir()) if (path / NAME).is_file() or _one_of(path, IMAGES)]
        meant = f"Perhaps {folder / inner[0]} was meant. " if inner else ""
        raise DataError(f"{folder} is not a data set. {found_in(folder)}", meant + _UNDERSTOOD)
    folders = images_folder, labels_folder
    images, problems = images_by_stem(images_folder)
    labels, more = images_by_stem(labels_folder)
    groups = group_by_case(images, known=labels)
    highest = max((number or 0 for id in groups.keys() & labels.keys() for number in groups[id]), default=0)
    files, incomplete = channel_files(groups, highest + 1)
    problems |= more | incomplete
    cases = pair_up(files, labels, folders, problems)
    channels = _channel_names(sorted(cases, key=lambda case: case.id))
    return DataSet(folder, "pairs", channels, None, cases, sentences(problems))


def _one_of(folder: Path, names: tuple[str, ...]) -> Path | None:
    found = [folder / name for name in names if (folder / name).is_dir()]
    if len(found) > 1:
        raise DataError(
            f"{folder} has {' and '.join(path.name + '/' for path in found)}: which of them is meant is open.",
            "Move the others elsewhere, or describe the data set in a dataset.json.",
        )
    return found[0] if found else None


def _channel_names(cases: list[Case]) -> tuple[str, ...]:
    """Names after the first case that can be read: its files, or the channels in its only file."""
    for case in cases:
        if len(case.channels) > 1:
            return tuple(f"channel_{number}" for number in range(len(case.channels)))
        try:
            image = read_image(case.channels[0])
        except DataError:
            continue  # named when the fingerprint is taken
        count = image.array.shape[0]
        if count == 3 and not image.spacing_known:
            return ("red", "green", "blue")
        return tuple(f"channel_{number}" for number in range(count)) if count > 1 else ("image",)
    return ("image",)
