"""Scores of a network in training, on a few whole volumes in the network's own grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from medseg.core.labels import IGNORE, OUTSIDE
from medseg.core.progress import Callback, silent
from medseg.networks.device import choose_precision
from medseg.plans.schema import Configuration, Plan
from medseg.preprocessing.cache import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medseg.delivery.pictures.live_picture import Slice
    from medseg.evaluation.overlap import Overlap

_MOST_SLICES = 4
"""Cases that a slice is kept of, for a picture."""
_RGB = ("red", "green", "blue")


class DiceProbe:
    """Mean Dice of each structure on a few preprocessed volumes, without flips: what training shows as it goes.

    Args:
        plan: the plan of the run.
        configuration: the configuration that is trained.
        device: to predict on.
        samples: in the host's memory, to choose `training.validation_cases` from; cases with every set of annotated
            structures are among them, as far as there is room.
        train_samples: likewise, training cases to score too; none are scored where it is empty.

    Attributes:
        iou: {structure: mean IoU} of the last call.
        train_dice: {structure: mean Dice} of the training cases in the last call; empty where none are scored.
        train_iou: likewise, their mean IoU.
        slices: a slice of each of the first cases, as the last call answered them.
    """

    def __init__(
        self,
        plan: Plan,
        configuration: Configuration,
        device: torch.device,
        samples: list[Sample],
        train_samples: Sequence[Sample] = (),
    ) -> None:
        self.plan = plan
        self.configuration = configuration
        self.inference = plan.inference.model_copy(update={"mirror": False})
        self.precision = choose_precision(plan.inference.precision, device)
        self.samples = self._some(samples)
        self.train_samples = self._some(train_samples)
        self.iou: dict[str, float | None] = {}
        self.train_dice: dict[str, float | None] = {}
        self.train_iou: dict[str, float | None] = {}
        self.slices: list[Slice] = []
        self._shown_z: dict[str, int] = {}

    def _some(self, samples: Sequence[Sample]) -> list[Sample]:
        alike = sorted(samples, key=lambda sample: sample.case.annotated or ())
        every = max(1, len(samples) // self.plan.training.validation_cases)
        return alike[::every][: self.plan.training.validation_cases]

    def __call__(self, network: torch.nn.Module) -> dict[str, float | None]:
        """Return {structure: mean Dice}; None for a structure that has no Dice in any of the volumes."""
        self.slices = []
        scores = [self._overlaps(network, sample, keep=True) for sample in self.samples]
        self.iou = self._mean(_iou(score) for score in scores)
        trained = [self._overlaps(network, sample) for sample in self.train_samples]
        if trained:
            self.train_dice = self._mean(_dice(score) for score in trained)
            self.train_iou = self._mean(_iou(score) for score in trained)
        return self._mean(_dice(score) for score in scores)

    def score(self, network: torch.nn.Module, sample: Sample, callback: Callback = silent) -> dict[str, float | None]:
        """Return {structure: Dice} of one volume.

        Args:
            network: the network that predicts.
            sample: the sample of this configuration, with its label.
            callback: receives progress after every batch of tiles; may raise `Cancelled`.
        """
        return _dice(self._overlaps(network, sample, callback=callback))

    def _overlaps(
        self, network: torch.nn.Module, sample: Sample, keep: bool = False, callback: Callback = silent
    ) -> dict[str, Overlap]:
        """Return the counts of one volume, and keep a slice of it where there is room for one."""
        # not needed before the first validation
        from medseg.evaluation.overlap import confusion, overlaps
        from medseg.inference.window_pass import predict_logits
        from medseg.training.data.previous import one_hot

        labels, image = self.plan.labels, sample.image
        if sample.previous is not None:
            image = torch.cat([image, one_hot(sample.previous, len(labels.values) - 1, 0)])
        how = (self.configuration, self.inference, self.precision, labels.outputs)
        answer = labels.encode(predict_logits([network], image, *how, labels.decide, callback).numpy(), "prediction")
        reference = sample.label.masked_fill(sample.label == OUTSIDE, 0).numpy()
        counts = confusion(reference, answer, len(labels.values))
        scores = overlaps(counts, labels, sample.case.annotated)
        if keep and len(self.slices) < _MOST_SLICES:
            self.slices.append(self._slice(sample, reference, answer, scores))
        return scores

    def _slice(
        self, sample: Sample, reference: NDArray[np.int16], answer: NDArray[np.int16], scores: Mapping[str, Overlap]
    ) -> Slice:
        """Return the slice of a case with most voxels of structures in the reference, the same in every call."""
        from medseg.delivery.pictures.live_picture import Slice

        key = sample.case.id
        if key not in self._shown_z:
            occupied = self._foreground(reference)
            self._shown_z[key] = int(occupied.argmax()) if occupied.any() else len(reference) // 2
        z = self._shown_z[key]
        # Canonical axes run to the patient's right, front and top; on screen his right is left and his front on top.
        turned = self.plan.orientation == "canonical" and self.plan.data.spacing_known
        flip = (slice(None, None, -1), slice(None, None, -1)) if turned else (slice(None), slice(None))
        known = [value for value in _dice(scores).values() if value is not None]
        return Slice(
            case=key,
            image=sample.image[:, z].numpy()[(slice(None), *flip)].copy(),
            reference=reference[z][flip].copy(),
            prediction=answer[z][flip].copy(),
            pixel=(self.configuration.spacing_mm[-2], self.configuration.spacing_mm[-1]),
            colour=tuple(self.plan.data.channels[:3]) == _RGB,
            annotated=sample.case.annotated,
            detail=f"Dice {sum(known) / len(known):.3f}" if known else "no structure",
        )

    def _foreground(self, reference: NDArray[np.int16]) -> NDArray[np.floating]:
        """Return how much of the structures each slice has, each structure weighing the same."""
        counts = np.zeros(len(reference))
        for value in range(1, len(self.plan.labels.values)):
            of_value = np.count_nonzero(reference == value, axis=(1, 2))
            counts += of_value / max(1, of_value.max())
        return counts if counts.any() else np.count_nonzero(reference != IGNORE, axis=(1, 2)).astype(float)

    def _mean(self, scores: Iterable[Mapping[str, float | None]]) -> dict[str, float | None]:
        """Return the mean of each structure over the cases that have it."""
        every = list(scores)
        means: dict[str, float | None] = {}
        for name in self.plan.labels.names:
            values = [value for score in every if (value := score.get(name)) is not None]
            means[name] = sum(values) / len(values) if values else None
        return means


def _dice(scores: Mapping[str, Overlap]) -> dict[str, float | None]:
    return {name: overlap.dice for name, overlap in scores.items()}


def _iou(scores: Mapping[str, Overlap]) -> dict[str, float | None]:
    return {name: overlap.iou for name, overlap in scores.items()}
