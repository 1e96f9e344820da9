"""The final validation of a fold: its validation cases are segmented on their own grids and scored; and its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from medseg.commands.train.live import LOSS_BATCHES
from medseg.commands.train.probe import DiceProbe
from medseg.core.case import Case
from medseg.core.progress import Callback, silent
from medseg.delivery.answers.labels_file import write_labels_file
from medseg.delivery.answers.segment import segment
from medseg.delivery.pages.score_files import METRICS_CSV, METRICS_JSON, POOLED_CSV
from medseg.evaluation.label_files import Pair, score_pairs, summarize_pairs
from medseg.evaluation.summary import Summary, Unscored
from medseg.evaluation.tables import write_metrics_csv, write_metrics_json, write_pooled_csv
from medseg.inference.predictor import Predictor
from medseg.io.load import load_case_image
from medseg.preprocessing.cache import Sample
from medseg.training.length.budget import ValidationSeconds

_SAVING_SECONDS = 3.0
"""For weights, record, page and manifest of a run."""
_LONG_SECONDS = 2.0
"""A call that takes longer is timed once; a shorter one may have taken most of its time to set itself up."""


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


def validation_seconds(
    probe: DiceProbe, network: torch.nn.Module, predictor: Predictor, held_out: Sequence[Sample]
) -> ValidationSeconds:
    """Extrapolate the time of validations from one timed case each, by voxel count.

    The scores that are timed are those of a reference against itself: what an untrained network answers may be ragged,
    and take its surfaces many times longer.

    Args:
        probe: the probe that validates during training.
        network: to be trained.
        predictor: the predictor of the same network, for the final validation.
        held_out: validation cases; none for a fold that is trained on every case.

    Returns:
        Seconds of a validation during training, and of the final one.
    """
    first, *_ = probe.samples
    probed = sum(sample.label.numel() for sample in [*probe.samples, *probe.train_samples]) / first.label.numel()
    each = _seconds(lambda: probe.score(network, first)) * probed
    if not held_out:
        return ValidationSeconds(each, 0.0)
    plan, case = predictor.model.plan, first.case
    image = load_case_image(case, len(plan.data.channels), plan.data.reading)
    assert case.label is not None  # it was trained or validated with
    itself = Pair(case, case.label, case.label, plan.data.reading, plan.data.reading)
    score_seconds = _seconds(lambda: score_pairs([itself], plan.labels, plan.scoring, silent))
    one = _seconds(lambda: predictor(image)) + score_seconds
    volumes = sum(sample.label.numel() for sample in held_out) / first.label.numel()
    return ValidationSeconds(each, one * volumes + _SAVING_SECONDS, LOSS_BATCHES)


def _seconds(call: Callable[[], object]) -> float:
    """Return the time of a call; of a second one where the first is short."""
    for _ in range(2):
        start_time = time.monotonic()
        call()
        spent = time.monotonic() - start_time
        if spent > _LONG_SECONDS:
            break
    return spent
