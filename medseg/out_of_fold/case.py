"""A labelled case with the probabilities that folds gave it which were not trained on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.core.case import Case
from medseg.core.image import Image
from medseg.inference.observation import Observation
from medseg.inference.predictor import Predictor
from medseg.plans.schema import Plan
from medseg.preprocessing.volume import Geometry, Volume

_MOST_VALUES = 1 << 24
"""Probabilities that are turned into labels at once: 64 MB of float32."""


@dataclass(frozen=True)
class FoldAnswer:
    """What a fold answers to a case that it was not trained on.

    Attributes:
        fold: its name.
        predictor: the fold alone, in its configuration; for what else is to be asked of it (`spread`, `logits`).
        volume: the case on its grid, as `Predictor.prepare` returned it.
        probabilities: (outputs, z, y, x) float32 on the grid of the scan as it is stored, in the order of the network's
            outputs: with softmax the background first, then `Labels.names`; with sigmoid `Labels.names`. It may be a
            file that is mapped into memory; it is valid until the next case is asked for, and must not be written to.
        seconds: that preparing the scan, the networks and resampling took.
        observation: saw the answer being computed.
    """

    fold: str
    predictor: Predictor
    volume: Volume
    probabilities: NDArray[np.float32]
    seconds: float
    observation: Observation


@dataclass(frozen=True)
class OutOfFoldCase:
    """A labelled case, and what each configuration answers out of fold.

    Attributes:
        case: its files, patient and annotated structures.
        image: the scan (channel, z, y, x).
        label: (z, y, x) label indices (`Labels.encode`) on the grid of the scan as it is stored, `IGNORE` where nothing
            was annotated.
        plan: of the configurations; their labels, channels and orientation are the same.
        answers: {configuration: answer}.
    """

    case: Case
    image: Image
    label: NDArray[np.int16]
    plan: Plan
    answers: Mapping[str, FoldAnswer]

    @property
    def fold(self) -> str:
        """The fold of the first configuration that answered; cross-validated fits leave out one fold at a time."""
        return next(iter(self.answers.values())).fold

    @property
    def geometry(self) -> Geometry:
        """How the scan comes to the axes of the networks, and which part of it has content."""
        return next(iter(self.answers.values())).volume.geometry

    def logits(self, configurations: Sequence[str]) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield the logits of the mean probabilities of some configurations, some planes at a time.

        Args:
            configurations: one, or several that answer together.

        Yields:
            Planes of the scan as it is stored, and (outputs, planes, y, x) logits (`Labels.logits_of`).
        """
        for planes, mean in self._means(configurations):
            yield planes, self.plan.labels.logits_of(mean)

    def labels(self, configurations: Sequence[str], offsets: torch.Tensor | None = None) -> NDArray:
        """Return the label values (z, y, x) that some configurations answer together, without postprocessing.

        Args:
            configurations: one, or several that answer together.
            offsets: (outputs, 1, 1, 1), what is subtracted from logits (`inference.treatment.threshold_offsets`).
        """
        labels = self.plan.labels
        written = np.array(labels.decisions, labels.dtype)
        answer = np.empty(self.label.shape, labels.dtype)
        for planes, mean in self._means(configurations):
            if offsets is None and labels.activation == "softmax":  # the largest probability has the largest logit
                chosen = labels.choose(mean)
            else:
                logits = labels.logits_of(mean)
                chosen = labels.choose(logits if offsets is None else logits - offsets)
            answer[planes] = written[chosen.numpy()]
        return answer

    def _means(self, configurations: Sequence[str]) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield planes of the scan and the mean probabilities (outputs, planes, y, x) of some configurations there."""
        parts = [self.answers[name].probabilities for name in configurations]
        planes = max(1, _MOST_VALUES // (parts[0][:, 0].size * len(parts)))
        for start in range(0, parts[0].shape[1], planes):
            where = slice(start, min(start + planes, parts[0].shape[1]))
            mean = torch.from_numpy(np.array(parts[0][:, where]))
            for part in parts[1:]:
                mean += torch.from_numpy(np.array(part[:, where]))
            yield where, mean.div_(len(parts))
