"""The distance of a vector of figures from those of the training cases: Mahalanobis with a shrunk covariance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, model_validator

from medseg.plans.sections.section import Section, check_lengths

_RIDGE = 0.05
"""Added to variances, so that figures which nearly follow from others do not count for all by rounding."""
FEWEST = 8
"""Fewer vectors say nothing of what is usual."""


class Distance(Section):
    """The usual distribution of vectors: their mean, scale and covariance.

    Attributes:
        mean: of each figure.
        scale: by what each is divided: its standard deviation, or the least one that matters.
        precision: inverse covariance of the divided figures, shrunk (Ledoit and Wolf 2004).
    """

    mean: Annotated[list[float], Field(min_length=1)]
    scale: list[PositiveFloat]
    precision: list[list[float]]

    @model_validator(mode="after")
    def _check(self) -> Distance:
        check_lengths(self, "mean", "scale", "precision")
        if any(len(row) != len(self.mean) for row in self.precision):
            raise ValueError(f"expected {len(self.mean)} numbers in each row of precision, one for each of mean")
        return self

    def standard(self, vector: Sequence[float]) -> NDArray[np.float64]:
        """Return a vector in standard deviations from the mean."""
        return np.asarray((np.asarray(vector) - np.array(self.mean)) / np.array(self.scale))

    def of(self, vector: Sequence[float]) -> float:
        """Return the Mahalanobis distance of a vector, divided by the root of its length: 1 is usual."""
        z = self.standard(vector)
        # the inverse is stored with five digits, and may give a square below 0 by rounding
        return float(np.sqrt(max(0.0, float(z @ np.array(self.precision) @ z)) / len(z)))

    def mirrored(self, vector: Sequence[float]) -> float:
        """Return how much nearer a vector lies to the opposite of the usual ones than to these; below 0 if it does not.

        It is the logarithm of the ratio of two normal densities, divided by its standard deviation: usual vectors lie
        around minus half of the `separation`, their opposites around half of it.
        """
        here, there = self.of(vector) ** 2, self.of([-value for value in vector]) ** 2
        return float(len(vector) * (here - there) / (2 * max(self.separation, 1e-9)))

    @property
    def separation(self) -> float:
        """How far usual vectors and their opposites lie apart, in standard deviations."""
        return float(self.of([-value for value in self.mean]) * np.sqrt(len(self.mean)))


def fit_distance(vectors: Sequence[Sequence[float]], least_scale: float) -> Distance | None:
    """Return the distribution of some vectors.

    Args:
        vectors: one for each case.
        least_scale: deviations below this do not matter: figures that are the same in all cases would count for all.

    Returns:
        None with fewer than eight vectors.
    """
    if len(vectors) < FEWEST:
        return None
    from sklearn.covariance import ledoit_wolf

    array = np.asarray(vectors, np.float64)
    # the median: a few odd cases among these must not move what is usual
    mean = np.median(array, axis=0)
    scale = np.maximum(array.std(axis=0), least_scale)
    standard = (array - mean) / scale
    covariance = np.atleast_2d(ledoit_wolf(standard)[0])
    # a figure that hardly differs between cases has the least scale as its deviation; others are near 1 already
    covariance += np.diag(np.maximum(1 - np.diag(covariance), 0) + _RIDGE)
    return Distance(
        mean=rounded(mean), scale=rounded(scale), precision=[rounded(row) for row in np.linalg.inv(covariance)]
    )


class ChannelDistance(Section):
    """The usual distribution of the means of a network's deepest channels; each fold has channels of its own.

    Attributes:
        fold: the fold of the network.
        mean: of each channel.
        scale: standard deviation of each.
    """

    fold: str
    mean: list[float]
    scale: list[PositiveFloat]

    @model_validator(mode="after")
    def _check(self) -> ChannelDistance:
        check_lengths(self, "mean", "scale")
        return self

    def of(self, vector: Sequence[float]) -> float:
        """Return the root of the mean square of the standardized channels: 1 is usual."""
        z = (np.asarray(vector) - np.array(self.mean)) / np.array(self.scale)
        return float(np.sqrt(np.mean(np.minimum(z * z, _MOST_SQUARE))))


_MOST_SQUARE = 100.0
"""A single channel, which was silent in training, must not count for all."""


def fit_channels(fold: str, vectors: Sequence[Sequence[float]]) -> ChannelDistance | None:
    """Return the distribution of a fold's channels; None with fewer than eight cases, or without channels.

    Args:
        fold: the fold of the network.
        vectors: means of its channels, for cases that it was not trained on.
    """
    if len(vectors) < FEWEST or not vectors[0]:  # a network may have no layer that is coarser than its tile
        return None
    array = np.asarray(vectors, np.float64)
    # few cases may all have one value in a channel; a tenth of the usual deviation keeps it from counting for all
    deviation = array.std(axis=0, ddof=1)
    return ChannelDistance(
        fold=fold,
        mean=rounded(array.mean(axis=0)),
        scale=rounded(np.maximum(deviation, 0.1 * np.median(deviation) + 1e-6)),
    )


def rounded(values: NDArray | Sequence[float], digits: int = 5) -> list[float]:
    """Return numbers with some significant digits, as files keep them.

    >>> rounded([1.23456789, 0.000123456])
    [1.2346, 0.00012346]
    """
    return [float(f"{float(value):.{digits}g}") for value in values]
