"""Temperatures, which make probabilities mean what they say: of voxels with 0.8, four in five are of the structure.

Logits are divided by a temperature before softmax or sigmoid (Guo et al. 2017, "On Calibration of Modern Neural
Networks"): one for softmax, one for each structure where structures may overlap. No decision changes: dividing all
logits by one number keeps the largest the largest, and 0 stays 0, which is the probability 0.5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medseg.confidence.voxel_sample import LEAST_PROBABILITY, VoxelSample
from medseg.core.labels import Labels

if TYPE_CHECKING:
    import torch

_LOWEST, _HIGHEST = 0.05, 20.0
"""Between these a temperature is looked for; networks have 0.5 to 3."""
_TOLERANCE = 1e-4
_LEAST_LOG_ODDS = log(LEAST_PROBABILITY / (1 - LEAST_PROBABILITY))


def fit_temperatures(samples: Sequence[VoxelSample], labels: Labels) -> list[float]:
    """Return the temperatures with the least negative log-likelihood of the references.

    Args:
        samples: voxels of out-of-fold answers.
        labels: the structures.

    Returns:
        One temperature with softmax, else one for each structure in the order of `labels.names`.
    """
    from scipy.optimize import minimize_scalar

    count = 1 if labels.activation == "softmax" else len(labels.names)
    fitted = []
    for number in range(count):

        def loss(log_temperature: float, number: int = number) -> float:
            total = weight = 0.0
            for sample in samples:
                weights = _weights(sample, labels, number)
                total += float(_losses(sample, float(np.exp(log_temperature)), labels, number) @ weights)
                weight += float(weights.sum())
            return total / max(weight, 1.0)

        bounds = (float(np.log(_LOWEST)), float(np.log(_HIGHEST)))
        result = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": _TOLERANCE})
        fitted.append(float(np.exp(result.x)))
    return fitted


def negative_log_likelihood(sample: VoxelSample, temperatures: Sequence[float], labels: Labels) -> float:
    """Return the mean over the voxels of a scan that count, in nats; with sigmoid also the mean over the structures.

    Args:
        sample: voxels of the scan.
        temperatures: as `fit_temperatures` returns them.
        labels: the structures.
    """
    means = []
    for number, temperature in enumerate(temperatures):
        weights = _weights(sample, labels, number)
        means.append(float(_losses(sample, temperature, labels, number) @ weights) / max(float(weights.sum()), 1.0))
    return float(np.mean(means))


def probabilities_at(sample: VoxelSample, temperatures: Sequence[float], labels: Labels) -> NDArray[np.float64]:
    """Return the probability (structures, voxels) of each structure at given temperatures.

    Args:
        sample: voxels of a scan.
        temperatures: as `fit_temperatures` returns them.
        labels: the structures.
    """
    from scipy.special import expit, softmax

    scaled = sample.logits.astype(np.float64) / np.array(temperatures)[:, None]
    if labels.activation == "sigmoid":
        return np.asarray(expit(scaled))
    return np.asarray(softmax(scaled, axis=0)[labels.background is not None :])


def at_temperatures(
    of_logits: Callable[[torch.Tensor], torch.Tensor], temperatures: Sequence[float]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function of logits (outputs, planes, y, x) that divides them by the temperatures first.

    Args:
        of_logits: what is made of them, such as probabilities.
        temperatures: one for all outputs, or one for each.
    """
    import torch  # the record of a selection is read without it

    def scaled(logits: torch.Tensor) -> torch.Tensor:
        divisors = torch.tensor(temperatures, dtype=logits.dtype, device=logits.device)
        return of_logits(logits / divisors[:, None, None, None])

    return scaled


def _weights(sample: VoxelSample, labels: Labels, number: int) -> NDArray[np.float64]:
    """Return the weights (voxels,) of the voxels; of regions, 0 where the region itself does not count."""
    if labels.activation == "softmax":
        return sample.weight
    return np.where(sample.logits[number] >= _LEAST_LOG_ODDS, sample.weight, 0.0)


def _losses(sample: VoxelSample, temperature: float, labels: Labels, number: int) -> NDArray[np.float64]:
    """Return the negative log-likelihood (voxels,) at a temperature; with sigmoid that of one structure."""
    from scipy.special import log_softmax

    if labels.activation == "sigmoid":
        logits = sample.logits[number].astype(np.float64) / temperature
        return np.asarray(np.logaddexp(0, np.where(sample.truth[number], -logits, logits)))
    logs = log_softmax(sample.logits.astype(np.float64) / temperature, axis=0)
    first = int(labels.background is not None)
    answer = np.where(sample.truth.any(axis=0), sample.truth.argmax(axis=0) + first, 0)
    return np.asarray(-np.take_along_axis(logs, answer[None], axis=0)[0])
