"""A look at all RTSTRUCT and DICOM SEG labels of a set at once: which names they hold, and which structures overlap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from medseg.core.case import Case
from medseg.core.errors import MedsegError
from medseg.core.parallel import map_cases
from medseg.io.dicom.elements.paths import file_at
from medseg.io.formats.table import is_dicom
from medseg.io.load import load_grid
from medseg.io.values.overlay import Together
from medseg.plans.sections import Reading


def dicom_labels(cases: Sequence[Case]) -> list[Case]:
    """The cases whose label is a DICOM object."""
    return [case for case in cases if case.label is not None and is_dicom(case.label)]


def survey_names(files: Sequence[Path]) -> dict[str, int]:
    """{name of a structure: how many files hold it}, sorted; names that differ in their case of letters are one.

    A file that cannot be read is left to whoever reads it next.
    """
    counts: Counter[str] = Counter()
    spelled: dict[str, Counter[str]] = {}
    for _, names in map_cases(_names, files):
        if isinstance(names, MedsegError):
            continue
        counts.update({name.lower() for name in names})
        for name in names:
            spelled.setdefault(name.lower(), Counter())[name] += 1
    usual = {low: min(found, key=lambda name: (-found[name], name)) for low, found in spelled.items()}
    return {usual[low]: counts[low] for low in sorted(counts)}


def survey_overlaps(cases: Sequence[Case], reading: Reading) -> Counter[Together]:
    """How many voxels of all cases belong to each set of structures, by their values in `reading.segments`."""
    voxels: Counter[Together] = Counter()
    for _, found in map_cases(lambda case: _together(case, reading), cases):
        if not isinstance(found, MedsegError):
            voxels.update(found)
    del voxels[frozenset()]
    return voxels


def _names(path: Path) -> list[str]:
    from medseg.io.dicom.labels.label_objects import structure_names  # loaded only for DICOM

    file = file_at(path)
    return [] if file is None else structure_names(file)


def _together(case: Case, reading: Reading) -> dict[Together, int]:
    from medseg.io.dicom.labels.label_objects import draw_structures

    file = None if case.label is None else file_at(case.label)
    if file is None:
        return {}
    return draw_structures(file, reading, load_grid(case, reading))[0].counts()
