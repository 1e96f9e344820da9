"""Predicted scores, intervals and flags, on made-up cases in which it is known what is wrong."""

import re
from dataclasses import replace

import numpy as np
import pytest
from judged_examples import NAMES, fitted_quality, make_example, make_examples

from medseg.confidence import reference
from medseg.confidence.assessment import MEANINGS, Assessment, assess
from medseg.confidence.conformal import coverage, residual_bounds
from medseg.confidence.distance import fit_distance
from medseg.confidence.measures import CaseMeasures, Example, Shape, Sureness
from medseg.confidence.quality import (
    _LEVELS,
    FALSE_ALARMS,
    Quality,
    _choose_level,
    _left_out,
    _raised_unseen,
    fit_quality,
)
from medseg.confidence.reference import deep_oddness, fit_reference
from medseg.confidence.regression import fit_regressions
from medseg.confidence.shapes import shapes_of
from medseg.core.labels import Labels


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return make_examples(90)


@pytest.fixture(scope="module")
def quality(examples: list[Example]) -> Quality:
    return fitted_quality(examples)


@pytest.fixture
def usual() -> CaseMeasures:
    """An answer with nothing odd about it."""
    random = np.random.default_rng(5)
    measures = make_example(0, random).measures
    volume = 148.0
    sureness = {name: Sureness(148e3, 148e3, 0.9 * 148e3, 0.1 * 148e3, 3000.0, (1.0,), (0.3,), 0.9) for name in NAMES}
    shapes = {
        name: Shape(volume, 1, 1.0, 0.0, (side, 0.0, 0.0), (-side / 120, 0.0))
        for name, side in zip(NAMES, (-60.0, 60.0), strict=True)
    }
    return replace(measures, sureness=sureness, shapes=shapes, scan=(0.0,) * 4, deep={"0": (0.0,) * 6})


def kinds(measures: CaseMeasures, quality: Quality) -> set[tuple[str, str]]:
    return {(flag.kind, flag.structure) for flag in assess(measures, quality).flags}


def test_a_usual_answer_has_no_flag(usual: CaseMeasures, quality: Quality) -> None:
    assert kinds(usual, quality) == set()


def changed(measures: CaseMeasures, name: str, **values: object) -> CaseMeasures:
    return replace(measures, shapes={**measures.shapes, name: replace(measures.shapes[name], **values)})


def unsure(measures: CaseMeasures, **values: object) -> CaseMeasures:
    changed = replace(measures.sureness["kidney_left"], **values)
    return replace(measures, sureness={**measures.sureness, "kidney_left": changed})


ODD = {
    "dice": (lambda usual: unsure(usual, agreement=0.4, overlap=0.5 * 148e3, doubt=0.6 * 148e3), "kidney_left"),
    "scan": (lambda usual: replace(usual, scan=(9.0, 0.0, 0.0, 0.0)), ""),
    "features": (lambda usual: replace(usual, deep={"0": (6.0,) * 6}), ""),
    "volume": (lambda usual: changed(usual, "kidney_left", volume=40.0), "kidney_left"),
    "parts": (lambda usual: changed(usual, "kidney_left", parts=3, largest_share=0.6), "kidney_left"),
    "intensity": (lambda usual: unsure(usual, mean=(3.0,)), "kidney_left"),
    "cut": (lambda usual: changed(usual, "kidney_left", cut=0.5), "kidney_left"),
    "arrangement": (
        lambda usual: changed(usual, "kidney_left", centre=(-60.0, 90.0, 0.0)),
        "kidney_left > kidney_right",
    ),
    "mirrored": (lambda usual: changed(usual, "kidney_left", tilt=(-0.5, 0.0)), "kidney_left"),
    "missing": (lambda usual: changed(usual, "kidney_left", parts=0, volume=0.0, centre=None), "kidney_left"),
    "sides": (
        lambda usual: replace(usual, shapes=dict(zip(NAMES, reversed(usual.shapes.values()), strict=True))),
        "kidney_left > kidney_right",
    ),
}


@pytest.mark.parametrize("kind", MEANINGS)
def test_what_is_odd_is_named(kind: str, usual: CaseMeasures, quality: Quality) -> None:
    odd, structure = ODD[kind]
    raised = kinds(odd(usual), quality)
    assert (kind, structure) in raised
    beside = {"sides": {"arrangement", "mirrored"}, "dice": set()}.get(kind, set())
    assert {other for other, _ in raised} <= {kind, "dice", *beside}


def test_few_good_answers_are_flagged(examples: list[Example], quality: Quality) -> None:
    assert quality.evidence.flagged_good <= FALSE_ALARMS
    fresh = [make_example(number, np.random.default_rng(100 + number)) for number in range(200)]
    assert np.mean([bool(assess(example.measures, quality).flags) for example in fresh]) < 0.2


def test_predicted_dice_is_near_the_truth_and_its_interval_holds_it(quality: Quality) -> None:
    inside, errors, volumes = [], [], []
    for number in range(200):
        example = make_example(number, np.random.default_rng(1000 + number))
        for name, expected in assess(example.measures, quality).structures.items():
            truth = example.dice[name]
            assert truth is not None
            errors.append(abs(expected.dice - truth))
            inside.append(expected.dice_low <= truth <= expected.dice_high)
            volumes.append(expected.volume_low <= example.reference[name].volume <= expected.volume_high)
    assert np.mean(errors) < 0.03
    assert 0.85 <= np.mean(inside) <= 0.96
    assert 0.85 <= np.mean(volumes) <= 0.96
    assert all(value > 0.7 for value in quality.evidence.correlation.values())


def test_a_worse_figure_never_raises_the_prediction(examples: list[Example], quality: Quality) -> None:
    for regressions in quality.dice.values():
        assert [regression.figures.count("agreement") for regression in regressions] == [1, 0]
        for regression in regressions:
            assert min(regression.weights) >= 0


def test_without_mirrored_copies_another_regression_answers(usual: CaseMeasures, quality: Quality) -> None:
    plain = assess(unsure(usual, agreement=None), quality).structures["kidney_left"]
    assert plain.dice == pytest.approx(0.9, abs=0.08)
    assert plain.volume_low is not None


def test_the_flag_on_a_volume_has_its_unit(usual: CaseMeasures, quality: Quality) -> None:
    odd = ODD["volume"][0](usual)
    texts = [flag.text for flag in assess(odd, quality, "ml").flags if flag.kind == "volume"]
    assert [re.sub(r"[0-9.]{3,}", "N", text) for text in texts] == [
        "kidney_left has a volume of 40; usual are N to N ml"
    ]


def test_records_come_back_from_their_files(usual: CaseMeasures, quality: Quality) -> None:
    again = Quality.model_validate(quality.model_dump(mode="json"))
    odd = ODD["volume"][0](usual)
    assessment = assess(odd, again)
    assert assessment == assess(odd, quality)
    assert Assessment.from_json(assessment.to_json()) == assessment


def test_too_few_cases_give_no_judgement(examples: list[Example]) -> None:
    assert fit_quality(examples[:11], NAMES) is None
    assert fit_quality([example for example in examples if example.group == "0"], NAMES) is None


def test_regressions_say_what_they_predict_for_answers_that_they_did_not_see() -> None:
    rows = [{"agreement": value} for value in np.linspace(0.5, 1, 24)]
    dice = [row["agreement"] - 0.1 for row in rows]
    (regression, *_), unseen = fit_regressions(rows, dice, [str(number % 4) for number in range(24)])
    np.testing.assert_allclose(unseen, dice, atol=0.02)
    assert regression.predict({"agreement": 0.7}) == pytest.approx(0.6, abs=0.02)


def test_bounds_hold_their_share() -> None:
    residuals = np.random.default_rng(0).normal(size=400)
    low, high = residual_bounds(residuals)
    assert np.mean((residuals >= low) & (residuals <= high)) == pytest.approx(0.9, abs=0.02)
    assert coverage(residuals.tolist(), [str(number % 5) for number in range(400)]) == pytest.approx(0.9, abs=0.03)
    assert coverage([0.0, 1.0], ["a", "a"]) is None
    # of 38 in two groups each leaves 19, as few as an interval can have
    halves = [str(number % 2) for number in range(38)]
    assert coverage([0.0] * 38, halves) == 1
    assert coverage([0.0] * 37, halves[:37]) is None


def test_few_cases_give_a_prediction_without_an_interval(examples: list[Example]) -> None:
    for count, known in ((18, False), (19, True)):
        quality = fit_quality(examples[:count], NAMES)
        assert quality is not None
        assert Quality.model_validate(quality.model_dump(mode="json")) == quality
        expected = assess(examples[0].measures, quality).structures["kidney_left"]
        assert expected.dice is not None
        figures = (expected.dice_low, expected.dice_high, expected.volume_low, expected.volume_high)
        assert [figure is not None for figure in figures] == [known] * 4


@pytest.mark.parametrize(("few", "expected"), [(0, 8), (3, 5), (30, 4)])
def test_flags_without_a_threshold_leave_less_to_others_but_never_nothing(few: int, expected: int) -> None:
    """Of 100 good answers 8 may carry a flag, in all; 4 are left to thresholds even where there are more."""
    odd = {f"{number:03d}": {("volume", "a"): float(number)} for number in range(100)}
    misplaced = {case: number < few for number, case in enumerate(odd)}
    good, parts = dict.fromkeys(odd, True), _left_out({case: case for case in odd})
    level = _choose_level(odd, misplaced, good, parts)
    assert sum(_raised_unseen(odd, good, parts, level)[case] for case in odd if not misplaced[case]) <= expected
    assert level > 0.01


@pytest.mark.parametrize("count", [12, 37, 90])
def test_the_level_is_the_largest_that_names_few_enough(count: int) -> None:
    random = np.random.default_rng(count)
    odd = {f"{number}": {(kind, "a"): float(random.exponential()) for kind in ("volume", "cut", "dice")}
           for number in range(count)}  # fmt: skip
    good, parts = dict.fromkeys(odd, True), _left_out({case: case for case in odd})
    share = {level: np.mean([*_raised_unseen(odd, good, parts, level).values()]) for level in _LEVELS}
    enough = [level for level in _LEVELS if share[level] <= FALSE_ALARMS]
    assert _choose_level(odd, dict.fromkeys(odd, False), good, parts) == (max(enough) if enough else min(_LEVELS))
    assert [*share.values()] == sorted(share.values(), reverse=True)


def test_a_patients_slices_do_not_vouch_for_each_other() -> None:
    """Of two patients with ten like slices each, each is odd to thresholds that were taken from the other alone."""
    odd = {f"{patient}{number}": {("volume", "a"): float(patient)} for patient in (1, 5) for number in range(10)}
    good = dict.fromkeys(odd, True)
    patients = {case: case[0] for case in odd}
    apart = _raised_unseen(odd, good, _left_out(patients), 0.02)
    assert {case for case, raised in apart.items() if raised} == {case for case in odd if case[0] == "5"}
    assert not any(_raised_unseen(odd, good, _left_out({case: case for case in odd}), 0.02).values())


@pytest.mark.parametrize("count", [1, 3, 10, 37])
def test_patients_are_left_out_whole_and_once(count: int) -> None:
    patients = {f"{patient}-{number}": str(patient) for patient in range(count) for number in range(3)}
    parts = _left_out(patients)
    assert len(parts) == min(count, 10)
    assert sorted(case for part in parts for case in part) == sorted(patients)
    assert all(len({patients[case] for case in part} & {patients[case] for case in other}) == 0
               for part in parts for other in parts if part is not other)  # fmt: skip


def test_deepest_channels_are_compared_with_other_patients(examples: list[Example]) -> None:
    """As many slices of each patient, alike: beside the patient's other slices none of them looks odd."""
    inside = [example for example in examples if "0" in example.measures.deep]
    doubled = [
        replace(example, case=f"{example.case} again" if again else example.case)
        for example in inside
        for again in (False, True)
    ]
    fitted = fit_reference(doubled, NAMES)
    apart = deep_oddness(doubled, fitted)
    together = deep_oddness([replace(example, patient=example.case) for example in doubled], fitted)
    assert all(apart[case] > together[case] for case in apart)
    assert apart.keys() == together.keys() == {example.case for example in doubled}


def test_evidence_counts_flags_that_have_no_threshold(examples: list[Example]) -> None:
    """Three answers lack a kidney, in three the sides are swapped: nothing else is odd about them."""
    for change in (
        lambda measures: changed(measures, "kidney_left", parts=0, volume=0.0, centre=None),
        lambda measures: replace(measures, shapes=dict(zip(NAMES, reversed(measures.shapes.values()), strict=True))),
    ):
        spoilt = [
            replace(example, measures=change(example.measures), dice={**example.dice, "kidney_left": 0.0})
            for example in examples[:3]
        ]
        fitted = fit_quality([*spoilt, *examples[3:]], NAMES)
        assert fitted is not None
        assert fitted.evidence.flagged_bad == 1


def test_distances_of_equal_figures_do_not_explode() -> None:
    distance = fit_distance([(1.0, float(value)) for value in range(20)], least_scale=0.05)
    assert distance is not None
    assert distance.of((1.0, 9.5)) < 0.1
    assert distance.of((1.01, 9.5)) < 0.3  # a fifth of the least difference that matters
    assert distance.of((2.0, 9.5)) > 5


def test_shapes_by_hand() -> None:
    labels = Labels(structures={"a": 1, "b": 2})
    stored = np.zeros((3, 5, 6), np.uint8)
    stored[1, 1:3, 1:3] = 1  # four voxels
    stored[1, 4, 4:6] = 1  # and two of another part, one of them at the edge
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    shapes = shapes_of(stored, affine, stored, labels, {"a": 6.0, "b": 0.0})
    assert (shapes["a"].parts, shapes["a"].largest_share) == (2, pytest.approx(4 / 6))
    # mean x is (1+2+1+2+4+5)/6 = 2.5, of y (1+1+2+2+4+4)/6 = 14/6, z is 1
    assert shapes["a"].centre == pytest.approx((5.0, 7.0, 4.0))
    # in the last row lie 2 voxels, in the widest one 2; so it is cut where it is widest
    assert shapes["a"].cut == pytest.approx(1.0)
    assert shapes["b"] == Shape(0.0, 0, 0.0, 0.0, None)


def test_tilt_by_hand() -> None:
    labels = Labels(structures={"a": 1})
    stored = np.zeros((2, 4, 4), np.uint8)
    stored[0, 0, 0] = stored[0, 1, 1] = stored[0, 2, 2] = stored[0, 3, 2] = 1
    # deviations of x are -5/4, -1/4, 3/4, 3/4 and of y -3/2, -1/2, 1/2, 3/2: 3.5 / sqrt(2.75 * 5)
    expected = 3.5 / np.sqrt(2.75 * 5)

    def tilt(array: np.ndarray, *scales: float) -> tuple[float, float] | None:
        return shapes_of(array, np.diag([*scales, 1.0]), array, labels, {"a": 4.0})["a"].tilt

    assert tilt(stored, 2.0, 3.0, 4.0) == pytest.approx((expected, 0.0))  # along z it has no width
    assert tilt(stored, -2.0, 3.0, 4.0) == pytest.approx((-expected, 0.0))  # x runs to the left
    assert tilt(stored[:, :, ::-1], -2.0, 3.0, 4.0) == pytest.approx((expected, 0.0))
    assert tilt(stored.transpose(1, 0, 2), 1.0, 1.0, 1.0) == pytest.approx((0.0, expected))
    assert tilt((stored * 0 + 1).astype(np.uint8), 1.0, 1.0, 1.0) == pytest.approx((0.0, 0.0))


def leaning(examples: list[Example], by: float, both_sides: bool = False) -> Quality:
    """What is fitted where all structures lean so, with a deviation of 0.1; of half of the cases the other way."""
    random, made = np.random.default_rng(0), []
    for number, example in enumerate(examples):
        side = -1 if both_sides and number % 2 else 1
        tilt = tuple(side * by + random.normal(0, 0.1, 2))
        shapes = {name: replace(shape, tilt=tilt) for name, shape in example.reference.items()}
        made.append(replace(example, reference=shapes, measures=replace(example.measures, shapes=shapes)))
    return fitted_quality(made)


def test_mirror_images_are_told_only_where_structures_lean(examples: list[Example], usual: CaseMeasures) -> None:
    quality = leaning(examples, 0.3)
    assert quality.thresholds["mirrored"] == dict.fromkeys(NAMES, 0.0)

    def flagged(tilt: tuple[float, float]) -> bool:
        return ("mirrored", NAMES[0]) in kinds(changed(usual, NAMES[0], tilt=tilt), quality)

    assert [flagged((value, value)) for value in (0.3, 0.1, -0.1, -0.3)] == [False, False, True, True]
    assert not flagged((0.9, 0.6))  # odd, and nothing like a mirror image
    assert leaning(examples, 0.0).reference.tilt == {}
    assert leaning(examples, 0.3, both_sides=True).reference.tilt == {}
    assert "mirrored" not in leaning(examples, 0.3, both_sides=True).thresholds


MANY = tuple(f"structure_{number}" for number in range(10))


def tilted(number: int, separation: float, random: np.random.Generator, mirrored: bool = False) -> Example:
    """A case whose ten structures lean by normal figures, so far from their mirror images in standard deviations."""
    lean = separation / 2 / np.sqrt(2) * 0.1 * np.sqrt(1.05)  # two figures; variances have a ridge of 0.05
    side = -1 if mirrored else 1
    shapes = {name: Shape(100.0, 1, 1.0, 0.0, None, tuple(side * (lean + random.normal(0, 0.1, 2)))) for name in MANY}
    return Example(f"case{number}", str(number % 3), f"patient{number}", CaseMeasures({}, shapes, (), {}), shapes, {})


@pytest.mark.parametrize("separation", [4.0, 5.0, 6.5])
def test_mirror_images_are_told_at_no_more_than_the_promised_false_alarms(
    separation: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the two are too near to be told: thresholds follow the good answers, and are not 0 by themselves."""
    monkeypatch.setattr(reference, "_LEAST_SEPARATION", 3.0)
    random = np.random.default_rng(1)
    quality = fit_quality([tilted(number, separation, random) for number in range(90)], MANY)
    assert quality is not None
    assert set(quality.reference.tilt) == {*MANY}
    for mirrored, low, high in ((False, 0.0, 0.1), (True, 0.95, 1.0)):
        cases = [tilted(number, separation, random, mirrored) for number in range(300)]
        assert low <= np.mean([bool(assess(case.measures, quality).flags) for case in cases]) <= high


@pytest.mark.parametrize(("separation", "has_flag"), [(5.0, False), (7.5, True)])
def test_structures_that_lean_little_have_no_flag_of_mirror_images(separation: float, has_flag: bool) -> None:
    random = np.random.default_rng(2)
    fitted = fit_reference([tilted(number, separation, random) for number in range(300)], MANY)
    assert set(fitted.tilt) == ({*MANY} if has_flag else set())
