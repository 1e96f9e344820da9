"""Read the Oxford-IIIT pets: `images/` beside `annotations/trimaps/`, with `annotations/trainval.txt` and `test.txt`.

In a trimap 1 is the pet, 2 the background and 3 the border between them, which is not classified
(https://www.robots.ox.ac.uk/~vgg/data/pets, README of the annotations). The border is a structure here, as in the
tutorials that use this set; `--structures pet=1 --map 3=255 --ignore 255` leaves it out.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medseg.core.labels import Labels
from medseg.core.wording import counted
from medseg.io.layouts.dataset import DataSet, Why, pair_up, sentences
from medseg.io.layouts.file_names.names import images_by_stem
from medseg.io.layouts.split_folders import COLUMN
from medseg.io.values.class_names import read_lines
from medseg.plans.sections.reading import Reading

IMAGES = "images"
_ANNOTATIONS = ("annotations", ".")
"""Folders that may hold the trimaps and the lists."""
_TRIMAPS = "trimaps"
_LISTS = ("trainval", "train", "val", "test")
_STRUCTURES = {"pet": 1, "border": 3}
_BACKGROUND = 2


def read_pets(folder: Path) -> DataSet | None:
    """Read a data set laid out as the Oxford-IIIT pets; None where it is not.

    Where there are lists, only the cases that they name are used, and the attribute `split` names their lists.

    Args:
        folder: the data set.

    Returns:
        The data set.
    """
    annotations = next((folder / name for name in _ANNOTATIONS if (folder / name / _TRIMAPS).is_dir()), None)
    if annotations is None or not (folder / IMAGES).is_dir():
        return None
    images, problems = images_by_stem(folder / IMAGES)
    trimaps, label_problems = images_by_stem(annotations / _TRIMAPS)
    problems |= label_problems
    lists = _lists(annotations)
    notes = []
    if lists:
        unlisted = (images.keys() | trimaps.keys()) - lists.keys()
        images, trimaps = ({id: path for id, path in files.items() if id in lists} for files in (images, trimaps))
        if unlisted:
            notes.append(f"{counted(len(unlisted), 'case')} in no list of {annotations}, left out")
        problems |= {
            id: Why(
                f"there is neither an image nor a trimap of it, but {'+'.join(names)}.txt lists it", "missing image"
            )
            for id, names in lists.items()
            if id not in images and id not in trimaps
        }
    paired = pair_up(
        {id: (path,) for id, path in images.items()}, trimaps, (folder / IMAGES, annotations / _TRIMAPS), problems
    )
    cases = [replace(case, attributes={COLUMN: "+".join(lists[case.id])}) if lists else case for case in paired]
    notes.append("the values of trimaps are 1 pet, 2 background and 3 border")
    labels = Labels(structures=dict(_STRUCTURES))
    reading = Reading(map={_BACKGROUND: 0})
    return DataSet(folder, "pets", ("image",), labels, cases, [*sentences(problems), *notes], reading=reading)


def _lists(annotations: Path) -> dict[str, list[str]]:
    """Return {case: the lists that name it}; the first word of a line is the name of a case."""
    lists: dict[str, list[str]] = {}
    for name in _LISTS:
        path = annotations / f"{name}.txt"
        if path.is_file():
            for line in read_lines(path):
                if not line.startswith("#") and name not in lists.setdefault(line.split()[0], []):
                    lists[line.split()[0]].append(name)
    return lists
