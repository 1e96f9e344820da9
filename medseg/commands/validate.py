"""Scores of a network in training (whole volumes, network grid) and of a finished one (the scans' own grids)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from medseg.case import Case
from medseg.commands.evaluate import Pair, score_pairs, write_results
from medseg.commands.predict import segment, write_labels
from medseg.evaluation.overlap import confusion, overlaps
from medseg.evaluation.summary import Summary, summarize
from medseg.inference.predictor import Predictor
from medseg.inference.sliding import predict_logits
from medseg.networks.device import choose_precision
from medseg.preprocessing.cache import Sample
from medseg.preprocessing.volume import OUTSIDE
from medseg.progress import Callback, silent
from medseg.schema import Configuration, Plan


class DiceProbe:
    """Mean Dice per structure on a few whole preprocessed volumes, without flips: what training shows as it goes."""

    def __init__(self, plan: Plan, configuration: Configuration, device: torch.device, samples: list[Sample]) -> None:
        self.plan = plan
        self.configuration = configuration
        self.inference = plan.inference.model_copy(update={"mirror": False})
        self.precision = choose_precision(plan.inference.precision, device)
        spread = max(1, len(samples) // plan.training.validation_cases)
        self.samples = samples[::spread][: plan.training.validation_cases]

    @property
    def cases(self) -> int:
        """How many volumes each call predicts."""
        return len(self.samples)

    def __call__(self, network: torch.nn.Module) -> dict[str, float | None]:
        scores = [self._score(network, sample) for sample in self.samples]
        means = {}
        for name in self.plan.labels.names:
            values = [dice for score in scores if (dice := score[name]) is not None]
            means[name] = sum(values) / len(values) if values else None
        return means

    def one(self, network: torch.nn.Module) -> None:
        """Predict a single volume, to learn how long it takes."""
        self._score(network, self.samples[0])

    def _score(self, network: torch.nn.Module, sample: Sample) -> dict[str, float | None]:
        labels = self.plan.labels
        logits = predict_logits([network], sample.image, self.configuration, self.inference, self.precision)
        answer = labels.encode(labels.decide(logits).cpu().numpy(), "prediction")
        reference = sample.label.masked_fill(sample.label == OUTSIDE, 0).cpu().numpy()
        counts = confusion(reference, answer, len(labels.values))
        return {name: overlap.dice for name, overlap in overlaps(counts, labels).items()}


def validate_fold(predictor: Predictor, cases: Sequence[Case], folder: Path, callback: Callback) -> Summary:
    """Segment labelled cases on their own grids, score them, and write answers, scores and a picture into `folder`."""
    labels = predictor.model.plan.labels
    result = segment(predictor, cases, folder, callback, "validate")
    pairs = [
        Pair(case.id, case.label, result.files[case.id]) for case in cases if case.label and case.id in result.files
    ]
    annotated = {case.id: case.annotated for case in cases if case.annotated is not None}
    scores, total, failed = score_pairs(pairs, labels, annotated, silent)
    summary = summarize(labels, scores, total, result.failed | failed)
    write_labels(folder / "labels.json", labels)
    write_results(folder, summary, labels, pairs, {case.id: case.channels[0] for case in cases})
    return summary
