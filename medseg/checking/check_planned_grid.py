"""Rules on what resampling leaves on the planned grid: cases of a few voxels, structures too small or thin for a voxel.

They need no company: a set of which half has a header that is 1,000 times off is named as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path

from medseg.core.case import Case
from medseg.core.labels import Labels
from medseg.core.wording import first_few
from medseg.planning.findings import Finding
from medseg.planning.rules import DatasetFacts, target_spacing
from medseg.planning.survey import CaseFacts

_STORED_VOXELS, _LEFT_VOXELS = 8, 4
"""An axis of at least the first number of voxels that keeps fewer than the second holds no shape any more: 4 voxels are
one at the bottom of a network with two pooling steps. Axes that are short in the file are short on purpose."""
_ROUNDING = 1 - 1e-3
"""Spacings are stored as float32, and the planned one may exceed its axis' by 1e-5 mm: equal voxels are no loss."""
_THIN = 0.5
"""What is nowhere as thick as this share of a voxel more likely falls between the points of the grid than on one."""
_AXES = ("z", "y", "x")
_MOST_NAMED, _MANY = 3, 0.2
"""More cases than this number, and than this share of the set, are one finding for all of them."""
_SPACING_REMEDY = (
    "Look at the spacing in the headers: units of m, cm or µm are common. If it is right, make "
    "`spacing_mm` of the plan finer, or leave the case out with --exclude IDS.txt."
)
_STRUCTURE_REMEDY = (
    "Look at the label: single voxels are often slips. If the structure is that small or thin, make `spacing_mm` of "
    "the plan finer, as it may vanish when the label is resampled."
)


def check_planned_grid(
    facts: Sequence[CaseFacts], cases: Mapping[str, Case], labels: Labels | None, ignore: int | None = None
) -> list[Finding]:
    """Return findings on cases and structures that hardly exist on the grid that the rules would plan.

    Args:
        facts: facts on the cases that could be read.
        cases: the cases by id.
        labels: the declared structures; None if none are declared, so that each value but 0 becomes a structure.
        ignore: the value of voxels without annotation.
    """
    known = [case for case in facts if case.spacing_known]
    if not known:
        return []
    spacings, shapes = [case.spacing_mm for case in known], [case.cropped_voxels for case in known]
    target, _ = target_spacing(DatasetFacts(spacings, shapes, len(known), 1, ()))
    few, lost = {}, {}
    for case in known:
        shape = [edge * step / new for edge, step, new in zip(case.shape_voxels, case.spacing_mm, target, strict=True)]
        axes = zip(case.shape_voxels, shape, strict=True)
        if any(stored >= _STORED_VOXELS and left < _LEFT_VOXELS for stored, left in axes):
            few[case.id] = (
                f"{cases[case.id].channels[0]} has {_product(case.shape_voxels)} voxels of "
                f"{_product(case.spacing_mm)} mm (z, y, x); on the grid that would be planned, of {_product(target)} "
                f"mm, it has {_product(shape, '.2g')}"
            )
        elif small := _lost_structures(case, target, labels, ignore):
            lost[case.id] = f"{cases[case.id].label}: {small}"
    return [
        *_findings("few voxels", few, _SPACING_REMEDY, len(facts), lambda id: cases[id].channels[0]),
        *_findings("lost structure", lost, _STRUCTURE_REMEDY, len(facts), lambda id: cases[id].label),
    ]


def _lost_structures(case: CaseFacts, planned_mm: Sequence[float], labels: Labels | None, ignore: int | None) -> str:
    """Return a sentence on the structures of a case that the planned grid hardly holds; "" for none.

    These are smaller than one of its voxels, or along an axis nowhere as thick as half of one: resampling takes the
    label at one point in each voxel.
    """
    if labels is None:
        members: dict[str, tuple[int, ...]] = {
            f"the value {value}": (value,) for value in case.voxels if value not in (0, ignore)
        }
    else:
        members = {name: tuple(values) for name, values in labels.members.items()}
    voxel_mm3, planned_mm3 = prod(case.spacing_mm), prod(planned_mm)
    small, thin = [], []
    for name, values in members.items():
        count = sum(case.voxels.get(value, 0) for value in values)
        if 0 < count * voxel_mm3 < planned_mm3 * _ROUNDING:
            small.append(f"{name} has {count * voxel_mm3:.3g} mm3")
        else:
            thin += [f"{name} is at most {text}" for text in _thin_along(case, values, planned_mm)[:1]]
    sentences = []
    if small:
        sentences.append(f"{', '.join(small)}; one voxel of the grid that would be planned has {planned_mm3:.3g} mm3")
    if thin:
        sentences.append(f"{', '.join(thin)}; voxels of the grid that would be planned have {_product(planned_mm)} mm")
    return ". ".join(sentences)


def _thin_along(case: CaseFacts, values: Sequence[int], planned_mm: Sequence[float]) -> list[str]:
    """Return a phrase for each axis along which a structure is nowhere as thick as half a voxel of the planned grid."""
    present = [case.extents[value].runs for value in values if value in case.extents]
    if not present:
        return []
    phrases = []
    for axis, name in enumerate(_AXES):
        # values of a region may lie beside each other: together they are at most this thick
        thick_mm = sum(runs[axis] for runs in present) * case.spacing_mm[axis]
        if case.shape_voxels[axis] > 1 and thick_mm < _THIN * planned_mm[axis] * _ROUNDING:
            phrases.append(f"{thick_mm:.3g} mm thick along {name}")
    return phrases


def _findings(
    kind: str, messages: Mapping[str, str], remedy: str, n_cases: int, file_of: Callable[[str], Path | None]
) -> list[Finding]:
    """Return a finding for each case that has a message, or one for all of them if they are many."""
    if len(messages) > max(_MOST_NAMED, _MANY * n_cases):
        text = (
            f"{len(messages)} of {n_cases} cases ({first_few([*messages])}), such as {next(iter(messages.values()))}."
        )
        return [Finding(kind, "", text, remedy)]
    return [Finding(kind, id, f"{message}.", remedy, file_of(id)) for id, message in messages.items()]


def _product(numbers: Sequence[float], form: str = ".4g") -> str:
    """Return a shape as text, such as `1 x 2 x 3`."""
    return " x ".join(f"{number:{form}}" for number in numbers)
