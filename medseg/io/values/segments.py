"""Survey the RTSTRUCT and DICOM SEG labels of a set: which names they hold, and which structures overlap."""

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
    """Return the cases whose label is a DICOM object."""
    return [case for case in cases if case.label is not None and is_dicom(case.label)]


def survey_names(files: Sequence[Path]) -> dict[str, int]:
    """Count how many files hold each name of a structure; names that differ only in upper and lower case are one.

    Args:
        files: the labels. A file that cannot be read is skipped here and refused when it is read.

    Returns:
        {name in its most frequent spelling: number of files}, sorted.
    """
    counts: Counter[str] = Counter()
    spellings: dict[str, Counter[str]] = {}
    for _, names in map_cases(_names, files):
        if isinstance(names, MedsegError):
            continue
        counts.update({name.lower() for name in names})
        for name in names:
            spellings.setdefault(name.lower(), Counter())[name] += 1
    usual = {low: min(names, key=lambda name: (-names[name], name)) for low, names in spellings.items()}
    return {usual[low]: counts[low] for low in sorted(counts)}


def survey_overlaps(cases: Sequence[Case], reading: Reading) -> Counter[Together]:
    """Count the voxels of all cases that belong to each set of structures.

    Args:
        cases: cases with DICOM labels. A case that cannot be read is skipped here and refused when it is read.
        reading: what the user said about the labels; `segments` gives the structures their values.

    Returns:
        {set of values: number of voxels}, without the empty set.
    """
    voxels: Counter[Together] = Counter()
    for _, counts in map_cases(lambda case: _set_counts(case, reading), cases):
        if not isinstance(counts, MedsegError):
            voxels.update(counts)
    del voxels[frozenset()]
    return voxels


def _names(path: Path) -> list[str]:
    """Return the names of structures in a label."""
    from medseg.io.dicom.labels.label_objects import structure_names  # loaded only for DICOM

    file = file_at(path)
    return [] if file is None else structure_names(file)


def _set_counts(case: Case, reading: Reading) -> dict[Together, int]:
    """Return how many voxels of a case belong to each set of structures."""
    from medseg.io.dicom.labels.label_objects import draw_structures

    file = None if case.label is None else file_at(case.label)
    if file is None:
        return {}
    return draw_structures(file, reading, load_grid(case, reading))[0].counts()
