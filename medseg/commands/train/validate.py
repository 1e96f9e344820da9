"""The final validation of a fold: its validation cases are segmented on their own grids and scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.core.case import Case
from medseg.core.progress import Callback, silent
from medseg.delivery.answers.labels_file import write_labels_file
from medseg.delivery.answers.segment import segment
from medseg.delivery.pages.score_files import METRICS_CSV, METRICS_JSON, POOLED_CSV
from medseg.evaluation.label_files import Pair, summarize_pairs
from medseg.evaluation.summary import Summary, Unscored
from medseg.evaluation.tables import write_metrics_csv, write_metrics_json, write_pooled_csv
from medseg.inference.predictor import Predictor


@dataclass(frozen=True)
class Validation:
    """Scores of a fold's validation cases.

    Attributes:
        summary: the summary of all cases.
        scans: the pairs of files that were scored, each with its scan.
    """

    summary: Summary
    scans: list[tuple[Pair, Path | None]]


def validate_fold(
    predictor: Predictor,
    cases: Sequence[Case],
    folder: Path,
    callback: Callback,
    unread: Mapping[str, str] | None = None,
) -> Validation:
    """Segment labelled cases on their own grids, score them, and write answers and scores.

    Args:
        predictor: the predictor of the trained fold.
        cases: the cases that the fold was not trained on.
        folder: to write into.
        callback: receives progress.
        unread: further cases of the fold, which could not be preprocessed -> why; they are named beside the scores.

    Returns:
        The scores of the cases, and the pairs of files that were scored.
    """
    plan = predictor.model.plan
    for name in (METRICS_JSON, METRICS_CSV, POOLED_CSV):  # of earlier weights, until the new ones are scored
        (folder / name).unlink(missing_ok=True)
    outcomes = list(segment([predictor], cases, folder, callback, "validate"))
    answers = {outcome.case.id: outcome.files[0] for outcome in outcomes if outcome.problem is None}
    unanswered = {outcome.case.id: outcome.problem for outcome in outcomes if outcome.problem is not None}
    pairs = [
        Pair(case, case.label, answers[case.id], plan.data.reading)
        for case in cases
        if case.label and case.id in answers
    ]
    summary = summarize_pairs(pairs, plan.labels, plan.scoring, Unscored({**(unread or {}), **unanswered}), silent)
    write_labels_file(folder, plan)
    write_metrics_json(folder / METRICS_JSON, summary, plan.labels)
    write_metrics_csv(folder / METRICS_CSV, summary)
    write_pooled_csv(folder / POOLED_CSV, summary)
    return Validation(summary, [(pair, pair.about.channels[0]) for pair in pairs])
