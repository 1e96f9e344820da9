"""The candidates of a selection (configurations and combinations of them), their scores, and the choice among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from medseg.commands.select.kept_answers import Candidate
from medseg.core.labels import Labels
from medseg.evaluation.gain import DecidingMeasure, Figures, gain_of, mean_score
from medseg.evaluation.measures import Grid
from medseg.out_of_fold.case import OutOfFoldCase
from medseg.selection.record import Candidate as CandidateRecord
from medseg.selection.record import Evidence


def all_candidates(configurations: Sequence[str], ensembles: bool) -> list[Candidate]:
    """Return each configuration alone, and pairs and all of them together.

    >>> all_candidates(["a", "b"], True)
    [('a',), ('b',), ('a', 'b')]

    Args:
        configurations: their names.
        ensembles: whether several may answer together.
    """
    sizes = {1, 2, len(configurations)} if ensembles else {1}
    return [
        candidate
        for size in sorted(sizes)
        if size <= len(configurations)
        for candidate in combinations(configurations, size)
    ]


@dataclass
class Scores:
    """The scores of candidates, gathered in the pass.

    Attributes:
        measure: the measure that decides.
        labels: the structures.
        candidates: the candidates that are compared.
        patients: of the cases.
        figures: {candidate: figures of each case}.
        seconds: {configuration: seconds for each case}.
    """

    measure: DecidingMeasure
    labels: Labels
    candidates: Sequence[Candidate]
    patients: list[str] = field(default_factory=list)
    figures: dict[Candidate, list[Figures]] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, case: OutOfFoldCase, answers: Mapping[Candidate, NDArray]) -> None:
        """Score the answers of all candidates to a case.

        Args:
            case: of the pass.
            answers: {candidate: label values (z, y, x)}.
        """
        grid = Grid(case.image.spacing_mm, case.image.spacing_known)
        scored = {}
        for candidate, answer in answers.items():
            indices = self.labels.encode(answer, "the answer")
            scored[candidate] = self.measure.figures(case.label, indices, self.labels, grid, case.case.annotated)
        self.patients.append(case.case.patient_or_id)
        for candidate, figures in scored.items():
            self.figures.setdefault(candidate, []).append(figures)
        for name, answered in case.answers.items():
            self.seconds.setdefault(name, []).append(answered.seconds)

    def choose(self, folds: Mapping[str, Sequence[str]]) -> tuple[Candidate, Evidence]:
        """Return the candidate that is chosen, and why.

        The best score wins, unless a cheaper candidate cannot be told from it: the interval of their difference has 0.

        Args:
            folds: {configuration: its folds}, which answer together.
        """
        names = self.labels.names
        scores = {candidate: mean_score(self.figures[candidate], self.patients, names) for candidate in self.candidates}
        cost = {candidate: self._seconds(candidate, folds) for candidate in self.candidates}
        ranked = sorted(self.candidates, key=lambda candidate: (-self._goodness(scores[candidate][0]), cost[candidate]))
        best = ranked[0]
        records = {}
        for candidate in ranked:
            score, interval, of_structure = scores[candidate]
            behind = None
            if candidate != best:
                differences = self.measure.differences(self.figures[candidate], self.figures[best], names)
                behind = gain_of(differences, self.patients, names)
            records[candidate] = CandidateRecord(
                configurations=[*candidate],
                score=score,
                low=None if interval is None else interval[0],
                high=None if interval is None else interval[1],
                structures=of_structure,
                seconds=round(cost[candidate], 3),
                behind_best=behind,
                distinguishable=behind is not None and (behind.high is None or behind.high < 0),
            )
        alike = [candidate for candidate in ranked if not records[candidate].distinguishable]
        chosen = min(alike, key=lambda candidate: cost[candidate])
        evidence = Evidence(
            measure=self.measure.name,
            cases=len(self.patients),
            patients=len({*self.patients}),
            candidates=[*records.values()],
            reason=_reason(chosen, best, records, len({*self.patients})),
        )
        return chosen, evidence

    def _goodness(self, score: float | None) -> float:
        return -np.inf if score is None else self.measure.better_by(score, 0.0)

    def _seconds(self, candidate: Candidate, folds: Mapping[str, Sequence[str]]) -> float:
        return float(sum(np.mean(self.seconds[name]) * len(folds[name]) for name in candidate))


def _reason(chosen: Candidate, best: Candidate, records: Mapping[Candidate, CandidateRecord], patients: int) -> str:
    """Return why a candidate was chosen, in a sentence."""
    if len(records) == 1:
        return f"{title(chosen)} is the only one to choose among"
    if patients < 3:
        return f"{title(best)} has the best score; with {patients} patients nothing says whether that is chance"
    if chosen == best:
        cheaper = [record for record in records.values() if record.seconds < records[best].seconds]
        more = ", and every cheaper one is worse beyond chance" if cheaper else ", and no other is cheaper"
        return f"{title(best)} has the best score{more}"
    behind = records[chosen].behind_best
    assert behind is not None
    times = records[best].seconds / max(records[chosen].seconds, 1e-9)
    return (
        f"{title(chosen)} cannot be told from the best, {title(best)} (difference {behind.difference:+.4f}, interval "
        f"{behind.low:+.4f} to {behind.high:+.4f}), and is {times:.1f} times as fast"
    )


def title(candidate: Candidate) -> str:
    """Return the name of a candidate: `2d + 3d_fullres`."""
    return " + ".join(candidate)
