"""Measure everything of one case: voxels are counted once; surfaces, lesions and masks lie in a box a structure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import MedsegError
from medseg.core.labels import IGNORE, Labels
from medseg.core.machine.parallel import map_cases
from medseg.evaluation.extra_measures import EXTRA_MEASURES, MaskContext
from medseg.evaluation.lesions import LesionRule, PanopticScore, components, panoptic, score_lesions
from medseg.evaluation.overlap import confusion, overlaps
from medseg.evaluation.score import StructureScore, SurfaceScore
from medseg.evaluation.surface import Definition, surface_distances

Box = tuple[slice, ...]
TOLERANCE_MM = 2.0
"""Tolerance of the NSD of structures for which none is given."""


@dataclass(frozen=True)
class Grid:
    """The spacing of the voxels of a case.

    Attributes:
        spacing: distance of voxels along each axis (z, y, x), in mm, or in pixels where that is unknown.
        known: whether the spacing is in mm.
    """

    spacing: tuple[float, ...]
    known: bool = True

    @property
    def voxel_volume(self) -> float:
        """Volume of a voxel in ml; 1 where the spacing is unknown."""
        return prod(self.spacing) / 1000 if self.known else 1.0


@dataclass(frozen=True)
class MeasureOptions:
    """Which measures to take, and their rules.

    Attributes:
        surface: the definition of a surface for distances; None measures none.
        tolerance_mm: {structure: tolerance of its NSD}; `TOLERANCE_MM` for the others.
        lesions: the rule of the lesion measures; None measures none.
        instances: measure the panoptic quality of instances, which are lesions by that rule (or its default).
        extra: names of registered measures (`extra_measures.EXTRA_MEASURES`).
        workers: structures measured at a time; None for as many as there are cores.
    """

    surface: Definition | None = "elements"
    tolerance_mm: Mapping[str, float] = field(default_factory=dict)
    lesions: LesionRule | None = None
    instances: bool = False
    extra: Sequence[str] = ()
    workers: int | None = None

    @property
    def only_overlap(self) -> bool:
        """Whether nothing is measured but what follows from counts of voxels."""
        return self.surface is None and self.lesions is None and not self.instances and not self.extra

    def tolerance_of(self, structure: str) -> float:
        """Return the NSD tolerance of a structure in mm (pixels where the spacing is unknown)."""
        return self.tolerance_mm.get(structure, TOLERANCE_MM)


@dataclass(frozen=True)
class Objects:
    """Which voxels are one object, where label files say it.

    Attributes:
        reference: (z, y, x) numbers of objects, 0 for none.
        prediction: likewise.
        boundaries: {value of a structure: value of the boundary of its objects}, which belongs to them.
    """

    reference: NDArray[np.integer]
    prediction: NDArray[np.integer]
    boundaries: Mapping[int, int] = field(default_factory=dict)

    def score(
        self, reference: NDArray[np.int16], prediction: NDArray[np.int16], labels: Labels
    ) -> dict[str, PanopticScore]:
        """Return {structure: panoptic quality}; a boundary has no objects of its own.

        Args:
            reference: (z, y, x) label indices, background where the reference ignores a voxel.
            prediction: likewise.
            labels: the structures.
        """
        scores = {}
        for name, row in zip(labels.names, labels.membership, strict=True):
            values = {labels.values[index] for index in np.flatnonzero(row)}
            if values & {*self.boundaries.values()}:
                scores[name] = PanopticScore(0, 0, 0, 0.0)
                continue
            values |= {self.boundaries[value] for value in values if value in self.boundaries}
            members = [index for index, value in enumerate(labels.values) if value in values]
            reference_numbers = np.where(np.isin(reference, members), self.reference, 0)
            prediction_numbers = np.where(np.isin(prediction, members), self.prediction, 0)
            scores[name] = panoptic(reference_numbers, prediction_numbers)
        return scores


@dataclass(frozen=True)
class CaseMeasures:
    """What was measured of one case.

    Attributes:
        structures: {structure: its score}, of those that were annotated.
        confusion: (values, values), how often each pair of values occurred, reference by prediction.
    """

    structures: dict[str, StructureScore]
    confusion: NDArray[np.int64]


def measure_case(
    reference: NDArray[np.int16],
    prediction: NDArray[np.int16],
    labels: Labels,
    grid: Grid,
    options: MeasureOptions | None = None,
    annotated: Collection[str] | None = None,
    objects: Objects | None = None,
) -> CaseMeasures:
    """Measure every annotated structure of a case.

    Nothing is counted where the reference ignores a voxel; surfaces, lesions and registered measures see background
    there on both sides.

    Args:
        reference: (z, y, x) label indices as `Labels.encode` makes them, `IGNORE` where nothing was annotated.
        prediction: (z, y, x) label indices.
        labels: the structures.
        grid: the spacing of the voxels.
        options: which measures; None for the default ones.
        annotated: names of the structures that were annotated; None for all.
        objects: which voxels are one object, where the files say it; else what touches is one.

    Returns:
        The measures of each structure, and how often each pair of values occurs.

    Raises:
        DataError: a registered measure failed.
    """
    options = options or MeasureOptions()
    counts = confusion(reference, prediction, len(labels.values))
    diagonal = float(np.linalg.norm(np.array(reference.shape) * grid.spacing))
    plain = {
        name: StructureScore(overlap, grid.voxel_volume, diagonal)
        for name, overlap in overlaps(counts, labels, annotated).items()
    }
    if options.only_overlap:
        return CaseMeasures(plain, counts)
    if labels.ignore is not None and (ignored := reference == IGNORE).any():
        reference, prediction = (np.where(ignored, np.int16(0), side) for side in (reference, prediction))
    # Outside the box around a structure on both sides there is neither surface nor lesion: cutting changes no figure.
    boxes = _boxes(reference, prediction, labels)
    of_objects = objects.score(reference, prediction, labels) if objects and options.instances else {}

    def measure(name: str) -> StructureScore:
        box = boxes[name]
        masks = _mask(reference[box], labels, name), _mask(prediction[box], labels, name)
        context = MaskContext(name, reference.shape, grid.known, options.tolerance_of(name))
        extra: dict[str, float | None] = {}
        for extra_name in options.extra:
            extra |= EXTRA_MEASURES[extra_name].figures_of(masks[1], masks[0], grid.spacing, context)
        return replace(
            plain[name],
            surface=_surface(*masks, name, grid, options),
            lesions=score_lesions(*masks, options.lesions) if options.lesions else None,
            instances=of_objects[name] if of_objects else _instances(*masks, options),
            extra=extra,
        )

    scores: dict[str, StructureScore] = {}
    for name, score in map_cases(measure, plain, options.workers):
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
    tolerance = options.tolerance_of(name)
    return SurfaceScore(
        hd=distances.hausdorff_mm(),
        hd95=distances.hausdorff_mm(95),
        assd=distances.average_mm,
        nsd=distances.within(tolerance),
        tolerance=tolerance,
    )


def _instances(
    reference: NDArray[np.bool_], prediction: NDArray[np.bool_], options: MeasureOptions
) -> PanopticScore | None:
    if not options.instances:
        return None
    rule = options.lesions or LesionRule()
    return panoptic(components(reference, rule), components(prediction, rule))


def _mask(indices: NDArray[np.int16], labels: Labels, name: str) -> NDArray[np.bool_]:
    """Return where a structure is; a region consists of several values."""
    members = np.flatnonzero(labels.membership[labels.names.index(name)])
    return indices == members[0] if len(members) == 1 else np.isin(indices, members)


def _boxes(reference: NDArray[np.int16], prediction: NDArray[np.int16], labels: Labels) -> dict[str, Box]:
    """Return the box around each structure on both sides together; an empty box where neither has it."""
    from scipy import ndimage

    highest = len(labels.values) - 1
    boxes_of_value = [ndimage.find_objects(side, max_label=highest) for side in (reference, prediction)]
    nowhere = (slice(0, 0),) * reference.ndim
    boxes = {}
    for name, row in zip(labels.names, labels.membership, strict=True):
        # find_objects begins with value 1
        parts = [box for side in boxes_of_value for value in np.flatnonzero(row) if (box := side[value - 1])]
        boxes[name] = _around(parts) if parts else nowhere
    return boxes


def _around(boxes: Sequence[Box]) -> Box:
    """Return the smallest box that holds all boxes."""
    axes = zip(*boxes, strict=True)
    return tuple(slice(min(part.start for part in axis), max(part.stop for part in axis)) for axis in axes)
