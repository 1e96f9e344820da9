"""Out-of-fold answers of all candidates, kept in compressed files until it is known which candidate is chosen.

Where structures exclude each other, an answer is its label map. Of regions the number of thresholds that each voxel's
probability exceeds is kept, from which the answer under any of these thresholds follows.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.core.case import Case
from medseg.core.labels import Labels
from medseg.evaluation.measures import Grid
from medseg.inference.treatment import frame_of
from medseg.out_of_fold.case import OutOfFoldCase
from medseg.preprocessing.volume import Geometry
from medseg.selection.operations import Frame, apply_steps
from medseg.selection.record import Step

THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""Probabilities above which a region may be answered."""
USUAL = 0.5
_READING = threading.Lock()
"""numpy parses headers with `ast.literal_eval`, which may end in a SystemError if two threads do it (Python 3.11)."""
Candidate = tuple[str, ...]
"""Configurations that answer together."""


@dataclass(frozen=True)
class KeptCase:
    """A case whose answers are kept.

    Attributes:
        case: the case.
        fold: the fold that answered it.
        grid: the spacing of its voxels.
        geometry: how it comes to the axes of the networks.
        frame: what operations need to know of the grid.
        labels: the structures.
        path: the file.
    """

    case: Case
    fold: str
    grid: Grid
    geometry: Geometry
    frame: Frame
    labels: Labels
    path: Path

    def read(self, candidates: Sequence[Candidate]) -> tuple[NDArray[np.int16], list[KeptAnswer]]:
        """Return the label indices of the reference (z, y, x), and the answers of candidates."""
        with _READING, np.load(self.path, allow_pickle=False) as content:
            answers = [KeptAnswer(self, content["+".join(candidate)]) for candidate in candidates]
            return content["reference"], answers


@dataclass(frozen=True)
class KeptAnswer:
    """The answer of one candidate to a case, as it was read from the file of the case.

    Attributes:
        of: the case.
        content: (z, y, x) label values or, of regions, (regions, z, y, x) numbers of thresholds.
    """

    of: KeptCase
    content: NDArray

    def values(self, thresholds: Mapping[str, float], steps: Sequence[Step]) -> NDArray:
        """Return the label values (z, y, x) of the answer.

        Args:
            thresholds: {region: one of `THRESHOLDS`}; `USUAL` for the others.
            steps: operations.
        """
        labels = self.of.labels
        answer = self.content
        if labels.activation == "sigmoid":
            answer = np.full(self.content.shape[1:], labels.decisions[0], labels.dtype)
            for name, level, value in zip(labels.names, self.content, labels.decisions[1:], strict=True):
                answer[level > THRESHOLDS.index(thresholds.get(name, USUAL))] = value
        if not steps:
            return answer
        turned = self.of.geometry.turn(answer[None])[0]
        return self.of.geometry.stored(apply_steps(turned, steps, labels, self.of.frame)[None])[0]


def keep_answers(case: OutOfFoldCase, answers: Mapping[Candidate, NDArray], folder: Path) -> KeptCase:
    """Write the answers of all candidates to a case.

    Args:
        case: of the pass.
        answers: {candidate: label values (z, y, x)}.
        folder: where to.

    Returns:
        The case, with the files that hold its answers.
    """
    path = folder / f"{case.case.id}.npz"
    contents = {"+".join(candidate): _content(case, candidate, answer) for candidate, answer in answers.items()}
    contents["reference"] = case.label
    np.savez_compressed(path, **contents)  # type: ignore[arg-type]
    return KeptCase(
        case=case.case,
        fold=case.fold,
        grid=Grid(case.image.spacing_mm, case.image.spacing_known),
        geometry=case.geometry,
        frame=frame_of(case.geometry, case.plan),
        labels=case.plan.labels,
        path=path,
    )


def _content(case: OutOfFoldCase, candidate: Candidate, answer: NDArray) -> NDArray:
    """Return the array that is kept of an answer: its label values or, of regions, numbers of thresholds."""
    labels = case.plan.labels
    if labels.activation == "softmax":
        return answer
    levels = np.zeros((labels.outputs, *case.label.shape), np.uint8)
    for planes, logits in case.logits(candidate):
        for threshold in THRESHOLDS:
            levels[:, planes] += logits.sigmoid().numpy() > threshold if threshold != USUAL else logits.numpy() > 0
    return levels
