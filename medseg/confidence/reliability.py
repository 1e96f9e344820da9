"""Reliability: how often what has a probability is true, in bins of the probability, and how far the two are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medseg.plans.sections.section import Section

BINS = 15


class Bin(Section):
    """A bar of a reliability diagram.

    Attributes:
        probability: mean probability of its voxels.
        frequency: share of them that belong to the structure.
        share: its share of all voxels that count.
    """

    probability: float
    frequency: float
    share: float


@dataclass
class Reliability:
    """Sums over the voxels of each bin, to which scans are added one after another.

    Attributes:
        weights: (bins,) voxels.
        confidence: (bins,) sum of their probabilities.
        hits: (bins,) how many of them belong to the structure.
    """

    weights: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))
    confidence: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))
    hits: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))

    def add(self, probability: NDArray, truth: NDArray[np.bool_], weight: NDArray) -> None:
        """Add voxels.

        Args:
            probability: (voxels,) of the structure.
            truth: (voxels,) whether they belong to it.
            weight: (voxels,) how many voxels each stands for.
        """
        number = np.minimum((probability * BINS).astype(int), BINS - 1)
        self.weights += np.bincount(number, weight, BINS)
        self.confidence += np.bincount(number, weight * probability, BINS)
        self.hits += np.bincount(number, weight * truth, BINS)

    @property
    def error(self) -> float | None:
        """The expected calibration error: mean over the voxels of |frequency - probability| of their bin.

        None without voxels.

        >>> reliability = Reliability()
        >>> reliability.add(np.array([0.9, 0.9]), np.array([True, False]), np.array([1.0, 1.0]))
        >>> round(reliability.error, 6)
        0.4
        """
        total = float(self.weights.sum())
        return float(np.abs(self.hits - self.confidence).sum() / total) if total else None

    def bins(self) -> list[Bin]:
        """Return the bars of a diagram, without bins that hold no voxel."""
        total = float(self.weights.sum())
        return [
            Bin(
                probability=round(float(confidence / weight), 5),
                frequency=round(float(hits / weight), 5),
                share=round(float(weight / total), 6),
            )
            for weight, confidence, hits in zip(self.weights, self.confidence, self.hits, strict=True)
            if weight > 0
        ]


def pooled(parts: Sequence[Reliability]) -> Reliability:
    """Return the sums over the voxels of several structures.

    Args:
        parts: one a structure.
    """
    whole = Reliability()
    for part in parts:
        whole.weights += part.weights
        whole.confidence += part.confidence
        whole.hits += part.hits
    return whole
