"""Scores of a network in training (whole volumes, network grid) and of a finished one (the scans' own grids)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from medseg.core.case import Case
from medseg.core.progress import Callback, silent
from medseg.delivery.answers.labels_file import write_labels_file
from medseg.delivery.answers.segment import segment
from medseg.delivery.pages.score_files import METRICS_CSV, METRICS_JSON
from medseg.evaluation.label_files import Pair, summarize_pairs
from medseg.evaluation.overlap import confusion, overlaps
from medseg.evaluation.summary import Summary, Unscored
from medseg.evaluation.tables import write_metrics_csv, write_metrics_json
from medseg.inference.predictor import Predictor
from medseg.inference.window_pass import predict_logits
from medseg.io.load import load_case_image
from medseg.networks.device import choose_precision
from medseg.plans.schema import Configuration, Plan
from medseg.preprocessing.cache import Sample
from medseg.preprocessing.volume import OUTSIDE
from medseg.training.data.previous import one_hot
from medseg.training.length.budget import ValidationSeconds

_SAVING_SECONDS = 3.0
_LONG_SECONDS = 2.0


class DiceProbe:
    """Mean Dice per structure on a few whole preprocessed volumes, without flips: what training shows as it goes."""

    def __init__(self, plan: Plan, configuration: Configuration, device: torch.device, samples: list[Sample]) -> None:
        self.plan = plan
        self.configuration = configuration
        self.inference = plan.inference.model_copy(update={"mirror": False})
        self.precision = choose_precision(plan.inference.precision, device)
        alike = sorted(samples, key=lambda sample: sample.case.annotated or ())  # of every kind of partly labelled case
        spread = max(1, len(samples) // plan.training.validation_cases)
        self.samples = alike[::spread][: plan.training.validation_cases]

    @property
    def cases(self) -> int:
        """How many volumes each call predicts."""
        return len(self.samples)

    def __call__(self, network: torch.nn.Module) -> dict[str, float | None]:
        scores = [self._score(network, sample) for sample in self.samples]
        means = {}
        for name in self.plan.labels.names:
            values = [dice for score in scores if (dice := score.get(name)) is not None]
            means[name] = sum(values) / len(values) if values else None
        return means

    def one(self, network: torch.nn.Module) -> None:
        """Predict a single volume, to learn how long it takes."""
        self._score(network, self.samples[0])

    def _score(self, network: torch.nn.Module, sample: Sample) -> dict[str, float | None]:
        labels = self.plan.labels
        image = sample.image
        if sample.previous is not None:
            image = torch.cat([image, one_hot(sample.previous, len(labels.values) - 1, 0)])
        logits = predict_logits([network], image, self.configuration, self.inference, self.precision)
        answer = labels.encode(labels.decide(logits).cpu().numpy(), "prediction")
        reference = sample.label.masked_fill(sample.label == OUTSIDE, 0).cpu().numpy()
        counts = confusion(reference, answer, len(labels.values))
        found = overlaps(counts, labels, sample.case.annotated)
        return {name: overlap.dice for name, overlap in found.items()}


@dataclass(frozen=True)
class Validation:
    """Scores of a fold's validation cases, and the pairs of files that were scored with their scans."""

    summary: Summary
    scans: list[tuple[Pair, Path | None]]


def validate_fold(predictor: Predictor, cases: Sequence[Case], folder: Path, callback: Callback) -> Validation:
    """Segment labelled cases on their own grids, score them, and write answers and scores into `folder`."""
    plan = predictor.model.plan
    outcomes = list(segment([predictor], cases, folder, callback, "validate"))
    answered = {outcome.case.id: outcome.files[0] for outcome in outcomes if outcome.problem is None}
    unanswered = {outcome.case.id: outcome.problem for outcome in outcomes if outcome.problem is not None}
    pairs = [
        Pair(case, case.label, answered[case.id], plan.data.reading)
        for case in cases
        if case.label and case.id in answered
    ]
    summary = summarize_pairs(pairs, plan.labels, plan.scoring, Unscored(unanswered), silent)
    write_labels_file(folder, plan)
    write_metrics_json(folder / METRICS_JSON, summary, plan.labels)
    write_metrics_csv(folder / METRICS_CSV, summary)
    return Validation(summary, [(pair, pair.about.channels[0]) for pair in pairs])


def validation_seconds(
    probe: DiceProbe, network: torch.nn.Module, predictor: Predictor, held_out: Sequence[Sample]
) -> ValidationSeconds:
    """Extrapolate the time of validations, during training and at its end, from one timed volume, by voxel count."""
    first, *_ = probe.samples
    probed = sum(sample.label.numel() for sample in probe.samples) / first.label.numel()
    each = _seconds(lambda: probe.one(network)) * probed
    if not held_out:
        return ValidationSeconds(each, 0.0)
    image = load_case_image(first.case, len(probe.plan.data.channels), probe.plan.data.reading)
    volumes = sum(sample.label.numel() for sample in held_out) / first.label.numel()
    return ValidationSeconds(each, _seconds(lambda: predictor(image)) * volumes + _SAVING_SECONDS)


def _seconds(call: Callable[[], object]) -> float:
    """Return the time of a call; of a second one where the first is short, as it has more to set up than to do."""
    for _ in range(2):
        start_time = time.monotonic()
        call()
        spent = time.monotonic() - start_time
        if spent > _LONG_SECONDS:
            break
    return spent
