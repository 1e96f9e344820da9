"""Label files that hold numbers of objects in place of values of structures: each number is one object.

They lie in a folder that is called as those of `medseg predict --instances` and of Pascal VOC are. They do not say
which structure an object is of, so that there may be only one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.core.numbered_objects import mark_boundaries
from medseg.core.wording import first_few
from medseg.io.formats.table import is_dicom
from medseg.io.images import AS_STORED, read_label
from medseg.io.values.objects import OBJECT_FOLDERS
from medseg.plans.sections.reading import Reading

_WITHOUT_LABELS = 1
"""The value of a structure that nothing declares."""


def numbers_objects(path: Path, reading: Reading) -> bool:
    """Return whether a label file holds numbers of objects; not where the user says what its values mean.

    Args:
        path: the file.
        reading: how its values are meant.
    """
    is_explained = reading.map or reading.colours or reading.segments or reading.threshold is not None
    return path.parent.name in OBJECT_FOLDERS and path.is_file() and not is_dicom(path) and not is_explained


def read_numbers(path: Path, grid: Image | None = None) -> Image:
    """Read a map of numbers of objects as (1, z, y, x).

    Args:
        path: the file.
        grid: as in `read_label`.

    Returns:
        The map, with the geometry of the file.

    Raises:
        DataError: it cannot be read.
    """
    return read_label(path, AS_STORED, grid)


def as_structure(numbers: Image, path: Path, labels: Labels | None, boundaries: Mapping[int, int]) -> Image:
    """Return a map of numbers as a label map: every object is of the only structure.

    Where nothing but values of that structure, background and ignored voxels occur, they are what they are: an ignored
    voxel is no object.

    Args:
        numbers: (1, z, y, x), 0 where there is no object.
        path: its file, for messages.
        labels: the structures; None for one with the value 1.
        boundaries: {value of the structure: value of the boundary of its objects}.

    Raises:
        DataError: there are several structures.
    """
    written = {} if labels is None else labels.written_values
    of_objects = {name: value for name, value in written.items() if value not in boundaries.values()}
    if len(of_objects) > 1:
        raise DataError(
            f"{path} holds numbers of objects, and does not say of which structure each is; there are "
            f"{first_few([*of_objects])}.",
            f"Give the label files with the values of the structures; maps of numbers in {path.parent.name}/ beside "
            "them, or beside their folder, tell the objects apart.",
        )
    stored, value = numbers.array[0], next(iter(of_objects.values()), _WITHOUT_LABELS)
    background = 0 if labels is None or labels.background is None else labels.background
    if {*np.unique(stored).tolist()} <= {background, value, None if labels is None else labels.ignore}:
        values, objects = stored, np.where(stored == value, stored, 0)
    else:
        values, objects = np.where(stored != 0, value, background), stored
    return numbers.with_array(mark_boundaries(values, objects, boundaries)[np.newaxis])
