"""What a structure of a case scored, and every figure that is derived from it, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medseg.evaluation.empties import POLICIES, Empty, EmptyPolicy
from medseg.evaluation.lesions import LesionScore, PanopticScore
from medseg.evaluation.overlap import Overlap


@dataclass(frozen=True)
class Measure:
    """What a figure means.

    Attributes:
        title: as a table calls it.
        unit: of its values; lengths are in pixels and volumes in voxels where the spacing is unknown.
        better: whether high or low values are better, or those near zero; None where neither is.
        definition: for a methods section.
    """

    title: str
    unit: Literal["", "mm", "ml"]
    better: Literal["high", "low", "zero"] | None
    definition: str


MEASURES = {
    "dice": Measure("Dice", "", "high", "2 TP / (2 TP + FP + FN) over voxels (Dice 1945)"),
    "iou": Measure("IoU", "", "high", "TP / (TP + FP + FN) over voxels (Jaccard 1912)"),
    "precision": Measure("Precision", "", "high", "TP / (TP + FP) over voxels; not defined for empty predictions"),
    "recall": Measure("Recall", "", "high", "TP / (TP + FN) over voxels; not defined for empty references"),
    "volume_reference": Measure("Reference volume", "ml", None, "voxels of the reference times the voxel's volume"),
    "volume_prediction": Measure("Predicted volume", "ml", None, "voxels of the prediction times the voxel's volume"),
    "volume_error": Measure("Volume error", "ml", "zero", "predicted less reference volume"),
    "volume_error_relative": Measure("Relative volume error", "", "zero", "volume error over the reference volume"),
    "hd": Measure("HD", "mm", "low", "Hausdorff distance between the surfaces"),
    "hd95": Measure(
        "HD95", "mm", "low", "distance that 95 % of a surface's area does not exceed, the larger of both directions"
    ),
    "assd": Measure(
        "ASSD", "mm", "low", "distance to the other surface, mean over the area of both surfaces (Heimann 2009)"
    ),
    "nsd": Measure(
        "NSD", "", "high", "share of both surfaces' area within the tolerance of the other (Nikolov et al. 2018)"
    ),
    "lesion_f1": Measure("Lesion F1", "", "high", "2 TP / (2 TP + FP + FN) over lesions"),
    "lesion_sensitivity": Measure("Lesion sensitivity", "", "high", "share of the reference lesions that was detected"),
    "lesion_false_positives": Measure("False positive lesions", "", "low", "predicted lesions that are not there"),
    "lesion_dice": Measure("Lesion Dice", "", "high", "mean Dice of lesions, 0 for missed and invented ones"),
    "panoptic_quality": Measure("PQ", "", "high", "panoptic quality (Kirillov et al. 2019), matches above IoU 0.5"),
    "segmentation_quality": Measure("SQ", "", "high", "mean IoU of matched instances"),
    "recognition_quality": Measure("RQ", "", "high", "F1 of matched instances"),
}
"""Every figure that `StructureScore.figures` may have, in that order."""


@dataclass(frozen=True)
class SurfaceScore:
    """Distances in mm (pixels where the spacing is unknown); None where a side is empty."""

    hd: float | None
    hd95: float | None
    assd: float | None
    nsd: float | None
    tolerance: float


@dataclass(frozen=True)
class StructureScore:
    """What one structure of one case scored, as measured; `figures` applies a policy to what is empty.

    Attributes:
        overlap: counts of voxels.
        voxel_volume: in ml, or 1 where the spacing is unknown.
        diagonal: of the whole image, in mm or pixels.
        surface, lesions, instances: None where not asked for.
    """

    overlap: Overlap
    voxel_volume: float
    diagonal: float
    surface: SurfaceScore | None = None
    lesions: LesionScore | None = None
    instances: PanopticScore | None = None

    @property
    def empty(self) -> Empty:
        """Which side lacks the structure."""
        if not self.overlap.n_reference:
            return "reference" if self.overlap.n_prediction else "both"
        return "" if self.overlap.n_prediction else "prediction"

    @property
    def volume_reference(self) -> float:
        """Volume in ml (voxels where the spacing is unknown), without ignored voxels."""
        return self.overlap.n_reference * self.voxel_volume

    @property
    def volume_prediction(self) -> float:
        """Likewise of the prediction."""
        return self.overlap.n_prediction * self.voxel_volume

    @property
    def volume_error(self) -> float:
        """Prediction less reference: positive where too much was marked."""
        return (self.overlap.n_prediction - self.overlap.n_reference) * self.voxel_volume

    def figures(self, policy: EmptyPolicy = POLICIES["default"]) -> dict[str, float | None]:
        """Figures by the names of `MEASURES`; None where one is not defined and the policy has no stand-in."""
        empty, overlap = self.empty, self.overlap
        found: dict[str, float | None] = {
            "dice": policy.overlap(overlap.dice, empty),
            "iou": policy.overlap(overlap.iou, empty),
            "precision": overlap.precision,
            "recall": overlap.recall,
            "volume_reference": self.volume_reference,
            "volume_prediction": self.volume_prediction,
            "volume_error": self.volume_error,
            "volume_error_relative": self.volume_error / self.volume_reference if overlap.n_reference else None,
        }
        if self.surface is not None:
            for name in ("hd", "hd95", "assd"):
                found[name] = policy.distance(getattr(self.surface, name), empty, self.diagonal)
            found["nsd"] = policy.overlap(self.surface.nsd, empty)
        if self.lesions is not None:
            one = self.lesions
            none: Empty = "" if one.n_reference + one.n_prediction else "both"
            found |= {
                "lesion_f1": policy.overlap(one.f1, none),
                "lesion_sensitivity": one.sensitivity,
                "lesion_false_positives": float(one.false_positives),
                "lesion_dice": policy.overlap(one.dice, none),
            }
        if self.instances is not None:
            found |= {
                "panoptic_quality": self.instances.panoptic_quality,
                "segmentation_quality": self.instances.segmentation_quality,
                "recognition_quality": self.instances.recognition_quality,
            }
        return found
