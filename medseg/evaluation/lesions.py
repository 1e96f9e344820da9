"""Scores that count objects instead of voxels: detection of lesions, and panoptic quality of instances."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np
from numpy.typing import NDArray

_TOUCHING = {"faces": 1, "edges": 2, "corners": 3}
MATCH_IOU = 0.5
"""Above this IoU an instance has one match at most (Kirillov et al. 2019)."""


@dataclass(frozen=True)
class LesionRule:
    """What a lesion is, and when it counts as found; to be stated beside every score made with it.

    Attributes:
        connectivity: voxels belong to one lesion if they touch at faces, also at edges, or also at corners.
        minimum_voxels: smaller lesions are left out on both sides, before any matching.
        minimum_overlap: share of a lesion that has to be covered by the other side; 0 means a single voxel.
    """

    connectivity: Literal["faces", "edges", "corners"] = "corners"
    minimum_voxels: int = 1
    minimum_overlap: float = 0.0

    def describe(self) -> str:
        """The rule as a sentence."""
        touching = {
            "faces": "faces",
            "edges": "faces or edges",
            "corners": "faces, edges or corners",
        }[self.connectivity]
        covered = f"more than {self.minimum_overlap:.0%} of it" if self.minimum_overlap else "at least one voxel of it"
        size = f", lesions below {self.minimum_voxels} voxels left out" * (self.minimum_voxels > 1)
        return (
            f"a lesion is a group of voxels that touch at {touching}{size}; a reference lesion is detected if "
            f"{covered} is predicted, a predicted lesion is a false positive unless {covered} lies in the reference"
        )


@dataclass(frozen=True)
class LesionScore:
    """Lesions of one structure in one case.

    Attributes:
        n_reference, n_prediction: lesions on each side.
        detected: reference lesions that were found.
        false_positives: predicted lesions that were not there.
        dice: mean over the reference lesions and the false positives: Dice of a reference lesion and all predicted
            lesions that share a voxel with it, 0 for missed lesions and for false positives (as in BraTS 2023); None
            where there are none of both.
    """

    n_reference: int
    n_prediction: int
    detected: int
    false_positives: int
    dice: float | None

    @property
    def sensitivity(self) -> float | None:
        """Detected share of the reference lesions; None where there are none."""
        return self.detected / self.n_reference if self.n_reference else None

    @property
    def f1(self) -> float | None:
        """2 TP / (2 TP + FP + FN), TP detected and FN missed reference lesions; None where there are no lesions."""
        whole = self.detected + self.n_reference + self.false_positives
        return 2 * self.detected / whole if whole else None


@dataclass(frozen=True)
class PanopticScore:
    """Instances matched at an IoU above `MATCH_IOU` (Kirillov et al. 2019, arXiv:1801.00868).

    Attributes:
        tp, fp, fn: matched instances, predicted ones without a match, reference ones without a match.
        iou_sum: of the matches.
    """

    tp: int
    fp: int
    fn: int
    iou_sum: float

    @property
    def segmentation_quality(self) -> float | None:
        """Mean IoU of the matches; None where there are none."""
        return self.iou_sum / self.tp if self.tp else None

    @property
    def recognition_quality(self) -> float | None:
        """F1 of the detection; None where neither side has an instance."""
        whole = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / whole if whole else None

    @property
    def panoptic_quality(self) -> float | None:
        """The product of both; None where neither side has an instance."""
        whole = 2 * self.tp + self.fp + self.fn
        return 2 * self.iou_sum / whole if whole else None


def components(mask: NDArray[np.bool_], rule: LesionRule) -> NDArray[np.int32]:
    """Number from 1 of the lesion that each voxel belongs to, 0 for none."""
    from scipy import ndimage

    touching = ndimage.generate_binary_structure(mask.ndim, min(_TOUCHING[rule.connectivity], mask.ndim))
    found, count = ndimage.label(mask, touching, output=np.int32)
    if rule.minimum_voxels <= 1:
        return found
    large = np.bincount(found.ravel(), minlength=count + 1) >= rule.minimum_voxels
    large[0] = False
    return np.where(large, np.cumsum(large), 0).astype(np.int32)[found]


def score_lesions(
    reference: NDArray[np.bool_], prediction: NDArray[np.bool_], rule: LesionRule | None = None
) -> LesionScore:
    """Compare the lesions of two masks of one shape."""
    rule = rule or LesionRule()
    pairs = _Pairs.of(components(reference, rule), components(prediction, rule))
    covered = np.bincount(pairs.i, pairs.shared, len(pairs.size_i)) / pairs.size_i
    hit = np.bincount(pairs.j, pairs.shared, len(pairs.size_j)) / pairs.size_j
    found, wrong = covered > rule.minimum_overlap, hit <= rule.minimum_overlap
    shared = np.bincount(pairs.i, pairs.shared, len(pairs.size_i))
    matched = np.bincount(pairs.i, pairs.size_j[pairs.j], len(pairs.size_i))
    dice = np.where(found, 2 * shared / (pairs.size_i + matched), 0)
    return LesionScore(
        n_reference=len(found),
        n_prediction=len(wrong),
        detected=int(found.sum()),
        false_positives=int(wrong.sum()),
        dice=_mean([*dice.tolist(), *[0.0] * int(wrong.sum())]),
    )


def panoptic(reference: NDArray[np.integer], prediction: NDArray[np.integer]) -> PanopticScore:
    """Compare two maps of instance numbers of one shape; 0 is background."""
    pairs = _Pairs.of(reference, prediction)
    iou = pairs.shared / (pairs.size_i[pairs.i] + pairs.size_j[pairs.j] - pairs.shared)
    matches = iou[iou > MATCH_IOU]
    tp = len(matches)
    return PanopticScore(tp, len(pairs.size_j) - tp, len(pairs.size_i) - tp, float(matches.sum()))


@dataclass(frozen=True)
class _Pairs:
    """Objects of two sides and how many voxels they share.

    Attributes:
        size_i, size_j: voxels of each object of the reference and of the prediction.
        i, j, shared: places in these of each pair that shares voxels, and how many.
    """

    size_i: NDArray[np.int64]
    size_j: NDArray[np.int64]
    i: NDArray[np.int64]
    j: NDArray[np.int64]
    shared: NDArray[np.int64]

    @staticmethod
    def of(reference: NDArray[np.integer], prediction: NDArray[np.integer]) -> _Pairs:
        """Count in one pass over the voxels that either side marks."""
        if reference.shape != prediction.shape:
            raise ValueError(f"the reference has shape {reference.shape}, the prediction {prediction.shape}")
        marked = (reference != 0) | (prediction != 0)
        (own_i, i, size_i), (own_j, j, size_j) = (_number(side[marked]) for side in (reference, prediction))
        both = own_i[i] & own_j[j]
        pairs, shared = np.unique(i[both] * len(size_j) + j[both], return_counts=True)
        # the background has a place too, where it occurs: places among the objects alone do not count it
        place_i, place_j = np.cumsum(own_i) - 1, np.cumsum(own_j) - 1
        first, second = place_i[pairs // max(len(size_j), 1)], place_j[pairs % max(len(size_j), 1)]
        return _Pairs(size_i[own_i], size_j[own_j], first, second, shared)


def _number(side: NDArray[np.integer]) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """For the numbers of one side: which are objects; for each voxel the place of its own; how many voxels each has."""
    numbers, place, size = np.unique(side, return_inverse=True, return_counts=True)
    return numbers != 0, place, size


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return fmean(listed) if listed else None
