"""Pascal VOC: `JPEGImages/` and `SegmentationClass/` with the same names, `ImageSets/Segmentation/*.txt`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.labels import Labels
from medseg.core.wording import counted
from medseg.io.layouts.dataset import DataSet, sentences
from medseg.io.layouts.names import images_by_stem
from medseg.io.values.class_names import BACKGROUND, number_names, read_lines

IMAGES = "JPEGImages"
LABELS = ("SegmentationClass", "SegmentationClassPNG")
IGNORE = 255
"""What VOC's masks have at the border of objects and where nobody decided."""

_NAMES = ("class_names.txt", "labels.txt")
_SETS = "ImageSets/Segmentation"


def read_voc(folder: Path) -> DataSet | None:
    """Read a data set laid out as Pascal VOC; None where it is not.

    Structures are numbered by their line in `class_names.txt` or `labels.txt`, 255 is the ignore value, and where
    `ImageSets/Segmentation` lists names, those count and the list is kept as the attribute `image_set`.

    Raises:
        DataError: the class list is not valid, or no mask is there.
    """
    if not (folder / IMAGES).is_dir() or not any((folder / name).is_dir() for name in LABELS):
        return None
    found = {name: images_by_stem(folder / name) for name in LABELS}
    labels_folder = next((name for name in LABELS if found[name][0]), LABELS[0])
    labels, problems = found[labels_folder]
    images, more = images_by_stem(folder / IMAGES)
    problems |= more
    sets = _image_sets(folder)
    listed = {id: path for id, path in labels.items() if not sets or id in sets}
    cases = [Case(id, id, (images[id],), listed[id]) for id in listed.keys() & images.keys()]
    cases = [replace(case, attributes={"image_set": sets[case.id]}) if sets else case for case in cases]
    problems |= dict.fromkeys(
        listed.keys() - images.keys() - problems.keys(), f"there is no image of this name in {folder / IMAGES}"
    )
    notes = sentences(problems)
    alone = len(images.keys() - labels.keys())
    if alone:
        notes.append(f"{counted(alone, 'image')} of {len(images)} without a mask in {labels_folder}, left out")
    if len(listed) < len(labels):
        notes.append(f"{counted(len(labels) - len(listed), 'mask')} in no list of {_SETS}, left out")
    structures, said = _structures(folder)
    return DataSet(folder, "voc", ("image",), structures, cases, notes + said, IGNORE, ignore_assumed=True)


def _structures(folder: Path) -> tuple[Labels | None, list[str]]:
    """The structures that a class list declares, and a note where it begins without a background."""
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


def _image_sets(folder: Path) -> dict[str, str]:
    """{case: names of the lists that it stands in}; train and val say more than trainval, which is named only alone."""
    sets: dict[str, list[str]] = {}
    for path in sorted((folder / _SETS).glob("*.txt")):
        for line in read_lines(path):
            sets.setdefault(line.split()[0], []).append(path.stem)
    return {id: "+".join([name for name in names if name != "trainval"] or names) for id, names in sets.items()}
