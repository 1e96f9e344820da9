"""Read Pascal VOC: `JPEGImages/` and `SegmentationClass/` with the same names, `ImageSets/Segmentation/*.txt`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.labels import Labels
from medseg.core.wording import counted, first_few
from medseg.io.layouts.dataset import DataSet, Why, sentences
from medseg.io.layouts.file_names.names import images_by_stem
from medseg.io.layouts.file_names.split_words import TRAINVAL, part_named
from medseg.io.layouts.split_lists import case_named, notes_on_unknown
from medseg.io.values.class_names import BACKGROUND, number_names, read_lines

IMAGES = "JPEGImages"
LABELS = ("SegmentationClass", "SegmentationClassPNG")
IGNORE = 255
"""The value of VOC's masks at the border of objects and where nobody decided."""

_NAMES = ("class_names.txt", "labels.txt")
_SETS = "ImageSets/Segmentation"


def read_voc(folder: Path) -> DataSet | None:
    """Read a data set laid out as Pascal VOC; None where it is not.

    Structures are numbered by their line in `class_names.txt` or `labels.txt`, and 255 is the ignore value. Where
    `ImageSets/Segmentation` lists names, only those cases are used, and the attribute `image_set` names their lists.

    Returns:
        The data set.

    Raises:
        DataError: the class list is not valid.
    """
    if not (folder / IMAGES).is_dir() or not any((folder / name).is_dir() for name in LABELS):
        return None
    masks = {name: images_by_stem(folder / name) for name in LABELS}
    labels_folder = next((name for name in LABELS if masks[name][0]), LABELS[0])
    labels, problems = masks[labels_folder]
    images, image_problems = images_by_stem(folder / IMAGES)
    problems |= image_problems
    sets, list_notes = _image_sets(folder, images.keys() | labels.keys() | problems.keys())
    listed = {id: path for id, path in labels.items() if sets is None or id in sets}
    cases = [Case(id, id, (images[id],), listed[id]) for id in listed.keys() & images.keys()]
    cases = [replace(case, attributes={"image_set": sets[case.id]}) if sets else case for case in cases]
    problems |= dict.fromkeys(
        listed.keys() - images.keys() - problems.keys(),
        Why(f"there is no image of this name in {folder / IMAGES}", "missing image", folder / IMAGES),
    )
    notes = sentences(problems) + list_notes
    without_mask = len(images.keys() - labels.keys())
    if without_mask:
        notes.append(f"{counted(without_mask, 'image')} of {len(images)} without a mask in {labels_folder}, left out")
    if len(listed) < len(labels):
        notes.append(f"{counted(len(labels) - len(listed), 'mask')} in no list of {_SETS}, left out")
    structures, structure_notes = _structures(folder)
    notes += structure_notes
    return DataSet(folder, "voc", ("image",), structures, cases, notes, IGNORE, ignore_assumed=True)


def _structures(folder: Path) -> tuple[Labels | None, list[str]]:
    """Return the structures that a class list declares, and a note where it does not begin with the background."""
    path = next((folder / name for name in _NAMES if (folder / name).is_file()), None)
    if path is None:
        return None, []
    names = read_lines(path)
    numbered = number_names(names, str(path))
    if max(numbered.values()) >= IGNORE:
        raise DataError(f"{path} lists {len(numbered)} structures; masks hold {IGNORE - 1} beside the ignore value.")
    note = f"{path.name} does not list a background, so its first name, {next(iter(numbered))}, is taken as value 1"
    labels = Labels(structures=dict(numbered), ignore=IGNORE)
    return labels, [] if any(name in BACKGROUND for name in names) else [note]


def _image_sets(folder: Path, names: Collection[str]) -> tuple[dict[str, str] | None, list[str]]:
    """Return {case: the lists that name it}, None where there are no lists; and notes on what is not used of them.

    Lists whose names say a part of the split (`train`, `train_aug`, `val2012`) count before others. trainval counts
    only where neither train nor val, which say more, does.

    Args:
        folder: the data set.
        names: of the images and masks; a line may also have their files, or a number behind the name.
    """
    paths = sorted((folder / _SETS).glob("*.txt"))
    of_parts = [path for path in paths if part_named(path.stem)]
    ids = {name: name for name in names}
    sets: dict[str, list[str]] = {}
    unknown: dict[str, list[str]] = {}
    for path in of_parts or paths:
        for line in read_lines(path):
            said = (line, line.rsplit(maxsplit=1)[0], case_named(line, ids), line.split()[0])
            id = next((name for name in said if name in ids), None)
            if id is None:
                unknown.setdefault(f"{_SETS}/{path.name}", []).append(line)
            elif path.stem not in sets.setdefault(id, []):
                sets[id].append(path.stem)
    others = [path.name for path in paths if of_parts and path not in of_parts]
    notes = [*notes_on_unknown(unknown)]
    if others:
        notes.append(f"{_SETS}: {first_few(others)} not used, as no part of a split (train, val, test) has such a name")
    joined = {
        id: "+".join([name for name in names if part_named(name) != TRAINVAL] or names) for id, names in sets.items()
    }
    return (joined if sets or unknown else None), notes
