"""Fit the calibration (a scaling of logits) on out-of-fold answers, and measure it on folds that a fit left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field, FiniteFloat, PositiveFloat, PositiveInt

from medseg.confidence.reliability import Bin, Reliability, pooled
from medseg.confidence.scaling import Scaling, fit_scaling, negative_log_likelihood, probabilities_at
from medseg.confidence.voxel_sample import LEAST_PROBABILITY, VoxelSample, groups_of
from medseg.core.labels import Labels
from medseg.plans.sections.section import Section

_DIGITS = 4
_FEWEST_CASES = 3
_WORTH = 0.01
"""Biases are kept where they lower the negative log-likelihood of unseen folds by this share or more."""
TEMPERATURE, BIASED = "temperature", "temperature and biases"
"""The forms that are compared."""


class BeforeAndAfter(Section):
    """A figure of the probabilities as they come from the network, and of the calibrated ones.

    Attributes:
        before: of the network's.
        after: of the calibrated ones, each with what was fitted without the case's fold.
    """

    before: float
    after: float


class Calibration(Section):
    """The calibration of a model, after which probabilities agree with frequencies, and its evidence.

    Attributes:
        temperatures: one for softmax, else one for each structure, in the order of the network's outputs.
        biases: what is added to the divided logits, one for each output of the network; none where temperatures alone
            are as good.
        cases: number of out-of-fold cases that they were fitted on.
        voxels: number of voxels that were drawn of these (`medseg.confidence.voxel_sample`).
        nll: negative log-likelihood of the references, mean over the voxels that count.
        forms: {form: its negative log-likelihood of folds that it was not fitted on}, of those that were compared.
        ece: {structure: expected calibration error}, over voxels with a probability of at least 0.01.
        ece_all: the same over the voxels of all structures together.
        diagram_before: reliability diagram of all structures together, from the network's probabilities.
        diagram_after: the same of the calibrated ones.
    """

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("biases", "forms")

    temperatures: Annotated[list[PositiveFloat], Field(min_length=1)]
    biases: list[FiniteFloat] = []
    cases: PositiveInt
    voxels: PositiveInt
    nll: BeforeAndAfter
    forms: dict[str, float] = {}
    ece: dict[str, BeforeAndAfter]
    ece_all: BeforeAndAfter
    diagram_before: list[Bin]
    diagram_after: list[Bin]

    @property
    def scaling(self) -> Scaling:
        """The scaling of logits."""
        return Scaling(tuple(self.temperatures), tuple(self.biases))


def calibrate(samples: Sequence[VoxelSample], labels: Labels) -> Calibration | None:
    """Fit the scaling of logits on all samples; its evidence comes from fits that leave one fold out.

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
    neutral = [Scaling.neutral(labels)] * len(samples)
    unseen = {form: _fitted_without(samples, groups, labels, form) for form in (TEMPERATURE, BIASED)}
    forms = {form: negative_log_likelihood(samples, of_form, labels) for form, of_form in unseen.items()}
    chosen = BIASED if forms[BIASED] <= (1 - _WORTH) * forms[TEMPERATURE] else TEMPERATURE
    before, after = ([Reliability() for _ in labels.names] for _ in range(2))
    for sample, plain, without in zip(samples, neutral, unseen[chosen], strict=True):
        _add(sample, plain, without, labels, (before, after))
    plain_nll = negative_log_likelihood(samples, neutral, labels)
    ece = {name: _errors(b, a) for name, b, a in zip(labels.names, before, after, strict=True) if b.weights.any()}
    whole_before, whole_after = pooled(before), pooled(after)
    fitted = fit_scaling(samples, labels, chosen == BIASED)
    return Calibration(
        temperatures=[round(value, _DIGITS) for value in fitted.temperatures],
        biases=[round(value, _DIGITS) for value in fitted.biases],
        cases=len(samples),
        voxels=sum(len(sample.weight) for sample in samples),
        nll=BeforeAndAfter(before=_digits(plain_nll), after=_digits(forms[chosen])),
        forms={form: _digits(value) for form, value in forms.items()},
        ece=ece,
        ece_all=_errors(whole_before, whole_after),
        diagram_before=whole_before.bins(),
        diagram_after=whole_after.bins(),
    )


def _fitted_without(samples: Sequence[VoxelSample], groups: Sequence[str], labels: Labels, form: str) -> list[Scaling]:
    """Return for each sample the scaling that is fitted without its group."""
    without = {}
    for group in sorted({*groups}):
        outside = [sample for sample, own_group in zip(samples, groups, strict=True) if own_group != group]
        without[group] = fit_scaling(outside, labels, form == BIASED)
    return [without[group] for group in groups]


def _add(
    sample: VoxelSample,
    neutral: Scaling,
    fitted: Scaling,
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
    return BeforeAndAfter(before=_digits(before.error or 0.0), after=_digits(after.error or 0.0))


def _digits(value: float) -> float:
    return round(value, 6)
