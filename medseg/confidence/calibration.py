"""Fit temperatures on out-of-fold answers, and say what they do to answers that they were not fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from medseg.confidence.reliability import Bin, Reliability, pooled
from medseg.confidence.temperature import fit_temperatures, negative_log_likelihood, probabilities_at
from medseg.confidence.voxel_sample import LEAST_PROBABILITY, VoxelSample, groups_of
from medseg.core.labels import Labels
from medseg.plans.sections.section import Section

_DIGITS = 4
_FEWEST_CASES = 3


class BeforeAndAfter(Section):
    """A figure of the probabilities as they come from the network, and of the calibrated ones.

    Attributes:
        before: of the network's.
        after: of the calibrated ones, each with the temperatures that were fitted without the case's fold.
    """

    before: float
    after: float


class Calibration(Section):
    """What makes a model's probabilities mean what they say, with its evidence.

    Attributes:
        temperatures: one for softmax, else one for each structure, in the order of the network's outputs.
        cases: number of out-of-fold cases that they were fitted on.
        voxels: number of voxels that were drawn of these (`medseg.confidence.voxel_sample`).
        nll: negative log-likelihood of the references, mean over cases of the mean over the voxels that count.
        ece: {structure: expected calibration error}, over voxels with a probability of at least 0.01.
        ece_all: the same over the voxels of all structures together.
        diagram_before: reliability diagram of all structures together, from the network's probabilities.
        diagram_after: the same of the calibrated ones.
    """

    temperatures: Annotated[list[PositiveFloat], Field(min_length=1)]
    cases: PositiveInt
    voxels: PositiveInt
    nll: BeforeAndAfter
    ece: dict[str, BeforeAndAfter]
    ece_all: BeforeAndAfter
    diagram_before: list[Bin]
    diagram_after: list[Bin]

    def fits(self, labels: Labels) -> bool:
        """Return whether there are as many temperatures as a model with these labels needs."""
        return len(self.temperatures) == (1 if labels.activation == "softmax" else len(labels.names))


def calibrate(samples: Sequence[VoxelSample], labels: Labels) -> Calibration | None:
    """Fit temperatures on all samples; the evidence is that of fits that leave one fold out.

    Args:
        samples: voxels of each out-of-fold case.
        labels: the structures.

    Returns:
        None with fewer than three cases: nothing would be left to test a fit on.
    """
    samples = [sample for sample in samples if len(sample.weight)]
    groups = groups_of(samples)
    if len(samples) < _FEWEST_CASES or len({*groups}) < 2:
        return None
    neutral = [1.0] * (1 if labels.activation == "softmax" else len(labels.names))
    before, after = ([Reliability() for _ in labels.names] for _ in range(2))
    nll = np.zeros(2)
    for group in sorted({*groups}):
        inside = [sample for sample, of in zip(samples, groups, strict=True) if of == group]
        outside = [sample for sample, of in zip(samples, groups, strict=True) if of != group]
        without = fit_temperatures(outside, labels)
        for sample in inside:
            nll += [negative_log_likelihood(sample, values, labels) for values in (neutral, without)]
            _add(sample, neutral, without, labels, (before, after))
    nll /= len(samples)
    ece = {name: _errors(b, a) for name, b, a in zip(labels.names, before, after, strict=True) if b.weights.any()}
    whole_before, whole_after = pooled(before), pooled(after)
    return Calibration(
        temperatures=[round(value, _DIGITS) for value in fit_temperatures(samples, labels)],
        cases=len(samples),
        voxels=sum(len(sample.weight) for sample in samples),
        nll=BeforeAndAfter(before=round(float(nll[0]), 6), after=round(float(nll[1]), 6)),
        ece=ece,
        ece_all=_errors(whole_before, whole_after),
        diagram_before=whole_before.bins(),
        diagram_after=whole_after.bins(),
    )


def _add(
    sample: VoxelSample,
    neutral: Sequence[float],
    fitted: Sequence[float],
    labels: Labels,
    sums: tuple[list[Reliability], list[Reliability]],
) -> None:
    """Add a case to the sums before and after; the same voxels count in both."""
    raw = probabilities_at(sample, neutral, labels)
    for values, reliabilities in zip((raw, probabilities_at(sample, fitted, labels)), sums, strict=True):
        for plain, probability, truth, reliability in zip(raw, values, sample.truth, reliabilities, strict=True):
            counts = plain >= LEAST_PROBABILITY
            reliability.add(probability[counts], truth[counts], sample.weight[counts])


def _errors(before: Reliability, after: Reliability) -> BeforeAndAfter:
    return BeforeAndAfter(before=round(before.error or 0.0, 6), after=round(after.error or 0.0, 6))
