"""Add-ons of the pass over out-of-fold cases: one fits the calibration of probabilities, one the quality model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.commands.select.kept_answers import Candidate, KeptCase
from medseg.commands.select.treated_answers import TreatedAnswers
from medseg.confidence.calibration import Calibration, calibrate
from medseg.confidence.measures import Example, Shape
from medseg.confidence.quality import Quality, fit_quality
from medseg.confidence.voxel_sample import VoxelSample, membership, sample_voxels, voxels_per_case
from medseg.core.case import Case
from medseg.core.image import Image
from medseg.core.labels import IGNORE, Labels
from medseg.delivery.pages.confidence_sections import calibration_section, quality_section
from medseg.delivery.pages.page import Section
from medseg.inference.case_measures import label_shapes
from medseg.out_of_fold.case import OutOfFoldCase
from medseg.plans.schema import Plan
from medseg.selection.record import Averaging, Selection

STAGE = "quality"
DiceScores = dict[str, float | None]
"""{structure: Dice}; None where answer and reference have none of it."""


class CalibrationConsumer:
    """Draws voxels of each case for each candidate, and fits the calibration of the candidate that is chosen.

    Args:
        plan: of the configurations.
        candidates: the candidates of the selection.
    """

    def __init__(self, plan: Plan, candidates: Sequence[Candidate]) -> None:
        self._plan = plan
        self._samples: dict[Candidate, list[VoxelSample]] = {candidate: [] for candidate in candidates}
        self._averaging: dict[str, Averaging] = {}
        self._calibration: Calibration | None = None

    def add(self, case: OutOfFoldCase) -> None:
        """Draw voxels of a case for each candidate."""
        labels = self._plan.labels
        for name, answer in case.answers.items():
            self._averaging[name] = Averaging.of(answer.predictor.inference)
        if self._not_annotated(case):
            return
        most = voxels_per_case(labels, self._plan.data.cases)
        for candidate, samples in self._samples.items():
            mean = _Mean([case.answers[name].probabilities for name in candidate], labels.activation == "softmax")
            samples.append(sample_voxels(mean, case.label, labels, case.case.id, case.fold, most))

    def finish(self, treated: TreatedAnswers, selection: Selection) -> Selection:
        """Fit the calibration of the chosen candidate, and record how each member averaged its answers.

        Returns:
            The selection with the calibration.
        """
        self._calibration = calibrate(self._samples[treated.candidate], self._plan.labels)
        members = [
            member.model_copy(update={"averaging": self._averaging.get(member.configuration)})
            for member in selection.members
        ]
        return selection.model_copy(update={"calibration": self._calibration, "members": members})

    def section(self) -> Section | None:
        """Return the reliability diagram."""
        calibration = self._calibration
        return None if calibration is None else calibration_section(calibration, self._plan.labels.names)

    def _not_annotated(self, case: OutOfFoldCase) -> bool:
        """Return whether some structures were not annotated in a case, so that the truth is not known everywhere."""
        return len(_annotated(case.case, self._plan.labels)) < len(self._plan.labels.names)


class QualityConsumer:
    """Measures the answers of each candidate to each case, and fits the quality model of the candidate that is chosen.

    Where something is done to the chosen one's answers, shapes and Dice are those of the treated ones. How sure the
    network is stays as it was: `predict` measures both likewise.

    Args:
        plan: of the configurations.
        candidates: the candidates of the selection.
    """

    def __init__(self, plan: Plan, candidates: Sequence[Candidate]) -> None:
        self._plan = plan
        self._examples: dict[Candidate, list[Example]] = {candidate: [] for candidate in candidates}
        self._grids: dict[str, Image] = {}
        self._quality: Quality | None = None

    def add(self, case: OutOfFoldCase) -> None:
        """Measure the answers of each candidate to a case."""
        nothing = np.broadcast_to(np.uint8(0), (1, *case.label.shape))  # the grid is kept, and no array
        self._grids[case.case.id] = case.image.with_array(nothing)
        for candidate, examples in self._examples.items():
            examples.append(_example(case, candidate, self._plan))

    def finish(self, treated: TreatedAnswers, selection: Selection) -> Selection:
        """Fit the quality model on the answers of the chosen candidate after postprocessing.

        Returns:
            The selection with the quality model.
        """

        def measure(kept: KeptCase, reference: NDArray, values: NDArray) -> tuple[dict[str, Shape], DiceScores]:
            answer = self._grids[kept.case.id].with_array(values[None])
            dice = _dice_scores(reference, values, kept.case, self._plan.labels)
            return label_shapes(answer, kept.geometry, self._plan), dice

        measured = treated.measure(measure, STAGE, [*self._grids])
        examples = [_treated(example, measured.get(example.case)) for example in self._examples[treated.candidate]]
        self._quality = fit_quality(examples, self._plan.labels.names)
        return selection.model_copy(update={"quality": self._quality})

    def section(self) -> Section | None:
        """Return a section on how reliable predicted Dice and flags were on out-of-fold answers."""
        return None if self._quality is None else quality_section(self._quality)


def _example(case: OutOfFoldCase, candidate: Candidate, plan: Plan) -> Example:
    """Return the measures of a candidate's answer, with its scores."""
    first = case.answers[candidate[0]]
    answered = case.labels(candidate)
    observations = [case.answers[name].observation for name in candidate]
    image = case.image.with_array(answered[None])
    shapes = _reference_shapes(case, plan)
    return Example(
        case=case.case.id,
        group=case.fold,
        patient=case.case.patient_or_id,
        measures=first.predictor.measures(first.volume, observations, image, (first.fold,)),
        reference={name: shapes[name] for name in _annotated(case.case, plan.labels) if name in shapes},
        dice=_dice_scores(case.label, answered, case.case, plan.labels),
    )


def _treated(example: Example, after: tuple[dict[str, Shape], DiceScores] | None) -> Example:
    """Return an example with the shapes and scores after postprocessing; unchanged if there was none."""
    if after is None:
        return example
    shapes, dice = after
    return replace(example, measures=replace(example.measures, shapes=shapes), dice=dice)


def _annotated(case: Case, labels: Labels) -> list[str]:
    """Return the structures that were annotated in a case."""
    return [name for name in labels.names if case.annotated is None or name in case.annotated]


def _dice_scores(reference: NDArray, answered: NDArray, case: Case, labels: Labels) -> DiceScores:
    """Return {structure: Dice} of those that were annotated.

    Args:
        reference: (z, y, x) label indices, `IGNORE` where nothing was annotated.
        answered: (z, y, x) label values.
        case: whose they are.
        labels: the structures.
    """
    truth, answer = membership(reference, labels), membership(labels.encode(answered, case.id), labels)
    counted, annotated = reference != IGNORE, _annotated(case, labels)
    pairs = zip(labels.names, answer, truth, strict=True)
    return {name: _dice(a & counted, b & counted) for name, a, b in pairs if name in annotated}


def _reference_shapes(case: OutOfFoldCase, plan: Plan) -> dict[str, Shape]:
    """Return the shapes of the reference; none if some voxels were not annotated, as volumes are then unknown."""
    if (case.label == IGNORE).any():
        return {}
    reference = case.image.with_array(np.array(plan.labels.values)[case.label][None])
    return label_shapes(reference, case.geometry, plan)


def _dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float | None:
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else None


@dataclass(frozen=True)
class _Mean:
    """Probabilities (structures, z, y, x) of several configurations together, of which only what is read is averaged.

    Attributes:
        parts: (outputs, z, y, x) of each.
        background: whether output 0 is the background.
    """

    parts: Sequence[NDArray[np.float32]]
    background: bool

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        first = int(self.background)
        total = np.array(self.parts[0][first:][key])
        for part in self.parts[1:]:
            total += part[first:][key]
        return np.asarray(total / np.float32(len(self.parts)))
