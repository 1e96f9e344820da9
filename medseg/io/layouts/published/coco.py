"""Read COCO's layout: JSON files with the annotations of many images, whose files lie beside or below them.

`annotations/instances_train2017.json` with `train2017/`, and `train/_annotations.coco.json` among its images, are
usual. Files for train, val and test are a published split.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.labels import Labels
from medseg.core.wording import counted, first_few
from medseg.io.annotations.coco import CocoFile, may_be_coco, read_coco_file
from medseg.io.formats.table import is_image, split_suffix
from medseg.io.layouts.dataset import DEFAULT_NAMING, DataSet, Naming, Why, sentences
from medseg.io.layouts.file_names.words import names_images, words
from medseg.io.layouts.pairs import labels_folder
from medseg.io.layouts.split_folders import COLUMN, part_of_name

_MOST_JSON = 50
"""A folder with more JSON files has one for each image, as labelme's have; COCO has a few for all."""
_HIGHEST_VALUE = 254  # so that answers are 8-bit images, and 255 stays free for ignored pixels


@dataclass(frozen=True)
class _ImageFile:
    """An image that an annotation file lists.

    Attributes:
        file: the annotation file.
        part: train, val or test; None where names do not say.
        id: of the image in that file.
        path: the image.
    """

    file: CocoFile
    part: str | None
    id: str
    path: Path


def annotation_files(folder: Path, name: str | None = None, every: bool = False) -> list[Path]:
    """Return the JSON files in a folder, and in the folders inside it, that look like COCO's.

    Files called `instances...` are preferred to others in their folder, which describe the same images for other tasks
    (`person_keypoints`, `captions`).

    Args:
        folder: the data set.
        name: only the file of this name, or of this path relative to the folder; None for all.
        every: whether to return those for other tasks too.
    """
    chosen: list[Path] = []
    for inner in (folder, *(path for path in sorted(folder.iterdir()) if path.is_dir())):
        if inner.name.startswith("."):
            continue
        listed = sorted(path for path in inner.iterdir() if path.suffix.lower() == ".json" and path.is_file())
        if name is not None:
            chosen += [path for path in listed if name in (path.name, path.relative_to(folder).as_posix())]
        elif len(listed) <= _MOST_JSON:
            fitting = [path for path in listed if may_be_coco(path)]
            preferred = [path for path in fitting if path.name.startswith("instances") and not every]
            chosen += preferred or fitting
    return chosen


def read_coco(folder: Path, naming: Naming = DEFAULT_NAMING) -> DataSet | None:
    """Read a folder with annotation files of COCO; None where there are none, or masks lie in a folder of their own.

    Args:
        folder: the data set.
        naming: `labels` may name the annotation file that is meant, where several are about the same images.

    Returns:
        The data set.

    Raises:
        DataError: a file contradicts itself, two of them are about the same images, or no image of them is there.
    """
    named = naming.labels if naming.labels and naming.labels.lower().endswith(".json") else None
    if (naming.labels and named is None) or (named is None and _has_masks(folder)):
        return None
    paths = annotation_files(folder, named)
    if not paths:
        return None
    files = [read_coco_file(path) for path in paths]
    annotated = [file for file in files if file.annotated]
    if not annotated:
        return None
    images, problems, unlisted = _find_images(folder, annotated)
    notes = [note for file in annotated for note in file.notes]
    others = [path.name for path in annotation_files(folder, every=True) if path not in paths]
    if others:
        notes.append(f"not used beside {paths[0].name}: {first_few(others)}; --labels {others[0]} chooses that file")
    notes += [f"{file.path.name} lists images without annotations, to predict" for file in files if not file.annotated]
    to_predict = {
        re.split(r"[/\\]", image.file_name)[-1]
        for file in files
        if not file.annotated
        for image in file.images.values()
    }
    unlisted = [name for name in unlisted if name.rsplit("/", 1)[-1] not in to_predict]
    if unlisted:
        names = first_few(unlisted)
        notes.append(f"{counted(len(unlisted), 'image')} without an entry in a JSON file, left out: {names}")
    labels, of_labels = _structures(annotated)
    if labels is None:
        raise _nothing_drawn(annotated)
    empty = [image.path.name for image in images if not image.file.annotations.get(image.id)]
    if empty:
        notes.append(f"{counted(len(empty), 'image')} without an annotation, background as a whole: {first_few(empty)}")
    cases = [
        Case(id, id, (image.path,), image.file.label_path(image.id), attributes={COLUMN: image.part or ""})
        for id, image in _with_ids(images, folder, problems)
    ]
    if not any(image.part for image in images):
        cases = [Case(case.id, case.patient, case.channels, case.label) for case in cases]
    return DataSet(folder, "coco", ("image",), labels, cases, [*sentences(problems), *notes, *of_labels])


def scans_of_coco(folder: Path) -> tuple[dict[str, tuple[Path, ...]], dict[str, str]]:
    """Return the images of such a folder to segment, by case: of its test part, else of val, else all.

    Args:
        folder: the data set.

    Returns:
        {case: its image}, and {image: why it is left out}; both empty where the folder has no annotation file.
    """
    files = _files_to_predict(folder)
    if not files:
        return {}, {}
    images = _find_images(folder, files, refuse=False)[0]
    parts = {image.part for image in images}
    part = next((name for name in ("test", "val", "train") if name in parts), None)
    of_part = [file for file in files if part is None or _part(file.path, folder) == part]
    chosen, problems, _ = _find_images(folder, of_part, refuse=False)
    paths_of_part = {image.path for image in chosen}
    named = _with_ids(images, folder, problems)  # of all parts, as plans and references name them
    return {id: (image.path,) for id, image in named if image.path in paths_of_part}, problems


def unlisted_images(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the images beside those that annotation files list, and that none of them does; the names of these files.

    Args:
        folder: the data set.

    Returns:
        Both empty where there is no annotation file that can be read.
    """
    try:
        files = _files_to_predict(folder)
    except DataError:
        return [], []
    images, _, names = _find_images(folder, files, refuse=False) if files else ([], {}, [])
    beside = {image.path.parent for image in images}
    unlisted = [path for name in names if (path := folder / name).parent in beside]
    return unlisted, list(dict.fromkeys(file.path.name for file in files))


def _files_to_predict(folder: Path) -> list[CocoFile]:
    """Return the annotation files of a folder, of which thousands of scans have none; none beside files of masks.

    Raises:
        DataError: one of them cannot be read.
    """
    paths = annotation_files(folder)
    return [] if not paths or _has_masks(folder) else [read_coco_file(path) for path in paths]


def _has_masks(folder: Path) -> bool:
    """Return whether there is a folder of mask files, which then are the labels."""
    try:
        masks = labels_folder(folder, None, None)
    except DataError:
        return True  # several: the layout of paired folders says what is not clear
    return masks is not None and any(is_image(path) for path in masks.rglob("*"))


def _part(path: Path, folder: Path) -> str | None:
    """Return the part of a split that the name of an annotation file says, or that of its folder.

    >>> _part(Path("d/annotations/instances_train2017.json"), Path("d")), _part(Path("d/valid/a.json"), Path("d"))
    ('train', 'val')
    """
    for word in words(path.stem):
        named = part_of_name(word)
        if named and named[1] == "both":
            return named[0]
    named = part_of_name(path.parent.name) if path.parent != folder else None
    return named[0] if named else None


def _find_images(
    folder: Path, files: Sequence[CocoFile], refuse: bool = True
) -> tuple[list[_ImageFile], dict[str, str], list[str]]:
    """Return the listed images that are there, {image: why it is left out}, and the images that no file lists.

    Args:
        folder: the data set.
        files: the annotation files.
        refuse: whether two files for the same images are refused; else the first counts.

    Raises:
        DataError: two files are about the same images.
    """
    by_name: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if is_image(path) and not path.is_dir():
            by_name.setdefault(path.name, []).append(path)
    images: dict[Path, _ImageFile] = {}
    problems: dict[str, str] = {}
    for file in files:
        part = _part(file.path, folder)
        problems |= {f"{file.path.name}: {id}": why for id, why in file.problems.items()}
        for image in file.images.values():
            image_file, why = _image_file(image.file_name, by_name, folder, file.path, part)
            if image_file is None:
                problems[image.file_name] = Why(why, "missing image")
                continue
            other = images.setdefault(image_file, _ImageFile(file, part, image.id, image_file))
            if (other.file, other.id) == (file, image.id) or not refuse:
                continue
            if other.part == part and other.file is not file:
                raise DataError(
                    f"{other.file.path.name} and {file.path.name} in {folder} both list {image.file_name}: which of "
                    "them is meant is not clear.",
                    f"Choose one: --labels {file.path.name}.",
                )
            places = " and ".join(dict.fromkeys((other.file.path.name, file.path.name)))
            problems[image_file.relative_to(folder).as_posix()] = f"it is listed more than once, in {places}"
    unlisted = sorted(
        path.relative_to(folder).as_posix() for paths in by_name.values() for path in paths if path not in images
    )
    twice = {folder / name for name in problems}
    return [image for path, image in images.items() if path not in twice], problems, unlisted


def _image_file(
    file_name: str, by_name: Mapping[str, Sequence[Path]], folder: Path, listing: Path, part: str | None
) -> tuple[Path | None, str]:
    """Return the file that an annotation file means by a name, or None and why there is none.

    Names may lead through folders (`train/a.png`) that are called differently here: of the files with the same last
    part, those with the most of the path in common count, then those beside the annotation file, then those in a folder
    that is named after it or its part, then those in a folder with a word for images (`images/`, beside `masks/`).

    Args:
        file_name: as the annotation file has it.
        by_name: {name of a file: files below the data set's folder}.
        folder: the data set's.
        listing: the annotation file.
        part: what part of the split it is about.
    """
    parts = [piece for piece in re.split(r"[/\\]", file_name) if piece not in ("", ".", "..")]
    candidates = by_name.get(parts[-1] if parts else "", ())

    def rank(path: Path) -> tuple[int, bool, bool, bool]:
        common = 0
        for part_there, part_named in zip(reversed(path.parts), reversed(parts), strict=False):
            if part_there != part_named:
                break
            common += 1
        above = path.relative_to(folder).parent.parts  # what the folders above the data set are called says nothing
        folders = [*map(part_of_name, above), *(part_of_name(word) for name in above for word in words(name))]
        of_part = part is not None and any(named and named[0] == part for named in folders)
        return common, path.parent == listing.parent, of_part, names_images(path.parent.name)

    best = max(map(rank, candidates), default=None)
    fitting = [path for path in candidates if rank(path) == best]
    if not fitting:
        return None, f"there is no image of this name below the folder ({listing.name} lists it)"
    if len(fitting) > 1:
        shown = " and ".join(map(str, fitting[:2]))
        return None, f"{shown} may be the image that {listing.name} lists"
    return fitting[0], ""


def _with_ids(images: Sequence[_ImageFile], folder: Path, problems: dict[str, str]) -> Iterator[tuple[str, _ImageFile]]:
    """Yield (id of the case, image): names without suffix, with their folders where two are equal.

    Args:
        images: the images.
        folder: the data set.
        problems: images that would have the same id all the same are added.
    """
    short = [split_suffix(image.path)[0] for image in images]
    if any(count > 1 for count in Counter(short).values()):
        folders = ["_".join(image.path.relative_to(folder).parts[:-1]) for image in images]
        short = [f"{inner}_{name}" if inner else name for inner, name in zip(folders, short, strict=True)]
    count = Counter(short)
    for id, image in zip(short, images, strict=True):
        if count[id] == 1:
            yield id, image
        else:
            problems[id] = f"{count[id]} images would be this case; keep one of them"


def _nothing_drawn(files: Sequence[CocoFile]) -> DataError:
    """Return why annotation files without an object of a category that they list are no data set."""
    file = files[0]
    entries = [entry for of_image in file.annotations.values() for entry in of_image]
    if any("segments_info" in entry for entry in entries):
        return DataError(
            f"{file.path} holds panoptic annotations, whose objects are drawn in PNG files of colours.",
            "Expected annotations with segmentation, as in COCO's instances_*.json; panopticapi converts them.",
        )
    ids = first_few(list(dict.fromkeys(str(entry.get("category_id")) for entry in entries)))
    seen = f"its annotations name the categories {ids}, which it does not list" if entries else "no image has any"
    return DataError(
        f"{file.path} has no annotation of a listed category: {seen}.",
        "Export it again with its annotations and their categories.",
    )


def _structures(files: Sequence[CocoFile]) -> tuple[Labels | None, list[str]]:
    """Return the categories that are drawn somewhere as structures, and notes on the others and on their values.

    Values are the ids of the categories where these are whole numbers from 1 to 254 and the same in all files; else the
    categories are numbered from 1 in the order of their ids.
    """
    ids: dict[str, int] = {}
    agree = True
    for file in files:
        for id, name in file.used_categories().items():
            agree &= ids.setdefault(name, id) == id
    unused = sorted({name for file in files for name in file.categories.values()} - ids.keys())
    notes = [f"{counted(len(unused), 'category')} of no annotation, no structure: {first_few(unused)}"] * bool(unused)
    ordered = sorted(ids, key=lambda name: (ids[name], name))
    usable = agree and len({*ids.values()}) == len(ids) and all(1 <= id <= _HIGHEST_VALUE for id in ids.values())
    if ids and not usable:
        notes.append(
            "the structures are numbered from 1 in the order of their categories, whose ids are not the same "
            f"everywhere or not between 1 and {_HIGHEST_VALUE}"
        )
    values = {name: ids[name] if usable else number for number, name in enumerate(ordered, start=1)}
    return (Labels(structures=dict(values)) if values else None), notes
