"""Scores of a set of cases: per case, per structure, overall; written as metrics.json and metrics.csv.

metrics.json (null stands for "not defined", there is no NaN):

    schema_version  1
    empty_policy    what happens where a structure is empty: `EMPTY_POLICY`
    overall         cases, dice_mean, iou_mean (mean over cases of each structure, then mean over structures),
                    miou, miou_definition, miou_cases
    structures      {name: n, n_both_empty, n_reference_empty, n_prediction_empty, dice_mean, dice_median,
                    iou_mean, iou_median, volume_reference_mean, volume_prediction_mean, volume_unit}
    cases           [{case, volume_unit, structures: {name: dice, iou, precision, recall, tp, fp, fn, tn,
                    n_reference, n_prediction, volume_reference, volume_prediction, empty}}]
    failed          {case: why it has no score}
    without_prediction, without_reference   [case], left out and named

metrics.csv has one row per case and structure with the same figures; a failed case has rows without figures.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.evaluation.overlap import Overlap, count
from medseg.files import write_json, write_text
from medseg.labels import Labels

SCHEMA_VERSION = 1

EMPTY_POLICY = "both empty: left out of the mean and counted; one empty: Dice and IoU 0, and counted"
"""How a structure scores that a case does not have; stands in every file that is written."""

MIOU_WITH_BACKGROUND = (
    "IoU from the counts summed over all fully annotated cases, mean over the background and every structure"
)
MIOU_OF_REGIONS = (
    "IoU from the counts summed over all fully annotated cases, mean over the structures without background, "
    "because they overlap"
)

_FIGURES = ("dice", "iou", "precision", "recall", "tp", "fp", "fn", "tn", "n_reference", "n_prediction")
_COLUMNS = ("case", "structure", *_FIGURES, "volume_reference", "volume_prediction", "volume_unit")


@dataclass(frozen=True)
class CaseScore:
    """What one case scored.

    Attributes:
        case: its id.
        overlaps: the counts of each structure that was annotated.
        voxel_volume_ml: volume of a voxel, or None where the spacing is unknown.
    """

    case: str
    overlaps: dict[str, Overlap]
    voxel_volume_ml: float | None

    @property
    def volume_unit(self) -> str:
        """Millilitres, or pixels where the spacing is unknown."""
        return "pixels" if self.voxel_volume_ml is None else "ml"

    @property
    def dice_mean(self) -> float | None:
        """Mean over the structures that the reference or the prediction has; None where neither has any."""
        return _mean(overlap.dice for overlap in self.overlaps.values())

    def volume_reference(self, structure: str) -> float:
        """Volume in the reference, in `volume_unit`, without ignored voxels."""
        return self.overlaps[structure].n_reference * (self.voxel_volume_ml or 1)

    def volume_prediction(self, structure: str) -> float:
        """Volume in the prediction, in `volume_unit`, without ignored voxels."""
        return self.overlaps[structure].n_prediction * (self.voxel_volume_ml or 1)


@dataclass(frozen=True)
class StructureSummary:
    """One structure over the cases in which it was annotated.

    Attributes:
        n: cases that enter the means, that is all but those where both sides are empty.
        n_both_empty: cases where neither reference nor prediction has the structure; left out of the means.
        n_reference_empty: cases where only the prediction has it; Dice 0.
        n_prediction_empty: cases where only the reference has it; Dice 0.
        volume_unit: "ml" or "pixels"; "mixed", and no mean volumes, where the cases differ.
    """

    n: int
    n_both_empty: int
    n_reference_empty: int
    n_prediction_empty: int
    dice_mean: float | None
    dice_median: float | None
    iou_mean: float | None
    iou_median: float | None
    volume_reference_mean: float | None
    volume_prediction_mean: float | None
    volume_unit: str


@dataclass(frozen=True)
class Summary:
    """Scores of a set of cases.

    Attributes:
        cases: what each case scored.
        structures: the summary of each structure, in the order of `Labels.names`.
        dice_mean, iou_mean: mean over cases of each structure, then mean over structures, without the
            background; structures without any score are left out (nnU-Net's foreground_mean is NaN then).
        miou: mean IoU as the literature has it (Long et al. 2015, "mean IU"), as `miou_definition` says.
        miou_cases: fully annotated cases that `miou` is made of.
        failed: case -> why it has no score.
        without_prediction: references without a prediction that were allowed to be missing.
        without_reference: predictions without a reference.
    """

    cases: tuple[CaseScore, ...]
    structures: dict[str, StructureSummary]
    dice_mean: float | None
    iou_mean: float | None
    miou: float | None
    miou_definition: str
    miou_cases: int
    failed: dict[str, str] = field(default_factory=dict)
    without_prediction: tuple[str, ...] = ()
    without_reference: tuple[str, ...] = ()


def summarize(
    labels: Labels,
    cases: Sequence[CaseScore],
    confusion: NDArray[np.int64],
    failed: Mapping[str, str] | None = None,
    without_prediction: Iterable[str] = (),
    without_reference: Iterable[str] = (),
) -> Summary:
    """Summarize scores.

    Args:
        labels: the structures.
        cases: what each case scored.
        confusion: (values, values), summed over the cases in which every structure was annotated.
        failed, without_prediction, without_reference: cases without a score, as `Summary` has them.
    """
    structures = {name: _summarize_structure(name, cases) for name in labels.names}
    miou, definition = mean_iou(labels, confusion)
    return Summary(
        cases=tuple(cases),
        structures=structures,
        dice_mean=_mean(structure.dice_mean for structure in structures.values()),
        iou_mean=_mean(structure.iou_mean for structure in structures.values()),
        miou=miou,
        miou_definition=definition,
        miou_cases=sum(len(case.overlaps) == len(structures) for case in cases),
        failed=dict(failed or {}),
        without_prediction=tuple(without_prediction),
        without_reference=tuple(without_reference),
    )


def mean_iou(labels: Labels, confusion: NDArray[np.int64]) -> tuple[float | None, str]:
    """Mean IoU over classes of the summed confusion, and what it was taken over.

    The background is a class too (Long et al. 2015, Everingham et al. 2010), unless structures overlap: then
    the classes do not divide the image and the mean is over structures alone. Classes that neither side has
    are left out; None where nothing was counted.
    """
    membership = labels.membership
    overlapping = bool((membership.sum(axis=0) > 1).any())
    if not overlapping:
        membership = np.vstack([~membership.any(axis=0), membership])
    iou = _mean(overlap.iou for overlap in count(confusion, membership))
    return iou, MIOU_OF_REGIONS if overlapping else MIOU_WITH_BACKGROUND


def write_summary_json(path: Path, summary: Summary) -> None:
    """Write `metrics.json` atomically; its schema stands at the top of this module."""
    overall = {
        "cases": len(summary.cases),
        "dice_mean": summary.dice_mean,
        "iou_mean": summary.iou_mean,
        "miou": summary.miou,
        "miou_definition": summary.miou_definition,
        "miou_cases": summary.miou_cases,
    }
    document = {
        "schema_version": SCHEMA_VERSION,
        "empty_policy": EMPTY_POLICY,
        "overall": overall,
        "structures": {name: vars(structure) for name, structure in summary.structures.items()},
        "cases": [
            {
                "case": case.case,
                "volume_unit": case.volume_unit,
                "structures": {name: _figures(case, name) for name in case.overlaps},
            }
            for case in summary.cases
        ],
        "failed": summary.failed,
        "without_prediction": summary.without_prediction,
        "without_reference": summary.without_reference,
    }
    write_json(path, document)


def write_summary_csv(path: Path, summary: Summary) -> None:
    """Write `metrics.csv` atomically: one row per case and structure; undefined figures are left empty."""
    columns = [*_COLUMNS, "empty", "failed", "empty_policy"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for case in summary.cases:
        for name in case.overlaps:
            row = {"case": case.case, "structure": name, "volume_unit": case.volume_unit}
            writer.writerow({**row, **_figures(case, name), "empty_policy": EMPTY_POLICY})
    for failed, reason in summary.failed.items():
        for name in summary.structures:
            row = {"case": failed, "structure": name, "failed": " ".join(reason.split())}
            writer.writerow({**row, "empty_policy": EMPTY_POLICY})
    write_text(path, text.getvalue())


def _summarize_structure(name: str, cases: Sequence[CaseScore]) -> StructureSummary:
    annotated = [case for case in cases if name in case.overlaps]
    overlaps = [case.overlaps[name] for case in annotated]
    scored = [(o.dice, o.iou) for o in overlaps if o.dice is not None and o.iou is not None]
    dice, iou = [pair[0] for pair in scored], [pair[1] for pair in scored]
    empty = [_empty(overlap) for overlap in overlaps]
    units = {case.volume_unit for case in annotated}
    volumes = annotated if len(units) == 1 else []
    return StructureSummary(
        n=len(scored),
        n_both_empty=empty.count("both"),
        n_reference_empty=empty.count("reference"),
        n_prediction_empty=empty.count("prediction"),
        dice_mean=_mean(dice),
        dice_median=median(dice) if dice else None,
        iou_mean=_mean(iou),
        iou_median=median(iou) if iou else None,
        volume_reference_mean=_mean(case.volume_reference(name) for case in volumes),
        volume_prediction_mean=_mean(case.volume_prediction(name) for case in volumes),
        volume_unit=units.pop() if len(units) == 1 else "mixed" if units else "",
    )


def _figures(case: CaseScore, name: str) -> dict[str, Any]:
    overlap = case.overlaps[name]
    return {
        **{figure: getattr(overlap, figure) for figure in _FIGURES},
        "volume_reference": _tidy(case.volume_reference(name)),
        "volume_prediction": _tidy(case.volume_prediction(name)),
        "empty": _empty(overlap),
    }


def _empty(overlap: Overlap) -> str:
    """Which side lacks the structure: "both", "reference", "prediction", or "" for neither."""
    if not overlap.n_reference and not overlap.n_prediction:
        return "both"
    return "reference" if not overlap.n_reference else "prediction" if not overlap.n_prediction else ""


def _tidy(volume: float) -> float:
    """Without the rounding errors of an affine's determinant (4.000000000000003)."""
    return float(f"{volume:.9g}")


def _mean(values: Iterable[float | None]) -> float | None:
    """Mean of those that are defined; None where none is."""
    defined = [value for value in values if value is not None]
    return fmean(defined) if defined else None
