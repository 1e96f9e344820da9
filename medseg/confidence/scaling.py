"""Scale logits so that probabilities mean what they say: of voxels with 0.8, four in five are of the structure.

Logits are divided by a temperature before softmax or sigmoid (Guo et al. 2017, "On Calibration of Modern Neural
Networks"): one for softmax, one for each structure where structures may overlap. Where a temperature alone leaves much
to be wished, a bias is added to the logits of each structure as well (for two answers this is Platt scaling, Platt
1999): a network that was trained on Dice answers a structure where its probability is below a half, which no
temperature can say. Labels are decided by the network's own logits, and stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medseg.confidence.voxel_sample import LEAST_PROBABILITY, VoxelSample
from medseg.core.labels import Labels
from medseg.core.wording import first_few

if TYPE_CHECKING:
    import torch

_LOWEST, _HIGHEST = 0.05, 20.0
"""Between these a temperature is looked for; networks have 0.5 to 3."""
_LARGEST_BIAS = 10.0
_PULL = 1e-4
"""Half of it times the sum of squared biases is added to what is minimized: a structure of which hardly any voxel was
drawn keeps a bias near 0. For one with a hundredth of the voxels it is a tenth of what a unit of bias costs."""
_LEAST_LOG_ODDS = log(LEAST_PROBABILITY / (1 - LEAST_PROBABILITY))


@dataclass(frozen=True)
class Scaling:
    """A scaling of logits before softmax or sigmoid: temperatures and biases.

    Attributes:
        temperatures: by which they are divided: one for softmax, else one for each structure.
        biases: what is added after that, one for each output of the network (with softmax 0 for the first answer);
            empty for none.
    """

    temperatures: tuple[float, ...]
    biases: tuple[float, ...] = ()

    @classmethod
    def neutral(cls, labels: Labels) -> Scaling:
        """Return the scaling that changes nothing.

        Args:
            labels: the structures.
        """
        return cls((1.0,) * _count_temperatures(labels))

    def fits(self, labels: Labels) -> bool:
        """Return whether there are as many temperatures and biases as a model with these labels needs."""
        return len(self.temperatures) == _count_temperatures(labels) and len(self.biases) in (0, labels.outputs)

    def describe(self) -> str:
        """Return the scaling in words; of many numbers only the first.

        >>> Scaling((1.5,), (0.0, -0.6)).describe()
        'logits are divided by 1.5, and 0, -0.6 added'
        """
        divided, added = (first_few([f"{value:g}" for value in values]) for values in (self.temperatures, self.biases))
        return f"logits are divided by {divided}" + (f", and {added} added" if added else "")

    def before(self, of_logits: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return a function that scales logits (outputs, planes, y, x) and then calls another one.

        Args:
            of_logits: what is made of them, such as probabilities.
        """
        import torch  # the record of a selection is read without it

        def scaled(logits: torch.Tensor) -> torch.Tensor:
            divisors, biases = (
                torch.tensor(values, dtype=logits.dtype, device=logits.device)[:, None, None, None]
                for values in (self.temperatures, self.biases or (0.0,))
            )
            return of_logits(logits / divisors + biases)

        return scaled


def fit_scaling(samples: Sequence[VoxelSample], labels: Labels, biased: bool) -> Scaling:
    """Return the scaling with the least negative log-likelihood of the references.

    Args:
        samples: voxels of out-of-fold answers.
        labels: the structures.
        biased: whether biases are fitted, too.
    """
    fitted = [_fit([_fit_data(sample, labels, number) for sample in samples], biased) for number in _numbers(labels)]
    temperatures = tuple(temperature for temperature, _ in fitted)
    if not biased:
        return Scaling(temperatures)
    if labels.activation == "sigmoid":
        return Scaling(temperatures, tuple(bias for _, (_, bias) in fitted))
    biases = fitted[0][1]
    return Scaling(temperatures, (0.0,) * (labels.outputs - len(biases)) + biases)


def negative_log_likelihood(samples: Sequence[VoxelSample], scalings: Sequence[Scaling], labels: Labels) -> float:
    """Return the mean over the voxels of all scans that count, in nats; with sigmoid also the mean over the structures.

    Args:
        samples: voxels of the scans.
        scalings: of each scan.
        labels: the structures.
    """
    means = []
    for number in _numbers(labels):
        total = weight = 0.0
        for sample, scaling in zip(samples, scalings, strict=True):
            outcomes, biases = _fit_data(sample, labels, number), _biases_of(sample, scaling)
            shifts = np.array([0.0, biases[number]]) if labels.activation == "sigmoid" else biases
            total += outcomes.loss_of(outcomes.logs(1 / scaling.temperatures[number], shifts))
            weight += float(outcomes.weights.sum())
        means.append(total / max(weight, 1.0))
    return float(np.mean(means))


def probabilities_at(sample: VoxelSample, scaling: Scaling, labels: Labels) -> NDArray[np.float64]:
    """Return the probability (structures, voxels) of each structure.

    Args:
        sample: voxels of a scan.
        scaling: of the logits.
        labels: the structures.
    """
    from scipy.special import expit, softmax

    scaled = sample.logits.astype(np.float64) / np.array(scaling.temperatures)[:, None]
    scaled += _biases_of(sample, scaling)[:, None]
    if labels.activation == "sigmoid":
        return np.asarray(expit(scaled))
    return np.asarray(softmax(scaled, axis=0)[labels.background is not None :])


def _biases_of(sample: VoxelSample, scaling: Scaling) -> NDArray[np.float64]:
    """Return the bias of each answer of a sample; without a background, networks have one output more."""
    count = len(sample.logits)
    return np.array(scaling.biases[-count:] or (0.0,) * count)


@dataclass(frozen=True)
class _FitData:
    """The data that one temperature is fitted to: mutually exclusive answers with their logits.

    A region and its complement are two such answers, the complement with the logit 0.

    Attributes:
        logits: (answers, voxels).
        truth: (voxels,) number of the true answer.
        weights: (voxels,) of the voxels; of regions, 0 where the region itself does not count.
    """

    logits: NDArray[np.float32]
    truth: NDArray[np.intp]
    weights: NDArray[np.float64]

    def logs(self, factor: float, biases: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the logarithms (answers, voxels) of the probabilities."""
        from scipy.special import log_softmax

        return np.asarray(log_softmax(factor * self.logits.astype(np.float64) + biases[:, None], axis=0))

    def loss_of(self, logs: NDArray[np.float64]) -> float:
        """Return the weighted sum of the negative log-likelihood."""
        return -float(np.take_along_axis(logs, self.truth[None], axis=0)[0] @ self.weights)

    def loss_and_slope(self, factor: float, biases: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the loss, and its derivatives by the factor and by each bias."""
        logs = self.logs(factor, biases)
        slopes = np.exp(logs)
        slopes[self.truth, np.arange(len(self.truth))] -= 1
        slopes *= self.weights
        return self.loss_of(logs), np.array([float((slopes * self.logits).sum()), *slopes.sum(axis=1)])


def _fit_data(sample: VoxelSample, labels: Labels, number: int) -> _FitData:
    """Return the data that a temperature is fitted to: all answers with softmax, one structure with sigmoid."""
    if labels.activation == "sigmoid":
        logits = sample.logits[number]
        # voxels are drawn where any structure is likely enough; those far outside of this one were drawn for others
        weights = np.where(logits >= _LEAST_LOG_ODDS, sample.weight, 0.0)
        return _FitData(np.stack([np.zeros_like(logits), logits]), sample.truth[number].astype(np.intp), weights)
    first = int(labels.background is not None)
    truth = np.where(sample.truth.any(axis=0), sample.truth.argmax(axis=0) + first, 0)
    return _FitData(sample.logits, truth, sample.weight)


def _fit(of_cases: Sequence[_FitData], biased: bool) -> tuple[float, tuple[float, ...]]:
    """Return temperature and biases, 0 for the first answer; the problem is convex in the inverse temperature."""
    from scipy.optimize import minimize

    weight = max(sum(float(case.weights.sum()) for case in of_cases), 1.0)
    answers = len(of_cases[0].logits)
    # only differences of biases matter with softmax: the first stays 0
    free = answers - 1 if biased else 0

    def objective(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        biases = np.concatenate([[0.0], values[1:], np.zeros(answers - 1 - free)])
        total, slope = 0.0, np.zeros(1 + answers)
        for case in of_cases:
            loss, of_case = case.loss_and_slope(float(values[0]), biases)
            total += loss
            slope += of_case
        slope = np.delete(slope / weight, 1)[: 1 + free]
        slope[1:] += _PULL * values[1:]
        return total / weight + _PULL / 2 * float(values[1:] @ values[1:]), slope

    # in the inverse temperature, in which the problem is convex
    bounds = [(1 / _HIGHEST, 1 / _LOWEST), *[(-_LARGEST_BIAS, _LARGEST_BIAS)] * free]
    start = np.array([1.0, *[0.0] * free])
    result = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"gtol": 1e-6})
    return float(1 / result.x[0]), (0.0, *map(float, result.x[1:]))


def _count_temperatures(labels: Labels) -> int:
    """Return the number of temperatures: one with softmax, else one for each structure."""
    return 1 if labels.activation == "softmax" else len(labels.names)


def _numbers(labels: Labels) -> range:
    return range(_count_temperatures(labels))
