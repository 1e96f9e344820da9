"""When a run should end at another step: worked examples."""

import pytest

from medseg.training.steering import Pace, Stopwatch, early_end, steps_in_time

PACE = Pace(small_seconds=1.0, full_seconds=2.0, small_share=0.5, validation_seconds=5.0, until_seconds=100.0)


@pytest.mark.parametrize(("progress", "now", "rest"), [(0.0, 1, 1.5), (0.25, 1, 5 / 3), (0.5, 2, 2), (0.9, 2, 2)])
def test_small_patches_come_first(progress: float, now: float, rest: float) -> None:
    assert PACE.of_step(progress) == now
    assert PACE.of_rest(progress) == pytest.approx(rest)


@pytest.mark.parametrize(("progress", "left"), [(0.0, 75), (0.3, 80), (0.5, 85), (0.75, 90), (1.0, 90)])
def test_of_four_validations_the_three_between_steps_take_time_of_these(progress: float, left: float) -> None:
    assert PACE.left(progress, 4, used_seconds=10.0) == left


@pytest.mark.parametrize(
    ("left", "steps"),
    [
        (50, 100),  # as planned
        (49, 100),  # a second late, of 49: within what measuring may be wrong by
        (45, 94),  # 0.98 x 45 = 44 more
        (10, 70),  # at least 20 more, to come to the end of the schedule
        (-30, 70),
        (59, 100),  # nine seconds left over, of 100
        (80, 128),  # 0.98 x 80 = 78 more
    ],
)
def test_a_second_a_step_and_fifty_of_a_hundred_to_do(left: float, steps: int) -> None:
    assert steps_in_time(50, 100, 1.0, left, until_seconds=100.0) == steps


@pytest.mark.parametrize(("done", "left"), [(95, -10), (100, 40), (100, -40)])
def test_the_last_steps_are_made_and_a_finished_run_stays_finished(done: int, left: float) -> None:
    assert steps_in_time(done, 100, 1.0, left, until_seconds=100.0) == 100


@pytest.mark.parametrize(
    ("scores", "patience", "end"),
    [
        ([0.5, 0.6, 0.6, 0.6], 2, 500),  # 400 steps done, a quarter more
        ([0.5, 0.6, 0.55, 0.6009], 2, 500),  # by less than 0.001 is not better
        ([0.5, 0.6, 0.55, 0.61], 2, 1000),
        ([0.6, 0.6], 2, 1000),  # nothing to compare with
        ([0.6, 0.5, 0.5, 0.5, 0.5], 0, 1000),
        ([], 2, 1000),
    ],
)
def test_scores_that_stand_still(scores: list[float], patience: int, end: int) -> None:
    assert early_end(scores, patience, done=400, steps=1000) == end


def test_an_early_end_is_never_a_later_one_and_counts_from_the_schedules_start() -> None:
    assert early_end([0.6, 0.6], 1, done=990, steps=1000) == 1000
    assert early_end([0.6, 0.6], 1, done=600, steps=1000, start=200) == 700
    assert early_end([0.6, 0.6], 1, done=8, steps=1000) == 28


def test_a_stopwatch_says_nothing_before_it_has_seen_enough() -> None:
    watch = Stopwatch()
    assert watch.slowdown(19, PACE, 0.0) is None
    assert watch.slowdown(1000, PACE, 0.0) is None, "in too short a time to tell"
