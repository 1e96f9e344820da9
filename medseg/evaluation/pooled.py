"""Scores of a whole set as one image: IoU of each class from the summed counts, and pixel accuracy.

Benchmarks of driving scenes and of everyday photographs print these (Everingham et al. 2010; Cordts et al. 2016, "The
Cityscapes Dataset"): a large case weighs more than a small one, and the background is a class like the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.labels import Labels
from medseg.evaluation.overlap import Overlap, count

MIOU_WITH_BACKGROUND = (
    "IoU from the counts summed over all fully annotated cases, mean over the background and every structure"
)
MIOU_OF_REGIONS = (
    "IoU from the counts summed over all fully annotated cases, mean over the structures without background, "
    "because they overlap"
)
MIOU_WITHOUT_BACKGROUND = (
    "IoU from the counts summed over all fully annotated cases, mean over every class; these labels have no background"
)
ALL_CLASSES = "all classes"
"""The last row of tables: the mean IoU, and the pixel accuracy."""


@dataclass(frozen=True)
class Pooled:
    """Scores from counts that were summed over cases.

    Attributes:
        classes: {class: its counts}; the background comes first, unless structures overlap.
        miou: mean IoU over the classes that occur on either side (Long et al. 2015, "mean IU"); None where nothing
            was counted.
        miou_definition: what `miou` is a mean of, in words.
        pixel_accuracy: share of voxels whose class is right (Long et al. 2015); None where nothing was counted, or
            where structures overlap and a voxel has no single class.
        commonest: class with the most voxels in the reference; empty where `pixel_accuracy` is None.
        commonest_share: its share of the reference's voxels, which is the pixel accuracy of an answer that is this
            class everywhere; None where `pixel_accuracy` is.
    """

    classes: dict[str, Overlap]
    miou: float | None
    miou_definition: str
    pixel_accuracy: float | None = None
    commonest: str = ""
    commonest_share: float | None = None

    @property
    def accuracy_warning(self) -> str:
        """Why the pixel accuracy misleads, in figures of this set; empty where there is none."""
        if self.commonest_share is None:
            return ""
        return (
            f"share of voxels with the right class; misleads where one class fills the image: {self.commonest!r} "
            f"everywhere would have {self.commonest_share:.4f} here, so read the IoU of each class"
        )

    @property
    def record(self) -> dict[str, Any]:
        """The same as `metrics.json` holds it."""
        return {
            "pixel_accuracy": self.pixel_accuracy,
            "pixel_accuracy_note": self.accuracy_warning,
            "commonest_class": self.commonest,
            "commonest_class_share": self.commonest_share,
            "classes": {name: class_figures(overlap) for name, overlap in self.classes.items()},
        }


def pool(labels: Labels, confusion: NDArray[np.int64]) -> Pooled:
    """Return the scores of summed counts.

    The background, if there is one, is a class too (Long et al. 2015, Everingham et al. 2010), unless structures
    overlap: then the classes do not divide the image, the mean is over the structures alone, and there is no pixel
    accuracy.

    Args:
        labels: the structures.
        confusion: (values, values) voxels, reference by prediction, in the order of `Labels.values`.

    >>> one = Labels(structures={"A": 1})
    >>> scores = pool(one, np.array([[95, 0], [5, 0]]))  # 100 pixels, 5 of class A, all answered background
    >>> scores.pixel_accuracy, scores.miou, scores.classes["A"].iou
    (0.95, 0.475, 0.0)
    """
    membership, names = labels.membership, [*labels.names]
    if bool((membership.sum(axis=0) > 1).any()):
        classes = dict(zip(names, count(confusion, membership), strict=True))
        return Pooled(classes, _mean_iou(classes), MIOU_OF_REGIONS)
    background = ~membership.any(axis=0)
    if background.any() and labels.background is not None:
        membership = np.vstack([background, membership])
        names.insert(0, "background" if "background" not in names else "no structure")
    classes = dict(zip(names, count(confusion, membership), strict=True))
    definition = MIOU_WITHOUT_BACKGROUND if labels.background is None else MIOU_WITH_BACKGROUND
    total = int(confusion.sum())
    if not total:
        return Pooled(classes, None, definition)
    commonest = max(classes, key=lambda name: classes[name].n_reference)
    return Pooled(
        classes,
        _mean_iou(classes),
        definition,
        sum(overlap.tp for overlap in classes.values()) / total,
        commonest,
        classes[commonest].n_reference / total,
    )


def class_figures(overlap: Overlap) -> dict[str, int | float | None]:
    """Return the figures of a class: its IoU, the share of its voxels that was found, and its counts."""
    return {"iou": overlap.iou, "accuracy": overlap.recall, "tp": overlap.tp, "fp": overlap.fp, "fn": overlap.fn}


def _mean_iou(classes: dict[str, Overlap]) -> float | None:
    """Return the mean over the classes that either side has; None where neither has any."""
    defined = [iou for overlap in classes.values() if (iou := overlap.iou) is not None]
    return fmean(defined) if defined else None
