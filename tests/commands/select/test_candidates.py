"""The choice among candidates: by score, and by cost among those that cannot be told apart."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from medseg.commands.select.candidates import Scores, all_candidates
from medseg.core.labels import Labels
from medseg.evaluation.gain import DecidingMeasure, Figure
from medseg.plans.sections.scoring import Scoring

LABELS = Labels(structures={"one": 1})
A, B, AB = ("a",), ("b",), ("a", "b")


def scores(of: dict[tuple[str, ...], Sequence[float]], seconds: dict[str, float], measure: str = "dice") -> Scores:
    made = Scores(DecidingMeasure(Scoring(main_measure=measure)), LABELS, [*of])
    count = len(next(iter(of.values())))
    made.patients = [str(number) for number in range(count)]
    made.figures = {name: [{"one": Figure(value, value, False)} for value in values] for name, values in of.items()}
    made.seconds = {name: [value] * count for name, value in seconds.items()}
    return made


def test_which_candidates_there_are() -> None:
    assert all_candidates(["a"], True) == [("a",)]
    assert all_candidates(["a", "b", "c"], True)[3:] == [("a", "b"), ("a", "c"), ("b", "c"), ("a", "b", "c")]
    assert all_candidates(["a", "b"], False) == [("a",), ("b",)]


def test_the_best_wins_where_the_difference_is_no_chance() -> None:
    cheap = [0.80, 0.81, 0.82, 0.80, 0.81, 0.82]
    made = scores({A: cheap, B: [value + 0.05 for value in cheap]}, {"a": 1.0, "b": 9.0})
    chosen, evidence = made.choose({"a": ["0", "1"], "b": ["0", "1"]})
    assert chosen == B
    best, other = evidence.candidates
    assert (best.configurations, best.score, best.seconds) == (["b"], pytest.approx(0.86), 18.0)  # for two folds
    assert other.behind_best is not None
    assert other.behind_best.difference == pytest.approx(-0.05)
    assert other.distinguishable
    assert evidence.reason == "b has the best score, and every cheaper one is worse beyond chance"


def test_the_cheaper_one_wins_where_it_may_be_chance() -> None:
    first = [0.80, 0.81, 0.82, 0.80, 0.81, 0.82]
    second = [value + error for value, error in zip(first, [0.05, -0.04, 0.03, -0.03, 0.04, -0.04], strict=True)]
    chosen, evidence = scores({A: first, B: second}, {"a": 1.0, "b": 4.0}).choose({"a": ["0"], "b": ["0"]})
    assert chosen == A
    assert evidence.candidates[0].configurations == ["b"]
    assert "a cannot be told from the best, b (difference -0.0017" in evidence.reason
    assert evidence.reason.endswith("and is 4.0 times as fast")


def test_an_ensemble_costs_what_all_its_folds_cost() -> None:
    values = [0.8, 0.7, 0.9]
    made = scores({A: values, B: values, AB: values}, {"a": 1.0, "b": 2.0})
    chosen, evidence = made.choose({"a": ["0", "1"], "b": ["0"]})
    assert chosen == A  # as good as any other
    assert {tuple(record.configurations): record.seconds for record in evidence.candidates} == {A: 2.0, B: 2.0, AB: 4.0}


def test_low_values_win_where_these_are_better() -> None:
    near, far = [1.0, 1.1, 1.2, 1.0], [4.0, 4.1, 4.3, 4.0]
    chosen, evidence = scores({A: far, B: near}, {"a": 1.0, "b": 2.0}, "hd95").choose({"a": ["0"], "b": ["0"]})
    assert chosen == B
    assert evidence.candidates[1].behind_best is not None
    assert evidence.candidates[1].behind_best.difference < 0


def test_two_patients_say_nothing_of_chance() -> None:
    chosen, evidence = scores({A: [0.8, 0.7], B: [0.81, 0.71]}, {"a": 1.0, "b": 2.0}).choose({"a": ["0"], "b": ["0"]})
    assert chosen == B
    assert "with 2 patients nothing says whether that is chance" in evidence.reason
