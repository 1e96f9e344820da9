"""Every measure of one case: voxels are counted once, and surfaces and lesions are looked at in a box per structure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import MedsegError
from medseg.core.labels import IGNORE, Labels
from medseg.core.parallel import map_cases
from medseg.evaluation.lesions import LesionRule, PanopticScore, components, panoptic, score_lesions
from medseg.evaluation.overlap import confusion, overlaps
from medseg.evaluation.score import StructureScore, SurfaceScore
from medseg.evaluation.surface import Definition, surface_distances

Box = tuple[slice, ...]
TOLERANCE_MM = 2.0
"""Tolerance of the NSD of structures for which none is said."""


@dataclass(frozen=True)
class Grid:
    """Where voxels lie.

    Attributes:
        spacing: distance of voxels along each axis, in mm, or in pixels where that is unknown.
        known: whether the spacing is in mm.
    """

    spacing: tuple[float, ...]
    known: bool = True

    @property
    def voxel_volume(self) -> float:
        """In ml; 1 where the spacing is unknown."""
        return prod(self.spacing) / 1000 if self.known else 1.0


@dataclass(frozen=True)
class MeasureOptions:
    """Which measures, and their rules.

    Attributes:
        surface: measure distances of surfaces, by this definition of a surface; None for not.
        tolerance_mm: {structure: tolerance of its NSD}; `TOLERANCE_MM` for the others.
        lesions: measure lesion by lesion, by this rule; None for not.
        instances: measure the panoptic quality of instances, which are lesions by the rule (or its default).
        workers: structures measured at a time; None for as many as there are cores.
    """

    surface: Definition | None = "elements"
    tolerance_mm: Mapping[str, float] = field(default_factory=dict)
    lesions: LesionRule | None = None
    instances: bool = False
    workers: int | None = None


@dataclass(frozen=True)
class CaseMeasures:
    """One case: the scores of its annotated structures, and how often each pair of values occurred."""

    structures: dict[str, StructureScore]
    confusion: NDArray[np.int64]


def measure_case(
    reference: NDArray[np.int16],
    prediction: NDArray[np.int16],
    labels: Labels,
    grid: Grid,
    options: MeasureOptions | None = None,
    annotated: Collection[str] | None = None,
) -> CaseMeasures:
    """Measure every annotated structure of a case.

    Where the reference ignores a voxel nothing is counted, and surfaces and lesions take both sides as background.

    Args:
        reference: label indices as `Labels.encode` makes them, `IGNORE` where nothing was annotated.
        prediction: label indices of the same shape.
        annotated: names of the structures that were annotated; None for all.
    """
    options = options or MeasureOptions()
    counts = confusion(reference, prediction, len(labels.values))
    found = overlaps(counts, labels, annotated)
    if labels.ignore is not None and (unknown := reference == IGNORE).any():
        reference, prediction = (np.where(unknown, np.int16(0), side) for side in (reference, prediction))
    boxes = _boxes(reference, prediction, labels)
    diagonal = float(np.linalg.norm(np.array(reference.shape) * grid.spacing))

    def measure(name: str) -> StructureScore:
        box = boxes[name]
        masks = _mask(reference[box], labels, name), _mask(prediction[box], labels, name)
        return StructureScore(
            overlap=found[name],
            voxel_volume=grid.voxel_volume,
            diagonal=diagonal,
            surface=_surface(*masks, name, grid, options),
            lesions=score_lesions(*masks, options.lesions) if options.lesions else None,
            instances=_instances(*masks, options.lesions or LesionRule()) if options.instances else None,
        )

    scores: dict[str, StructureScore] = {}
    for name, score in map_cases(measure, found, options.workers):
        if isinstance(score, MedsegError):
            raise score
        scores[name] = score
    return CaseMeasures(scores, counts)


def _surface(
    reference: NDArray[np.bool_], prediction: NDArray[np.bool_], name: str, grid: Grid, options: MeasureOptions
) -> SurfaceScore | None:
    if options.surface is None:
        return None
    distances = surface_distances(reference, prediction, grid.spacing, options.surface)
    tolerance = options.tolerance_mm.get(name, TOLERANCE_MM)
    return SurfaceScore(
        hd=distances.hausdorff_mm(),
        hd95=distances.hausdorff_mm(95),
        assd=distances.average_mm,
        nsd=distances.within(tolerance),
        tolerance=tolerance,
    )


def _instances(reference: NDArray[np.bool_], prediction: NDArray[np.bool_], rule: LesionRule) -> PanopticScore:
    return panoptic(components(reference, rule), components(prediction, rule))


def _mask(indices: NDArray[np.int16], labels: Labels, name: str) -> NDArray[np.bool_]:
    """Where a structure is."""
    members = np.flatnonzero(labels.membership[labels.names.index(name)])
    return indices == members[0] if len(members) == 1 else np.isin(indices, members)


def _boxes(reference: NDArray[np.int16], prediction: NDArray[np.int16], labels: Labels) -> dict[str, Box]:
    """The box around each structure on both sides together; an empty box where neither has it."""
    from scipy import ndimage

    most = len(labels.values) - 1
    sides = [ndimage.find_objects(side, max_label=most) for side in (reference, prediction)]
    nowhere = (slice(0, 0),) * reference.ndim
    boxes = {}
    for name, row in zip(labels.names, labels.membership, strict=True):
        found = [box for side in sides for value in np.flatnonzero(row) if (box := side[value - 1]) is not None]
        boxes[name] = _around(found) if found else nowhere
    return boxes


def _around(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all of them."""
    axes = zip(*boxes, strict=True)
    return tuple(slice(min(part.start for part in axis), max(part.stop for part in axis)) for axis in axes)
