"""Overlap of two label maps: count every pair of values once, and derive every score from the counts.

Scores whose denominator is 0 are None; `empties` says what stands in for them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.core.labels import IGNORE, Labels

_CHUNK_VOXELS = 1 << 16
"""Voxels counted at a time: the 8 bytes of each stay in the processor's cache, which halves the time."""


@dataclass(frozen=True)
class Overlap:
    """Counts of voxels of one structure in one case; voxels that the reference ignores are not counted.

    Attributes:
        tp: true positives.
        fp: false positives.
        fn: false negatives.
        tn: true negatives.
    """

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def n_reference(self) -> int:
        """Voxels of the structure in the reference."""
        return self.tp + self.fn

    @property
    def n_prediction(self) -> int:
        """Voxels of the structure in the prediction."""
        return self.tp + self.fp

    @property
    def dice(self) -> float | None:
        """2 TP / (2 TP + FP + FN) (Dice 1945); None where reference and prediction are both empty."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def iou(self) -> float | None:
        """TP / (TP + FP + FN) (Jaccard 1912); None where reference and prediction are both empty."""
        return _ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def precision(self) -> float | None:
        """TP / (TP + FP); None where the prediction is empty."""
        return _ratio(self.tp, self.n_prediction)

    @property
    def recall(self) -> float | None:
        """TP / (TP + FN), the sensitivity; None where the reference is empty."""
        return _ratio(self.tp, self.n_reference)


def confusion(reference: NDArray[np.integer], prediction: NDArray[np.integer], n_values: int) -> NDArray[np.int64]:
    """Count how often each pair of values occurs, in one pass and chunk by chunk.

    Args:
        reference: indices into `Labels.values`, or `IGNORE` where nothing was annotated; any shape.
        prediction: indices of the same shape. `IGNORE` counts as background: a prediction that abstains
            from a voxel found no structure there.
        n_values: how many values there are, the background included.

    Returns:
        (n_values, n_values): entry (i, j) is the number of voxels with i in the reference and j in the
        prediction, without the voxels that the reference ignores.

    Raises:
        ValueError: the shapes differ, or an index is out of range.
    """
    if reference.shape != prediction.shape:
        raise ValueError(f"the reference has shape {reference.shape}, the prediction {prediction.shape}")
    counts = np.zeros(n_values * n_values, dtype=np.int64)
    flat_reference, flat_prediction = reference.ravel(), prediction.ravel()  # no copies of what `Labels.encode` returns
    chunk = max(_CHUNK_VOXELS, counts.size)  # all counts are added up once a chunk
    for start in range(0, flat_reference.size, chunk):
        i, j = flat_reference[start : start + chunk], flat_prediction[start : start + chunk]
        lowest, highest = min(i.min(), j.min()), max(i.max(), j.max())  # cheap, and bincount would not refuse them
        if lowest < IGNORE or highest >= n_values:
            raise ValueError(f"indices run from {lowest} to {highest}; expected {IGNORE} to {n_values - 1}")
        pairs = np.multiply(i, n_values, dtype=np.int64)
        np.add(pairs, np.maximum(j, 0) if lowest < 0 else j, out=pairs, dtype=np.int64)  # which takes uint64, too
        # An ignored voxel has i = -1, so that its pair number i * n + j is negative.
        counts += np.bincount(pairs[pairs >= 0] if lowest < 0 else pairs, minlength=counts.size)
    return counts.reshape(n_values, n_values)


def overlaps(
    confusion: NDArray[np.int64], labels: Labels, annotated: Collection[str] | None = None
) -> dict[str, Overlap]:
    """Return the counts of each structure, from the confusion of the values.

    Args:
        confusion: (values, values), as `confusion` returns it.
        labels: the structures; regions may overlap.
        annotated: names of the structures that were annotated, None for all; the others get no score.
    """
    names = [name for name in labels.names if annotated is None or name in annotated]
    rows = [labels.names.index(name) for name in names]
    return dict(zip(names, count(confusion, labels.membership[rows]), strict=True))


def count(confusion: NDArray[np.int64], membership: NDArray[np.bool_]) -> list[Overlap]:
    """Return the counts of several sets of values.

    Args:
        confusion: (values, values), reference by prediction.
        membership: (sets, values), which values belong to each set; sets may overlap.
    """
    members = membership.astype(np.int64)
    n_reference, n_prediction = members @ confusion.sum(axis=1), members @ confusion.sum(axis=0)
    tp = ((members @ confusion) * members).sum(axis=1)
    tn = confusion.sum() - n_reference - n_prediction + tp
    columns = (tp, n_prediction - tp, n_reference - tp, tn)
    return [Overlap(*map(int, row)) for row in zip(*columns, strict=True)]


def _ratio(numerator: int, denominator: int) -> float | None:
    return numerator / denominator if denominator else None
