"""Operations are kept where they improve out-of-fold answers beyond chance, and only there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from builders import make_image, make_plan
from numpy.typing import NDArray

from medseg.commands.select.kept_answers import THRESHOLDS, KeptCase
from medseg.commands.select.questions import questions
from medseg.commands.select.search import Search
from medseg.core.case import Case
from medseg.core.labels import Labels
from medseg.core.progress import silent
from medseg.evaluation.gain import DecidingMeasure
from medseg.evaluation.measures import Grid
from medseg.inference.treatment import frame_of
from medseg.plans.sections.scoring import Scoring
from medseg.preprocessing.volume import geometry_of

ONE = Labels(structures={"one": 1})
SHAPE = (6, 12, 20)
Scan = NDArray[np.uint8]


def kept(folder: Path, pairs: Sequence[tuple[NDArray, NDArray]], labels: Labels = ONE) -> list[KeptCase]:
    """Cases of a patient each in four folds, from pairs of reference and answer in label values."""
    plan = make_plan(orientation="canonical", labels=labels.model_dump())
    cases = []
    for number, (reference, answer) in enumerate(pairs):
        image = make_image(np.ones(SHAPE, np.float32))
        geometry = geometry_of(image, plan, plan.configuration("main"))
        path = folder / f"{number}.npz"
        np.savez_compressed(path, reference=labels.encode(reference, "it"), m=answer)
        frame = frame_of(geometry, plan)
        case = Case(str(number), "", ())
        cases.append(KeptCase(case, str(number % 4), Grid((1.0, 1.0, 1.0)), geometry, frame, labels, path))
    return cases


def searched(cases: list[KeptCase], measure: str = "dice", position: bool = False) -> Search:
    labels = cases[0].labels
    deciding = DecidingMeasure(Scoring(main_measure=measure))
    figures = []
    for case in cases:
        reference, [answer] = case.read([("m",)])
        indices = labels.encode(answer.values({}, ()), "it")
        figures.append(deciding.figures(reference, indices, labels, case.grid, None))
    search = Search(deciding, labels, ("m",), cases, figures, silent)
    for question in questions(labels, cases, position):
        search.ask(question)
    return search


def block(number: int) -> Scan:
    """A block of one, somewhat larger in every case."""
    scan = np.zeros(SHAPE, np.uint8)
    scan[1:5, 2 : 6 + number % 3, 2:7] = 1
    return scan


def islands(number: int) -> Scan:
    """The block with a false island of four voxels."""
    scan = block(number)
    scan[2:4, 9:11, 15] = 1
    return scan


@pytest.mark.parametrize("measure", ["dice", "hd95"])
def test_false_islands_go(measure: str, tmp_path: Path) -> None:
    search = searched(kept(tmp_path, [(block(n), islands(n)) for n in range(8)]), measure)
    [step] = search.kept_steps
    assert step.operation in ("largest_component", "minimum_size")
    assert step.evidence is not None
    assert step.evidence.low is not None
    assert step.evidence.low > 0
    assert step.evidence.cases == 8
    if measure == "dice":  # 2 |A and B| / (|A| + |B|): of 80 voxels and 4 too many it is 160 / 164
        assert step.evidence.difference == pytest.approx(
            np.mean([4 / (2 * block(n).sum() + 4) for n in range(8)]), abs=1e-6
        )


def test_true_islands_stay(tmp_path: Path) -> None:
    search = searched(kept(tmp_path, [(islands(n), islands(n)) for n in range(8)]))
    assert search.kept_steps == []
    assert search.rejected[0].what == "largest component of one"
    assert search.rejected[0].reason == "it gains nothing"
    assert search.rejected[0].evidence.difference < 0


def test_chance_is_not_kept(tmp_path: Path) -> None:
    pairs = [(islands(0), islands(0))] * 7 + [(block(0), islands(0))]  # false in one case of eight
    assert searched(kept(tmp_path, pairs)).kept_steps == []


def test_two_patients_are_too_few(tmp_path: Path) -> None:
    search = searched(kept(tmp_path, [(block(n), islands(n)) for n in range(2)]))
    assert search.kept_steps == []
    assert "too few patients" in search.rejected[0].reason


def test_an_answer_that_rightly_becomes_empty_is_a_gain(tmp_path: Path) -> None:
    empty = np.zeros(SHAPE, np.uint8)
    speck = empty.copy()
    speck[3, 3, 3] = 1
    pairs = [(empty, speck)] * 4 + [(block(n), block(n)) for n in range(4)]
    [step] = searched(kept(tmp_path, pairs)).kept_steps
    assert (step.operation, step.unit) == ("minimum_size", "ml")
    assert step.evidence is not None
    assert step.evidence.difference == pytest.approx(0.5)


def test_holes_are_filled(tmp_path: Path) -> None:
    def hollow(number: int) -> Scan:
        scan = block(number)
        scan[2:4, 3:5, 3:5] = 0
        return scan

    search = searched(kept(tmp_path, [(block(n), hollow(n)) for n in range(8)]))
    assert [step.operation for step in search.kept_steps] == ["fill_holes"]
    assert search.figures[0]["one"].value == 1.0


def test_a_side_where_no_reference_lies(tmp_path: Path) -> None:
    def both(number: int) -> Scan:
        scan = block(number)
        scan[1:5, 2:9, 14:19] = 1  # larger than what is right
        return scan

    pairs = [(block(n), both(n)) for n in range(8)]
    assert searched(kept(tmp_path, pairs)).kept_steps == []
    [step] = searched(kept(tmp_path, pairs), position=True).kept_steps
    assert step.operation == "position"
    assert step.range is not None
    assert step.range[1] < 0.5


def test_what_a_case_is_treated_with_is_learnt_without_its_fold(tmp_path: Path) -> None:
    def scans(number: int) -> tuple[Scan, Scan]:  # of fold 0 the block lies furthest left, of fold 3 furthest right
        reference = np.zeros(SHAPE, np.uint8)
        reference[1:5, 2:6, 2 : 7 + number % 4] = 1
        answer = reference.copy()
        answer[1:5, 2:11, 14:19] = 1
        return reference, answer

    search = searched(kept(tmp_path, [scans(n) for n in range(8)]), position=True)
    [step] = search.kept_steps
    ranges = [without.range for number in range(4) for without in search.treatment_without(number).steps]
    assert step.range == [ranges[1][0], ranges[1][1]] == ranges[2]
    assert ranges[0][0] > step.range[0]
    assert ranges[3][1] < step.range[1]
    assert search.treatment_without(7) == search.treatment_without(3)


def test_a_structure_that_suffers_forbids_it(tmp_path: Path) -> None:
    labels = Labels(structures={"one": 1, "two": 2})

    def scans(number: int) -> tuple[Scan, Scan]:
        reference, answer = block(number), islands(number)
        reference[1, 11, 18:] = 2
        return reference, np.where(reference == 2, reference, answer)

    search = searched(kept(tmp_path, [scans(n) for n in range(8)], labels))
    assert ["one"] in [step.structures for step in search.kept_steps]
    assert not any("two" in step.structures for step in search.kept_steps)
    assert [other.reason for other in search.rejected if other.what.startswith("largest component of one and two")]


def levels_of(probability: NDArray) -> NDArray[np.uint8]:
    return sum((probability > threshold).astype(np.uint8) for threshold in THRESHOLDS)[None]


@pytest.mark.parametrize(("inside", "expected"), [(0.45, 0.4), (0.95, None)])
def test_thresholds_of_regions(inside: float, expected: float | None, tmp_path: Path) -> None:
    labels = Labels(structures={"one": [1]}, activation="sigmoid", region_values=[1])
    pairs = [(block(n), levels_of(np.where(block(n), inside, 0.1))) for n in range(8)]
    search = searched(kept(tmp_path, pairs, labels))
    assert search.treatment.thresholds == ({} if expected is None else {"one": expected} if expected else {})
    assert all(threshold.evidence is not None for threshold in search.kept_thresholds.values())


def test_answers_of_regions_under_any_threshold(tmp_path: Path) -> None:
    labels = Labels(structures={"all": [1, 2], "core": [2]}, activation="sigmoid", region_values=[1, 2])
    probabilities = np.zeros((2, *SHAPE))
    probabilities[0, 0, 0, :3] = 0.9, 0.55, 0.35
    probabilities[1, 0, 0, :2] = 0.65, 0.1
    levels = np.concatenate([levels_of(region) for region in probabilities])
    [case] = kept(tmp_path, [(np.zeros(SHAPE, np.uint8), levels)], labels)
    _, [answer] = case.read([("m",)])
    row: Callable[[dict[str, float]], list[int]] = lambda at: answer.values(at, ())[0, 0, :4].tolist()  # noqa: E731
    assert row({}) == [2, 1, 0, 0]
    assert row({"all": 0.3}) == [2, 1, 1, 0]
    assert row({"core": 0.7}) == [1, 1, 0, 0]
