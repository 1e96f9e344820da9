"""Survey the labels of a set that name their structures: which names they hold, and which structures overlap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from medseg.core.case import Case
from medseg.core.errors import MedsegError
from medseg.core.machine.parallel import map_cases
from medseg.io.annotations.coco import split_reference
from medseg.io.dicom.elements.paths import file_at
from medseg.io.formats.table import is_dicom
from medseg.io.images import read_label
from medseg.io.load import load_grid
from medseg.io.several_files import is_by_structure
from medseg.io.values import named_masks
from medseg.io.values.header_names import read_by_name
from medseg.io.values.named_values import may_name_values
from medseg.io.values.overlay import Together
from medseg.plans.sections.reading import Reading


def named_labels(cases: Sequence[Case], headers: bool | None = None) -> list[Case]:
    """Return the cases whose label is read by names: RTSTRUCT, DICOM SEG, COCO, folders of masks, named values.

    Args:
        cases: the cases of a set.
        headers: whether a file that names its values (`.seg.nrrd`) is read by these names; None if that is for the set
            to show: where names have several values or segments lie in layers, or other labels have nothing but names.
    """
    labelled = [(case, case.label) for case in cases if case.label is not None]
    named = {case.id for case, label in labelled if is_by_structure(label) or split_reference(label) or is_dicom(label)}
    if headers or (headers is None and (named or read_by_name(label for _, label in labelled))):
        named |= {case.id for case, label in labelled if may_name_values(label) and named_masks.structure_names(label)}
    return [case for case, _ in labelled if case.id in named]


def survey_names(files: Sequence[Path], drawn: bool = False) -> dict[str, int]:
    """Count how many files hold each name of a structure; names that differ only in upper and lower case are one.

    Args:
        files: the labels. A file that cannot be read is skipped here and refused when it is read.
        drawn: whether names in headers count only where the file has voxels of them.

    Returns:
        {name in its most frequent spelling: number of files}, sorted.
    """
    counts: Counter[str] = Counter()
    spellings: dict[str, Counter[str]] = {}
    for _, names in map_cases(partial(_names, drawn=drawn), files):
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
        cases: cases with labels that name their structures. A case that cannot be read is skipped here and refused
            when it is read.
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


def _names(path: Path, drawn: bool) -> list[str]:
    """Return the names of structures in a label."""
    if not is_dicom(path):
        return named_masks.drawn_names(path) if drawn else named_masks.structure_names(path)
    from medseg.io.dicom.labels.label_objects import structure_names  # loaded only for DICOM

    file = file_at(path)
    return [] if file is None else structure_names(file)


def _set_counts(case: Case, reading: Reading) -> dict[Together, int]:
    """Return how many voxels of a case belong to each set of structures."""
    if case.label is not None and not is_dicom(case.label):
        return named_masks.draw_named_masks(case.label, reading, read_label)[0].counts()
    from medseg.io.dicom.labels.label_objects import draw_structures

    file = None if case.label is None else file_at(case.label)
    if file is None:
        return {}
    return draw_structures(file, reading, load_grid(case, reading))[0].counts()
