"""Read a folder for each part of a split: `train/` beside `trainannot/`, `train/images/`, `images/train/`, and so on.

Each part is read as paired folders, case folders or one folder of files; the attribute `split` of a case is its part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from medseg.core.errors import DataError
from medseg.io.layouts.case_folders import read_case_folders
from medseg.io.layouts.dataset import DEFAULT_NAMING, DataSet, LeftOut, Naming, Why
from medseg.io.layouts.file_names.names import images_by_stem
from medseg.io.layouts.file_names.split_words import PARTS, SHORT, part_and_others
from medseg.io.layouts.file_names.words import IMAGE_WORDS, LABEL_WORDS
from medseg.io.layouts.flat_folder import read_flat_folder
from medseg.io.layouts.pairs import read_paired, read_pairs

COLUMN = "split"
"""The attribute of a case that names its part."""

_IMAGES, _LABELS, _BOTH = "images", "labels", "both"


def read_split_folders(folder: Path, naming: Naming = DEFAULT_NAMING) -> DataSet | None:
    """Read a data set with a folder for each part of a split; None where it is not one.

    There must be images with labels for training, in folders that are named after this part.

    Args:
        folder: the data set.
        naming: what the user says about the files in each part.

    Returns:
        The data set; the attribute `split` of each case names its part.

    Raises:
        DataError: the names in a part do not say which files belong together, or the parts have different channels.
    """
    folders = _folders_of_parts(folder, naming)
    if "train" not in folders or (len(folders) == 1 and _BOTH not in folders["train"]):
        return None
    parts: dict[str, DataSet] = {}
    notes: list[str] = []
    for part, kinds in folders.items():
        try:
            data = _read_part(folder, kinds, naming)
        except DataError as error:
            if part != "test":
                raise
            notes.append(f"the test part is not used: {error}")
            continue
        if data is not None and (data.cases or data.problems):
            parts[part] = data
        elif part == "train":
            return None
        else:
            names = " and ".join(f"{path.relative_to(folder).as_posix()}/" for path in kinds.values())
            notes.append(f"the {part} part ({names}) has no labels and is not used")
    if set(parts) == {"train"} and not any(kinds.keys() == {_BOTH} for kinds in folders.values()):
        return None  # images/ beside a test set without labels is read as it always was
    return _joined(folder, parts, notes)


def scans_folder(folder: Path) -> Path | None:
    """Return the folder of the images to segment in such a data set: of its test part, else of val, else of train.

    Args:
        folder: the data set.

    Returns:
        The folder; None where the folder is no such data set.
    """
    try:
        folders = _folders_of_parts(folder, DEFAULT_NAMING)
    except DataError:
        return None
    if "train" not in folders:
        return None
    kinds = next(folders[part] for part in ("test", "val", "train") if part in folders)
    return kinds.get(_IMAGES, kinds.get(_BOTH))


def part_of_name(name: str) -> tuple[str, str] | None:
    """Return the part of a split that the name of a folder says, and whether it holds images, labels or both.

    >>> part_of_name("train"), part_of_name("valannot"), part_of_name("imagesTs"), part_of_name("contrast")
    (('train', 'both'), ('val', 'labels'), ('test', 'images'), None)
    >>> part_of_name("TrainDataset"), part_of_name("val2017"), part_of_name("training_set_images")
    (('train', 'both'), ('val', 'both'), ('train', 'images'))
    """
    word, others = part_and_others(name)
    if not word or len(others) > 1:
        return None
    if not others:
        return None if word in SHORT else (PARTS[word], _BOTH)
    kind = _IMAGES if others <= IMAGE_WORDS else _LABELS if others <= LABEL_WORDS else None
    return (PARTS[word], kind) if kind else None


def _folders_of_parts(folder: Path, naming: Naming) -> dict[str, dict[str, Path]]:
    """Return {part: {images, labels or both: folder}}, the parts in the order train, val, test.

    Raises:
        DataError: two folders claim to be the same.
    """
    folders: dict[str, dict[str, Path]] = {}
    for path, part, kind in [*_beside(folder), *(_inside(folder, naming))]:
        first = folders.setdefault(part, {}).setdefault(kind, path)
        if first != path:
            raise DataError(
                f"{folder} has {first.relative_to(folder)}/ and {path.relative_to(folder)}/: which is meant "
                f"for {part} is not clear.",
                "Take one of them away, or list the files in a table with a column split: --cases TABLE.csv.",
            )
    return {part: folders[part] for part in ("train", "val", "test") if part in folders}


def _beside(folder: Path) -> Iterator[tuple[Path, str, str]]:
    """Yield folders whose own names say a part: `train`, `trainannot`, `labels_val`."""
    for path in sorted(folder.iterdir()):
        named = part_of_name(path.name) if path.is_dir() else None
        if named:
            yield path, *named


def _inside(folder: Path, naming: Naming) -> Iterator[tuple[Path, str, str]]:
    """Yield the folders of parts in a folder of images and in one of labels: `images/train`, `annotations/val`."""
    for path in sorted(folder.iterdir()):
        name = path.name.lower()
        is_label = path.name == naming.labels or name in LABEL_WORDS
        is_image = path.name in naming.images or name in IMAGE_WORDS
        kind = _LABELS if is_label else _IMAGES if is_image else None
        if kind and path.is_dir() and not images_by_stem(path)[0]:
            for inner in sorted(path.iterdir()):
                named = part_of_name(inner.name) if inner.is_dir() else None
                if named and named[1] == _BOTH:
                    yield inner, named[0], kind


def _read_part(folder: Path, kinds: Mapping[str, Path], naming: Naming) -> DataSet | None:
    """Return the cases of one part; None where it holds no labels.

    Args:
        folder: the data set.
        kinds: images, labels or both -> the folder.
        naming: what the user says about the files in a part.
    """
    both = kinds.get(_BOTH)
    images = kinds.get(_IMAGES, both)
    if images is not None and _LABELS in kinds:
        return read_paired(folder, images, kinds[_LABELS])
    if both is None:
        return None
    for read in (read_pairs, read_case_folders, read_flat_folder):
        data = read(both, naming)
        if data is not None:
            return data
    return None


def _joined(folder: Path, parts: Mapping[str, DataSet], notes: list[str]) -> DataSet:
    """Return the parts as one data set; ids that occur in two parts are preceded by their part.

    Raises:
        DataError: the parts have different channels.
    """
    channels = {part: data.channels for part, data in parts.items() if data.cases}
    if len(set(channels.values())) > 1:
        listed = "; ".join(f"{part}: {', '.join(names)}" for part, names in channels.items())
        raise DataError(
            f"The parts of {folder} have different channels ({listed}).",
            "Name those that are meant: --images flair, repeated.",
        )
    count = Counter(case.id for data in parts.values() for case in data.cases)
    twice = any(number > 1 for number in count.values())
    cases, problems = [], []
    for part, data in parts.items():
        start = f"{part}_" if twice else ""
        cases += [
            replace(
                case, id=start + case.id, patient=start + case.patient, attributes={**case.attributes, COLUMN: part}
            )
            for case in data.cases
        ]
        problems += [
            LeftOut(start + problem.id, Why(problem.why, problem.kind, problem.file))
            if isinstance(problem, LeftOut)
            else f"{part}: {problem}"
            for problem in data.problems
        ]
    names = next(iter(channels.values()), ("image",))
    return DataSet(folder, "splits", names, None, cases, [*problems, *notes])
