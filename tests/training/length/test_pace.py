"""How many steps fit into the time that is left: worked examples."""

from dataclasses import replace

import pytest

from medseg.training.length.pace import Pace, Stopwatch, steps_in_time

PACE = Pace(step_seconds=2.0, validation_seconds=5.0, until_seconds=100.0)


@pytest.mark.parametrize(("progress", "left"), [(0.0, 75), (0.3, 80), (0.5, 85), (0.75, 90), (1.0, 90)])
def test_of_four_validations_the_three_between_steps_take_time_of_these(progress: float, left: float) -> None:
    assert PACE.seconds_for_steps(progress, 4, used_seconds=10.0) == left


@pytest.mark.parametrize(
    ("left", "steps"),
    [
        (50, 100),  # as planned
        (49, 100),  # a second late, of 49: within what measuring may be wrong by
        (48.4, 97),  # 1.6 s late, of 48.4: 0.98 x 48.4 = 47 more
        (45, 94),  # 0.98 x 45 = 44 more
        (10, 70),  # at least 20 more, to come to the end of the schedule
        (-30, 70),
        (59, 100),  # nine seconds left over, of 100
        (80, 128),  # 0.98 x 80 = 78 more
    ],
)
def test_a_second_a_step_and_fifty_of_a_hundred_to_do(left: float, steps: int) -> None:
    assert steps_in_time(50, 100, 1.0, left, whole_seconds=100.0) == steps


@pytest.mark.parametrize(("done", "left"), [(95, -10), (100, 40), (100, -40)])
def test_the_last_steps_are_made_and_a_finished_run_stays_finished(done: int, left: float) -> None:
    assert steps_in_time(done, 100, 1.0, left, whole_seconds=100.0) == 100


def test_close_to_the_end_a_hundredth_of_the_whole_time_is_nothing() -> None:
    assert steps_in_time(70, 100, 1.0, 29.0, whole_seconds=100.0) == 100
    assert steps_in_time(70, 100, 1.0, 28.9, whole_seconds=100.0) == 98


def test_a_stopwatch_measures_steps_without_what_is_done_between_them() -> None:
    times = iter([0, 100, 119, 140, 165, 190, 240])
    watch = Stopwatch(clock=lambda: next(times))
    watch.restart(10)  # at 100 s
    assert watch.step_seconds(29, 100.0) is None, "19 steps are too few to tell"
    with watch.paused():  # from 140 s to 165 s
        pass
    assert watch.step_seconds(60, 100.0) == pytest.approx((190 - 100 - 25) / 50)
    assert watch.step_seconds(60, 7001.0) is None, "115 s are too short of 7001"


def test_what_was_used_before_the_measurement_is_no_part_of_the_time() -> None:
    pace = replace(PACE, since_seconds=60.0)
    assert pace.whole_seconds == 40
    assert pace.seconds_for_steps(1.0, 1, used_seconds=70.0) == 30
