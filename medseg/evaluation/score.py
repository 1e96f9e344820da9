"""The figures that can be measured of one structure in one case: what each means, and how it is read from a score.

`MEASURES` is the one table of figures. The built-in ones are read from the parts of a `StructureScore` (counts of
voxels, distances of surfaces, lesions, instances), which `measures.measure_case` computes together because they share
work. Every other measure is a function of two masks; `extra_measures.register_measure` adds its figures to the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from medseg.evaluation.empties import POLICIES, Empty, EmptyPolicy
from medseg.evaluation.lesions import LesionScore, PanopticScore
from medseg.evaluation.overlap import Overlap

WhereEmpty = Literal["overlap", "distance", "undefined", "computed"]


@dataclass(frozen=True)
class Measure:
    """What one figure means and where it comes from.

    Attributes:
        title: its name in tables.
        unit: "" for a plain number. A figure with a unit depends on the spacing of the voxels: where the spacing is
            unknown, tables write "pixels" instead, and cases of both kinds are not averaged together.
        better: whether high values, low values or values near zero are better; None where no direction is better.
        definition: one phrase for a methods section; it is written beside the scores.
        where_empty: the value where the structure is missing from the reference, the prediction or both. "overlap" and
            "distance": what the policy for empty structures says of Dice or of HD95. "undefined": no value.
            "computed": the formula itself answers.
        source: where a `StructureScore` holds the value, such as "overlap.dice"; empty for registered measures, whose
            values stand in `StructureScore.extra`.
    """

    title: str
    unit: str
    better: Literal["high", "low", "zero"] | None
    definition: str
    where_empty: WhereEmpty = "undefined"
    source: str = ""

    def description(self) -> dict[str, str | None]:
        """Return title, unit, better direction and definition, as `metrics.json` has them."""
        return {"title": self.title, "unit": self.unit, "better": self.better, "definition": self.definition}


MEASURES = {
    "dice": Measure("Dice", "", "high", "2 TP / (2 TP + FP + FN) over voxels (Dice 1945)", "overlap", "overlap.dice"),
    "iou": Measure("IoU", "", "high", "TP / (TP + FP + FN) over voxels (Jaccard 1912)", "overlap", "overlap.iou"),
    "precision": Measure(
        "Precision",
        "",
        "high",
        "TP / (TP + FP) over voxels; not defined for empty predictions",
        "computed",
        "overlap.precision",
    ),
    "recall": Measure(
        "Recall",
        "",
        "high",
        "TP / (TP + FN) over voxels; not defined for empty references",
        "computed",
        "overlap.recall",
    ),
    "volume_reference": Measure(
        "Reference volume",
        "ml",
        None,
        "voxels of the reference times the voxel's volume",
        "computed",
        "volume_reference",
    ),
    "volume_prediction": Measure(
        "Predicted volume",
        "ml",
        None,
        "voxels of the prediction times the voxel's volume",
        "computed",
        "volume_prediction",
    ),
    "volume_error": Measure(
        "Volume error", "ml", "zero", "predicted less reference volume", "computed", "volume_error"
    ),
    "volume_error_relative": Measure(
        "Relative volume error",
        "",
        "zero",
        "volume error over the reference volume",
        "computed",
        "volume_error_relative",
    ),
    "hd": Measure("HD", "mm", "low", "Hausdorff distance between the surfaces", "distance", "surface.hd"),
    "hd95": Measure(
        "HD95",
        "mm",
        "low",
        "distance that 95 % of a surface's area does not exceed, the larger of both directions",
        "distance",
        "surface.hd95",
    ),
    "assd": Measure(
        "ASSD",
        "mm",
        "low",
        "distance to the other surface, mean over the area of both surfaces (Heimann 2009)",
        "distance",
        "surface.assd",
    ),
    "nsd": Measure(
        "NSD",
        "",
        "high",
        "share of both surfaces' area within the tolerance of the other (Nikolov et al. 2018)",
        "overlap",
        "surface.nsd",
    ),
    "lesion_f1": Measure("Lesion F1", "", "high", "2 TP / (2 TP + FP + FN) over lesions", "overlap", "lesions.f1"),
    "lesion_sensitivity": Measure(
        "Lesion sensitivity",
        "",
        "high",
        "share of the reference lesions that was detected",
        "computed",
        "lesions.sensitivity",
    ),
    "lesion_false_positives": Measure(
        "False positive lesions",
        "",
        "low",
        "predicted lesions that are not there",
        "computed",
        "lesions.false_positives",
    ),
    "lesion_dice": Measure(
        "Lesion Dice", "", "high", "mean Dice of lesions, 0 for missed and invented ones", "overlap", "lesions.dice"
    ),
    "panoptic_quality": Measure(
        "PQ",
        "",
        "high",
        "panoptic quality (Kirillov et al. 2019), matches above IoU 0.5",
        "computed",
        "instances.panoptic_quality",
    ),
    "segmentation_quality": Measure(
        "SQ", "", "high", "mean IoU of matched instances", "computed", "instances.segmentation_quality"
    ),
    "recognition_quality": Measure(
        "RQ", "", "high", "F1 of matched instances", "computed", "instances.recognition_quality"
    ),
}
"""Every figure by its name in files, in the order of all outputs; registered measures add theirs at the end."""


@dataclass(frozen=True)
class SurfaceScore:
    """Distances between the surfaces of a structure; None where the structure is missing from one side.

    Attributes:
        hd: Hausdorff distance, in mm (pixels where the spacing is unknown), as the other distances.
        hd95: its 95th percentile.
        assd: average symmetric surface distance.
        nsd: normalized surface distance (surface Dice), from 0 to 1.
        tolerance: the tolerance of the NSD, in mm or pixels.
    """

    hd: float | None
    hd95: float | None
    assd: float | None
    nsd: float | None
    tolerance: float


@dataclass(frozen=True)
class StructureScore:
    """What was measured of one structure in one case; `figures` applies a policy for empty structures.

    Attributes:
        overlap: counts of voxels.
        voxel_volume: in ml, or 1 where the spacing is unknown.
        diagonal: the diagonal of the whole image, in mm or pixels.
        surface: distances; None where they were not asked for.
        lesions: detection of lesions; None where it was not asked for.
        instances: panoptic quality; None where it was not asked for.
        extra: {figure: value} of the registered measures that were asked for.
    """

    overlap: Overlap
    voxel_volume: float
    diagonal: float
    surface: SurfaceScore | None = None
    lesions: LesionScore | None = None
    instances: PanopticScore | None = None
    extra: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def empty(self) -> Empty:
        """Which side lacks the structure."""
        if not self.overlap.n_reference:
            return "reference" if self.overlap.n_prediction else "both"
        return "" if self.overlap.n_prediction else "prediction"

    @property
    def volume_reference(self) -> float:
        """Volume in the reference in ml (voxels where the spacing is unknown), without ignored voxels."""
        return self.overlap.n_reference * self.voxel_volume

    @property
    def volume_prediction(self) -> float:
        """Volume in the prediction, in the same unit."""
        return self.overlap.n_prediction * self.voxel_volume

    @property
    def volume_error(self) -> float:
        """Volume of the prediction less that of the reference: positive where too much was marked."""
        return (self.overlap.n_prediction - self.overlap.n_reference) * self.voxel_volume

    @property
    def volume_error_relative(self) -> float | None:
        """Volume error over the reference's volume; None where the reference is empty."""
        return self.volume_error / self.volume_reference if self.overlap.n_reference else None

    def figures(self, policy: EmptyPolicy = POLICIES["default"]) -> dict[str, float | None]:
        """Return every measured figure by its name in `MEASURES`.

        Args:
            policy: what a figure is where the structure is missing from one side or both.

        Returns:
            {figure: value}; None where one is not defined and the policy has no stand-in.
        """
        figures: dict[str, float | None] = {}
        for name, measure in MEASURES.items():
            part, _, attribute = measure.source.rpartition(".")
            if not measure.source:
                if name not in self.extra:
                    continue
                value = self.extra[name]
            else:
                holder = getattr(self, part) if part else self
                if holder is None:  # surfaces, lesions or instances were not asked for
                    continue
                value = getattr(holder, attribute)
            value = None if value is None else float(value)
            if measure.where_empty == "overlap":
                value = policy.overlap(value, self._empty_of_lesions if part == "lesions" else self.empty)
            elif measure.where_empty == "distance":
                value = policy.distance(value, self.empty, self.diagonal)
            figures[name] = value
        return figures

    @property
    def _empty_of_lesions(self) -> Empty:
        """`both` if neither side has a lesion, else empty: a mask may have voxels, but none in a lesion that counts."""
        counts = self.lesions
        return "" if counts is None or counts.n_reference + counts.n_prediction else "both"
