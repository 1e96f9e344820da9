"""Scores that count objects instead of voxels: detection of lesions, and panoptic quality of instances.

A lesion or an instance is a connected component of a structure. Where neither side has one, the scores are None.
"""

from __future__ import annotations

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
    """The rule for what a lesion is and when it is detected; it is written beside every score made with it.

    Attributes:
        connectivity: voxels belong to one lesion if they touch at faces, also at edges, or also at corners.
        minimum_voxels: smaller lesions are left out on both sides, before any matching.
        minimum_overlap: share of a lesion that has to be covered by the other side; 0 means a single voxel.
    """

    connectivity: Literal["faces", "edges", "corners"] = "corners"
    minimum_voxels: int = 1
    minimum_overlap: float = 0.0

    def describe(self) -> str:
        """Return the rule as a sentence."""
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
        n_reference: lesions in the reference.
        n_prediction: lesions in the prediction.
        detected: reference lesions that were detected.
        false_positives: predicted lesions that are not in the reference.
        dice: mean over the reference lesions and the false positives: Dice of a reference lesion and all predicted
            lesions that share a voxel with it, 0 for missed lesions and for false positives (as in BraTS 2023); None
            where there are no lesions of either kind.
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
        denominator = self.detected + self.n_reference + self.false_positives  # TP + (TP + FN) + FP
        return 2 * self.detected / denominator if denominator else None


@dataclass(frozen=True)
class PanopticScore:
    """Instances matched at an IoU above `MATCH_IOU` (Kirillov et al. 2019, arXiv:1801.00868).

    Attributes:
        tp: matched instances.
        fp: predicted instances without a match.
        fn: reference instances without a match.
        iou_sum: sum of the IoU of the matches.
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
        denominator = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / denominator if denominator else None

    @property
    def panoptic_quality(self) -> float | None:
        """The product of both qualities, equation 2 of the paper; None where neither side has an instance."""
        denominator = 2 * self.tp + self.fp + self.fn
        return 2 * self.iou_sum / denominator if denominator else None


def components(mask: NDArray[np.bool_], rule: LesionRule) -> NDArray[np.int32]:
    """Give each lesion of a mask a number.

    Args:
        mask: (z, y, x) or (y, x), where the structure is.
        rule: which voxels touch, and which lesions are too small.

    Returns:
        The number (from 1) of the lesion that each voxel belongs to; 0 for none.

    >>> components(np.array([[True, False], [False, True]]), LesionRule("faces")).tolist()
    [[1, 0], [0, 2]]
    """
    from scipy import ndimage

    touching = ndimage.generate_binary_structure(mask.ndim, min(_TOUCHING[rule.connectivity], mask.ndim))
    numbers, count = ndimage.label(mask, touching, output=np.int32)
    if rule.minimum_voxels <= 1:
        return numbers
    large = np.bincount(numbers.ravel(), minlength=count + 1) >= rule.minimum_voxels
    large[0] = False  # the background
    return np.where(large, np.cumsum(large), 0).astype(np.int32)[numbers]  # numbered again without gaps


def score_lesions(
    reference: NDArray[np.bool_], prediction: NDArray[np.bool_], rule: LesionRule | None = None
) -> LesionScore:
    """Compare the lesions of two masks of one shape.

    Args:
        reference: (z, y, x) or (y, x), where the reference has the structure.
        prediction: likewise.
        rule: what a lesion is and when it is detected; None for the default.

    Returns:
        Counts of lesions on both sides, of detected ones and of false positives, and the mean Dice of lesions.
    """
    rule = rule or LesionRule()
    pairs = _Pairs.of(components(reference, rule), components(prediction, rule))
    shared = np.bincount(pairs.i, pairs.shared, len(pairs.size_i))  # voxels of each reference lesion that are predicted
    covered_share = shared / pairs.size_i
    true_share = np.bincount(pairs.j, pairs.shared, len(pairs.size_j)) / pairs.size_j
    detected, false_positive = covered_share > rule.minimum_overlap, true_share <= rule.minimum_overlap
    touching_voxels = np.bincount(pairs.i, pairs.size_j[pairs.j], len(pairs.size_i))
    dice = np.where(detected, 2 * shared / (pairs.size_i + touching_voxels), 0)
    n_false_positives = int(false_positive.sum())
    all_dice = [*dice.tolist(), *[0.0] * n_false_positives]
    return LesionScore(
        n_reference=len(detected),
        n_prediction=len(false_positive),
        detected=int(detected.sum()),
        false_positives=n_false_positives,
        dice=fmean(all_dice) if all_dice else None,
    )


def panoptic(reference: NDArray[np.integer], prediction: NDArray[np.integer]) -> PanopticScore:
    """Match the instances of two maps (Kirillov et al. 2019).

    Args:
        reference: (z, y, x) or (y, x), the number of the instance that each voxel belongs to; 0 for none.
        prediction: likewise; the numbers of both sides need not agree.

    Returns:
        The counts and the quality of matched, missed and false instances.
    """
    pairs = _Pairs.of(reference, prediction)
    iou = pairs.shared / (pairs.size_i[pairs.i] + pairs.size_j[pairs.j] - pairs.shared)
    matches = iou[iou > MATCH_IOU]
    tp = len(matches)
    return PanopticScore(tp, len(pairs.size_j) - tp, len(pairs.size_i) - tp, float(matches.sum()))


@dataclass(frozen=True)
class _Pairs:
    """The objects of two sides and how many voxels they share.

    Attributes:
        size_i: voxels of each object of the reference.
        size_j: voxels of each object of the prediction.
        i: for each pair of objects that share voxels, the index in `size_i`.
        j: likewise the index in `size_j`.
        shared: likewise how many voxels they share.
    """

    size_i: NDArray[np.int64]
    size_j: NDArray[np.int64]
    i: NDArray[np.int64]
    j: NDArray[np.int64]
    shared: NDArray[np.int64]

    @staticmethod
    def of(reference: NDArray[np.integer], prediction: NDArray[np.integer]) -> _Pairs:
        """Count in one pass over the voxels that either side marks.

        Args:
            reference: numbers of objects, 0 for none.
            prediction: likewise; the same shape.
        """
        if reference.shape != prediction.shape:
            raise ValueError(f"the reference has shape {reference.shape}, the prediction {prediction.shape}")
        marked = (reference != 0) | (prediction != 0)
        (is_object_i, i, size_i), (is_object_j, j, size_j) = (_number(side[marked]) for side in (reference, prediction))
        both = is_object_i[i] & is_object_j[j]
        pairs, shared = np.unique(i[both] * len(size_j) + j[both], return_counts=True)
        # The background has an index too, where it occurs: indices among the objects alone do not count it.
        index_i, index_j = np.cumsum(is_object_i) - 1, np.cumsum(is_object_j) - 1
        columns = max(len(size_j), 1)
        return _Pairs(
            size_i[is_object_i], size_j[is_object_j], index_i[pairs // columns], index_j[pairs % columns], shared
        )


def _number(side: NDArray[np.integer]) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """Return which numbers of a side are objects, the index of each voxel's number, and the voxels of each number."""
    numbers, index, size = np.unique(side, return_inverse=True, return_counts=True)
    return numbers != 0, index, size
