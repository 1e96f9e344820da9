"""Apply a selection to a model's answers: thresholds of regions before labels are decided, operations after."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import log, prod
from typing import TYPE_CHECKING

import torch
from numpy.typing import NDArray

from medseg.confidence.scaling import Scaling
from medseg.core.progress import Callback
from medseg.models.model import Model
from medseg.plans.schema import Plan
from medseg.preprocessing.restore import Sink, restore, restore_blocks
from medseg.preprocessing.volume import Geometry, Volume
from medseg.selection.operations import Frame, apply_steps
from medseg.selection.record import Unit

if TYPE_CHECKING:
    from medseg.inference.observation import Observation
    from medseg.inference.predictor import Predictor

_RIGHT = 2
"""The axis of the canonical frame (z, y, x) that runs from left to right."""


def size_unit_of(plan: Plan) -> Unit:
    """Return the unit in which sizes of components are given for a plan's scans."""
    if not plan.data.spacing_known or plan.data.spacing_rule == "one":
        return "voxels"
    return "mm2" if plan.data.dimensions == 2 else "ml"


def frame_of(geometry: Geometry, plan: Plan) -> Frame:
    """Return the facts on a scan's grid that operations need, with its axes as the network has them.

    Args:
        geometry: how the scan came to the network's grid.
        plan: of the model.
    """
    unit = size_unit_of(plan)
    spacing = geometry.spacing_mm
    size = {"voxels": 1.0, "mm2": spacing[1] * spacing[2], "ml": prod(spacing) / 1000}[unit]
    if plan.orientation != "canonical":
        return Frame(size, unit)
    axis = geometry.transpose.index(_RIGHT)
    part = geometry.box[axis]
    return Frame(size, unit, axis, (part.start, part.stop - 1))


def threshold_offsets(model: Model) -> torch.Tensor | None:
    """Return offsets (outputs, 1, 1, 1) to subtract from logits, so that regions above their threshold are above 0."""
    thresholds = {} if model.selection is None else model.selection.thresholds
    if not thresholds:
        return None
    values = [thresholds[name].value if name in thresholds else 0.5 for name in model.plan.labels.names]
    return torch.tensor([log(value / (1 - value)) for value in values])[:, None, None, None]


def scaling_of(model: Model) -> Scaling | None:
    """Return the scaling of logits that calibrates probabilities; None if the model has no calibration."""
    calibration = None if model.selection is None else model.selection.calibration
    return None if calibration is None else calibration.scaling


def shifted(slabs: Iterable[torch.Tensor], offsets: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield slabs of logits less the offsets."""
    for slab in slabs:
        yield slab - offsets.to(slab.device, slab.dtype)
        del slab


def unshifted(sink: Sink, offsets: torch.Tensor) -> Sink:
    """Return a sink that passes the logits on as they were before `shifted`."""
    return lambda first, logits: sink(first, logits + offsets.to(logits.device, logits.dtype))


def treated_labels(
    predictor: Predictor,
    volume: Volume,
    callback: Callback,
    sinks: Sequence[Sink],
    observations: Sequence[Observation] = (),
) -> NDArray:
    """Return the label values (z, y, x) of a scan with the model's selection applied, for `Predictor.labels`.

    Args:
        predictor: the model.
        volume: the prepared scan.
        callback: receives progress.
        sinks: also get the logits, as they are without thresholds.
        observations: see the answer being computed (`Predictor.observe`).
    """
    model, geometry, labels = predictor.model, volume.geometry, predictor.model.plan.labels
    offsets = threshold_offsets(model)
    if offsets is not None:
        sinks = [unshifted(sink, offsets) for sink in sinks]
    if model.others:
        blocks = predictor.scan_logits(volume, callback, observations)
        if offsets is not None:
            blocks = ((planes, logits - offsets.to(logits.device)) for planes, logits in blocks)
        answer = restore_blocks(blocks, geometry, labels, sinks)
    else:
        slabs = predictor.logits(volume, callback, *observations[:1])
        slabs = slabs if offsets is None else shifted(slabs, offsets)
        answer = restore(slabs, geometry, labels, predictor.configuration, sinks)
    return treated(answer, geometry, model)


def treated(answer: NDArray, geometry: Geometry, model: Model) -> NDArray:
    """Return the label values of a scan after the operations of the model's selection.

    Args:
        answer: (z, y, x) label values as they are stored; they may be changed.
        geometry: how the scan came to the network's grid.
        model: with its selection.
    """
    steps = [] if model.selection is None else model.selection.postprocessing
    if not steps:
        return answer
    turned = geometry.turn(answer[None])[0]
    turned[:] = apply_steps(turned, steps, model.plan.labels, frame_of(geometry, model.plan))
    return answer
