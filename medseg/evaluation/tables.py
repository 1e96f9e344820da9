"""Write scores to files: metrics.json, metrics.csv and pooled.csv.

metrics.json (null stands for "not defined", there is no NaN):

    schema_version  2
    empty_policy    the value of a score where a structure is empty
    interval        how intervals were made; low and high are their bounds
    rules           the rules of the measures
    measures        {measure: title, unit, better, definition}
    overall         cases, measures {measure: mean, low, high} (mean over cases of each structure, then structures),
                    miou, miou_definition, miou_cases; of the same pooled voxels pixel_accuracy, pixel_accuracy_note,
                    commonest_class, commonest_class_share, classes {name: iou, accuracy, tp, fp, fn}
    structures      {name: n_annotated, n_both_empty, n_reference_empty, n_prediction_empty, volume_unit,
                    measures {measure: n, n_groups, mean, median, q1, q3, minimum, maximum, low, high}}
    confusion       values [name or value], voxels [[count]]: reference by prediction, over the cases annotated in full
    cases           [{case, patient, prediction, reference (files), volume_unit,
                    structures {name: measure values, tp, fp, fn, tn, empty}}]
    comparison      only with another folder: {structure: {measure: difference {as structures' measures}, p, p_holm}}
    not_compared    likewise: {case: why it has no score of the other folder}
    comparisons     only with several other folders: [{with: folder, comparison, not_compared}], the first of which
                    stands above as well
    subgroups       only where asked for: {attribute: {value: {structure: {measure: as structures' measures}}}}
    paired_by_similar_names   only where asked for: {prediction: reference}
    failed          {case: why it has no score}
    without_prediction, without_reference   [case], left out and named

Lengths are in mm and volumes in ml; where `volume_unit` is "pixels" the spacing is unknown, and they are in pixels
and voxels. metrics.csv has one row per case and structure with the same figures; a failed case has rows without.
pooled.csv has one row per class, of the voxels of all cases that were annotated in full, and one for all classes: the
mean IoU, and the pixel accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medseg.core.case import headings
from medseg.core.csv_text import csv_text
from medseg.core.files import write_json, write_text
from medseg.core.labels import Labels
from medseg.evaluation.pooled import ALL_CLASSES, class_figures
from medseg.evaluation.score import MEASURES
from medseg.evaluation.statistics import METHOD
from medseg.evaluation.summary import CaseScore, Summary

SCHEMA_VERSION = 2
_COUNTS = ("tp", "fp", "fn", "tn")
_DIGITS = 9


def write_metrics_json(path: Path, summary: Summary, labels: Labels, more: Mapping[str, Any] | None = None) -> None:
    """Write `metrics.json` atomically.

    Args:
        path: the file.
        summary: the scores.
        labels: the structures.
        more: further sections beside those of the summary.
    """
    write_json(path, {**_document(summary, labels), **(more or {})})


def _document(summary: Summary, labels: Labels) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "empty_policy": summary.policy.describe(),
        "interval": METHOD,
        "rules": list(summary.rules),
        "measures": {name: MEASURES[name].description() for name in summary.measures},
        "overall": {
            "cases": len(summary.cases),
            "measures": {name: _tidy(asdict(overall)) for name, overall in summary.overall.items()},
            "miou": summary.miou,
            "miou_definition": summary.pooled.miou_definition,
            "miou_cases": summary.miou_cases,
            **summary.pooled.record,
        },
        "structures": {
            name: {
                "n_annotated": structure.n_annotated,
                "n_both_empty": structure.n_both_empty,
                "n_reference_empty": structure.n_reference_empty,
                "n_prediction_empty": structure.n_prediction_empty,
                "volume_unit": structure.volume_unit,
                "measures": {measure: _tidy(asdict(figures)) for measure, figures in structure.figures.items()},
            }
            for name, structure in summary.structures.items()
        },
        "confusion": {"values": value_names(labels), "voxels": summary.confusion.tolist()},
        "cases": [
            {
                "case": case.case,
                "patient": case.patient_or_case,
                "prediction": case.prediction,
                "reference": case.reference,
                "volume_unit": case.volume_unit,
                "structures": {name: _case_figures(case, name) for name in case.structures},
            }
            for case in summary.cases
        ],
        "failed": summary.failed,
        "without_prediction": summary.without_prediction,
        "without_reference": summary.without_reference,
    }


def write_metrics_csv(path: Path, summary: Summary) -> None:
    """Write `metrics.csv` atomically: one row per case and structure; undefined figures are left empty.

    Args:
        path: the file.
        summary: the scores.
    """
    of_case = ["case", "patient", "structure", *summary.measures, *_COUNTS, "volume_unit", "empty"]
    of_files = ["failed", "empty_policy", "prediction", "reference"]
    names = sorted({name for case in summary.cases for name in case.attributes})
    attributes = headings(names, [*of_case, *of_files])
    columns = [*of_case, *attributes.values(), *of_files]
    rows: list[dict[str, Any]] = []
    policy = summary.policy.describe()
    for case in summary.cases:
        for name in case.structures:
            of_table = {attributes[column]: text for column, text in case.attributes.items()}
            row = {"case": case.case, "patient": case.patient_or_case, "structure": name, **of_table}
            figures = _case_figures(case, name)
            files = {"prediction": case.prediction, "reference": case.reference}
            rows.append({**row, **figures, "volume_unit": case.volume_unit, "empty_policy": policy, **files})
    for case_id, reason in summary.failed.items():
        for name in summary.structures:
            row = {"case": case_id, "structure": name, "failed": " ".join(reason.split()), "empty_policy": policy}
            rows.append(row)
    write_text(path, csv_text(columns, [[row.get(name, "") for name in columns] for row in rows]))


def write_pooled_csv(path: Path, summary: Summary) -> None:
    """Write `pooled.csv` atomically: one row per class, then one for all of them; undefined figures are left empty.

    Args:
        path: the file.
        summary: the scores.
    """
    pooled = summary.pooled
    columns = ["class", "iou", "accuracy", "tp", "fp", "fn", "cases"]
    rows = [{"class": name, **class_figures(overlap)} for name, overlap in pooled.classes.items()]
    rows.append({"class": ALL_CLASSES, "iou": pooled.miou, "accuracy": pooled.pixel_accuracy})
    rows = [_tidy({**row, "cases": summary.miou_cases}) for row in rows]
    write_text(path, csv_text(columns, [[row.get(name, "") for name in columns] for row in rows]))


def value_names(labels: Labels) -> list[str]:
    """Return a name for each of `Labels.values`: the structure that it alone makes up, else the value itself."""
    alone = {values[0]: name for name, values in labels.members.items() if len(values) == 1}
    return [
        "background" if labels.background is not None else "no class",
        *(alone.get(value, str(value)) for value in labels.values[1:]),
    ]


def _case_figures(case: CaseScore, name: str) -> dict[str, Any]:
    score = case.structures[name]
    counts = {count: getattr(score.overlap, count) for count in _COUNTS}
    return {**_tidy(case.figures[name]), **counts, "empty": score.empty}


def _tidy(figures: dict[str, Any]) -> dict[str, Any]:
    """Round figures to nine digits: an affine's determinant gives volumes such as 4.000000000000003."""
    return {
        name: float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value for name, value in figures.items()
    }
