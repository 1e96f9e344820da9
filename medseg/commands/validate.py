"""Scores of a network in training (whole volumes, network grid) and of a finished one (the scans' own grids)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from medseg.case import Case
from medseg.errors import MedsegError
from medseg.evaluation.overlap import confusion, confusion_of_values, overlaps
from medseg.evaluation.summary import CaseScore, Summary, summarize, write_summary_csv, write_summary_json
from medseg.image import Image
from medseg.inference.predictor import Predictor
from medseg.inference.sliding import predict_logits
from medseg.io import answer_suffix, write_label
from medseg.io.load import load_case_image, load_case_label
from medseg.networks.device import choose_precision
from medseg.parallel import map_cases
from medseg.preprocessing.cache import Sample
from medseg.preprocessing.volume import OUTSIDE
from medseg.progress import Callback, track
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


def score_cases(
    predictor: Predictor, cases: Sequence[Case], folder: Path | None, callback: Callback
) -> tuple[Summary, dict[str, str]]:
    """Predict labelled cases on their own grids and score them.

    Args:
        folder: where predictions, metrics.json and metrics.csv go; None to write nothing.

    Returns:
        The scores, and why the cases that failed did: {case id: message}.
    """
    labels = predictor.model.plan.labels
    channels = len(predictor.model.plan.data.channels)

    def read(case: Case) -> tuple[Image, Image]:
        image = load_case_image(case, channels)
        return image, load_case_label(case, image)

    scores: list[CaseScore] = []
    failed: dict[str, str] = {}
    total = np.zeros((len(labels.values),) * 2, dtype=np.int64)
    for case, loaded in track(map_cases(read, cases, workers=1), "validate", len(cases), callback):
        try:
            if isinstance(loaded, MedsegError):
                raise loaded
            image, reference = loaded
            answer = predictor(image)
            counts = confusion_of_values(labels, reference.array, answer.array, (str(case.label), "prediction"))
        except MedsegError as error:
            failed[case.id] = str(error)
            continue
        total += counts
        scores.append(CaseScore(case.id, overlaps(counts, labels, case.annotated), image.voxel_volume_ml))
        if folder is not None:
            first = case.channels[0]
            write_label(folder / f"{case.id}{answer_suffix(first)}", answer, like=first)
    summary = summarize(labels, scores, total, failed)
    if folder is not None:
        write_summary_json(folder / "metrics.json", summary)
        write_summary_csv(folder / "metrics.csv", summary)
    return summary, failed
