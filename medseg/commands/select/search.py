"""Search for operations on answers that improve them: one question after another, each on what is kept so far.

A question has several options, such as sizes below which components are removed. Which option is best is found out on
all folds but one and its gain measured on that one, fold by fold, so that the gain is not that of the luckiest option.
It is kept only if the interval of this gain lies above 0 and the mean of no structure falls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from medseg.commands.select.kept_answers import USUAL, Candidate, KeptAnswer, KeptCase
from medseg.core.errors import MedsegError
from medseg.core.labels import Labels
from medseg.core.machine.parallel import map_cases
from medseg.core.progress import Callback, track
from medseg.evaluation.gain import DecidingMeasure, Figures, column_means, gain_of
from medseg.selection.record import Gain, Rejected, Step, Threshold

STAGE = "postprocessing"
_PARTS = 5
"""Groups of patients that stand in for folds where all cases are of one."""


@dataclass(frozen=True)
class Treatment:
    """Postprocessing of answers: thresholds of regions, then operations on the label map.

    Attributes:
        thresholds: {region: probability above which it is answered}.
        steps: operations, in this order.
    """

    thresholds: Mapping[str, float] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether anything is done at all."""
        return bool(self.thresholds or self.steps)

    def values(self, answer: KeptAnswer) -> NDArray:
        """Return the label values of an answer after this postprocessing."""
        return answer.values(self.thresholds, self.steps)


@dataclass(frozen=True)
class Option:
    """One answer to a question.

    Attributes:
        what: in words.
        extend: returns a treatment with the option, as it is learnt without the cases of a fold; None for all folds.
    """

    what: str
    extend: Callable[[Treatment, str | None], Treatment]


def step_option(step: Step) -> Option:
    """Return the option to do an operation after the others."""
    return Option(step.describe(), lambda before, fold: Treatment(before.thresholds, (*before.steps, step)))


def threshold_option(region: str, value: float) -> Option:
    """Return the option to answer a region above a probability."""
    return Option(
        f"{region} above a probability of {value:g}",
        lambda before, fold: Treatment({**before.thresholds, region: value}, before.steps),
    )


@dataclass
class Search:
    """A search among treatments of one candidate's answers.

    Attributes:
        measure: the measure that decides.
        labels: the structures.
        candidate: the candidate that gave the answers.
        cases: the cases whose answers were kept.
        figures: of each case, under what is kept so far.
        callback: receives progress.
        treatment: the postprocessing kept so far.
        kept_steps: the operations that are kept so far, each with its gain.
        kept_thresholds: {region: its threshold, with its gain}, of those that are kept so far.
        rejected: the options that were not kept.
        crossed: {part: what is kept so far, as the other parts would have it}.
    """

    measure: DecidingMeasure
    labels: Labels
    candidate: Candidate
    cases: Sequence[KeptCase]
    figures: list[Figures]
    callback: Callback
    treatment: Treatment = field(default_factory=Treatment)
    kept_steps: list[Step] = field(default_factory=list)
    kept_thresholds: dict[str, Threshold] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)
    crossed: dict[str, Treatment] = field(default_factory=dict)

    def treatment_without(self, number: int) -> Treatment:
        """Return the postprocessing kept so far, with options and limits that were chosen without the fold of a case.

        Args:
            number: of the case.
        """
        return self.crossed.get(self._parts[number], Treatment())

    def ask(self, options: Sequence[Option]) -> None:
        """Keep the best of some options, if it improves answers beyond chance.

        Raises:
            MedsegError: an answer cannot be measured.
        """
        figures = self._figures(options)
        names, patients = self.labels.names, [case.case.patient_or_id for case in self.cases]
        differences = np.stack([self.measure.differences(new, self.figures, names) for new in figures])
        means = [_mean(of_option) for of_option in differences]
        best = int(np.argmax(means))
        gain = gain_of(self._crossed(differences), patients, names)
        why_not = _why_not(gain, column_means(differences[best]), names)
        if why_not:
            changing = [number for number, by_case in enumerate(differences) if (np.nan_to_num(by_case) != 0).any()]
            if changing and best not in changing:  # to change nothing is best: what the others cost is worth a line
                best = max(changing, key=lambda number: means[number])
                gain = gain_of(differences[best], patients, names)
                why_not = _why_not(gain, column_means(differences[best]), names) or why_not
            if changing:
                self.rejected.append(Rejected(what=options[best].what, evidence=gain, reason=why_not))
            return
        after = options[best].extend(self.treatment, None)
        self.kept_steps += [step.model_copy(update={"evidence": gain}) for step in after.steps[len(self.kept_steps) :]]
        for region, value in after.thresholds.items():
            if self.treatment.thresholds.get(region, USUAL) != value:
                self.kept_thresholds[region] = Threshold(value=value, evidence=gain)
        for part, option in self._best_without(differences).items():
            fold = self.cases[self._parts.index(part)].fold
            self.crossed[part] = options[option].extend(self.crossed.get(part, Treatment()), fold)
        self.treatment, self.figures = after, figures[best]

    def _figures(self, options: Sequence[Option]) -> list[list[Figures]]:
        """Return the figures of each case under each option, with limits that are learnt without the case's fold."""

        def measure(numbered: tuple[int, KeptCase]) -> list[Figures]:
            number, case = numbered
            reference, [answer] = case.read([self.candidate])
            before = self.treatment.values(answer)
            results = []
            for option in options:
                after = option.extend(self.treatment, case.fold).values(answer)
                if np.array_equal(before, after):
                    results.append(self.figures[number])
                    continue
                indices = self.labels.encode(after, "the answer")
                annotated = case.case.annotated
                results.append(self.measure.figures(reference, indices, self.labels, case.grid, annotated))
            return results

        by_case: list[list[Figures]] = []
        measured = map_cases(measure, [*enumerate(self.cases)])
        for _, result in track(measured, STAGE, len(self.cases), self.callback):
            if isinstance(result, MedsegError):
                raise result
            by_case.append(result)
        return [[of_case[number] for of_case in by_case] for number in range(len(options))]

    @cached_property
    def _parts(self) -> list[str]:
        """The part of each case: its fold or, where all are of one, a group of patients."""
        folds = [case.fold for case in self.cases]
        if len({*folds}) > 1:
            return folds
        patients = sorted({case.case.patient_or_id for case in self.cases})  # are parted as folds would part them
        return [str(patients.index(case.case.patient_or_id) % _PARTS) for case in self.cases]

    def _best_without(self, differences: NDArray[np.float64]) -> dict[str, int]:
        """Return {part: number of the option that is best on the cases of the other parts}.

        Args:
            differences: (options, cases, structures).
        """
        parts, best = np.array(self._parts), {}
        for part in sorted({*self._parts}):
            others = parts != part
            outside = differences[:, others] if others.any() else differences
            best[part] = int(np.argmax([_mean(of_option) for of_option in outside]))
        return best

    def _crossed(self, differences: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (cases, structures): for the cases of each part, the gain of the option that is best on the others.

        Args:
            differences: (options, cases, structures).
        """
        best = self._best_without(differences)
        return np.stack([differences[best[part], number] for number, part in enumerate(self._parts)])


def _mean(differences: NDArray[np.float64]) -> float:
    """Return the mean over structures of the mean over cases; 0 where nothing is defined."""
    means = column_means(differences)
    return float(means[np.isfinite(means)].mean()) if np.isfinite(means).any() else 0.0


def _why_not(gain: Gain, means: NDArray[np.float64], names: Sequence[str]) -> str | None:
    """Return why an option is not kept; None where it is.

    Args:
        gain: of the options, chosen on other folds.
        means: mean gain of each structure by the best option.
        names: the structures.
    """
    if gain.low is None:
        return "there are too few patients to tell its gain from chance"
    if gain.low <= 0:
        return "its gain cannot be told from chance" if gain.difference > 0 else "it gains nothing"
    crossed = [gain.structures[name] for name in names]
    for name, mean, other in zip(names, means, crossed, strict=True):
        if mean < 0 or (other is not None and other < 0):
            return f"{name} becomes worse"
    return None
