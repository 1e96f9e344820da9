"""The learning rate and the course of a run, by hand."""

import pytest

from medseg.models.record import Leg
from medseg.training.length.course import Course
from medseg.training.run.setup import learning_rate


@pytest.mark.parametrize(
    ("progress", "rate"),
    [(0, 0.01), (0.1, 0.01 * 0.9**0.9), (0.5, 0.005358867), (0.9, 0.001258925), (0.999, 0.01 * 0.001**0.9)],
)
def test_poly(progress: float, rate: float) -> None:
    assert learning_rate(progress, 0.01, "poly") == pytest.approx(rate, rel=1e-6)


@pytest.mark.parametrize(
    ("progress", "rate"),
    [
        (0, 0.04),  # a 25th of the peak
        (0.05, 0.52),  # half way up: the mean of 0.04 and 1
        (0.1, 1.0),
        (0.55, 0.50005),  # half way down: the mean of 1 and 0.0001
        (0.999, 0.0001030),
    ],
)
def test_one_cycle(progress: float, rate: float) -> None:
    assert learning_rate(progress, 1.0, "one_cycle") == pytest.approx(rate, rel=1e-3)


@pytest.mark.parametrize(("progress", "rate"), [(0, 0.2), (1 / 3, 0.15), (0.5, 0.1), (2 / 3, 0.05), (1, 0)])
def test_cosine(progress: float, rate: float) -> None:
    assert learning_rate(progress, 0.2, "cosine") == pytest.approx(rate, abs=1e-12)
    assert learning_rate(progress, 0.2, "constant") == 0.2


@pytest.mark.parametrize("schedule", ["poly", "cosine", "one_cycle", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_every_step_has_a_positive_rate_up_to_the_peak(schedule: str, steps: int) -> None:
    rates = [learning_rate(Course.over(steps).progress(step), 0.3, schedule) for step in range(steps)]
    assert all(0 < rate <= 0.3 for rate in rates)
    peak = rates.index(max(rates))
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])


def progress(course: Course, steps: range | tuple[int, ...], every: int = 1) -> list[float]:
    return [course.progress(step, every) for step in steps]


def test_progress_is_the_share_of_the_steps_that_are_done() -> None:
    assert progress(Course.over(4), range(5)) == [0, 0.25, 0.5, 0.75, 1]


def test_progress_in_epochs_moves_on_at_their_beginnings() -> None:
    assert progress(Course.over(8), range(8), every=3) == [0, 0, 0, 0.375, 0.375, 0.375, 0.75, 0.75]


def test_a_shortened_run_comes_to_its_end_from_where_it_is() -> None:
    course = Course.over(100).redirected(40, 60)
    assert course.legs == (Leg(0, 40, 0, 0.4), Leg(40, 60, 0.4, 1))
    assert progress(course, (0, 20, 40, 50, 60)) == pytest.approx([0, 0.2, 0.4, 0.7, 1])
    again = course.redirected(50, 55)
    assert progress(again, (20, 40, 50, 55)) == pytest.approx([0.2, 0.4, 0.7, 1])
    assert Course.over(100).redirected(0, 20).legs == (Leg(0, 20, 0, 1),)


def test_an_extended_run_can_be_redirected_before_its_first_further_step() -> None:
    course = Course.over(10).extended(20).redirected(10, 15)
    assert course.legs == (Leg(0, 10), Leg(10, 15))
    assert course.redirected(10, 12).legs == (Leg(0, 10), Leg(10, 12))


def test_what_is_left_of_a_redirected_schedule_moves_on_with_every_step() -> None:
    course = Course.over(1000).redirected(300, 320)
    assert progress(course, (299, 300, 310), every=250) == pytest.approx([0.25, 0.3, 0.65])


def test_an_extended_run_has_a_schedule_of_its_own_after_the_first() -> None:
    course = Course((Leg(0, 10),), ended_early=True).extended(20)
    assert not course.ended_early, "a new schedule may end early again"
    assert (course.steps, course.schedule_start) == (30, 10)
    assert progress(course, (0, 5, 10, 15, 20, 30)) == pytest.approx([0, 0.5, 0, 0.25, 0.5, 1])
    both = course.redirected(20, 25)
    assert progress(both, (5, 10, 20, 25)) == pytest.approx([0.5, 0, 0.5, 1])


def test_a_course_comes_back_from_a_record() -> None:
    course = Course.over(10).extended(20).redirected(20, 25)
    assert Course.recorded(25, course.legs, ended_early=False) == course
    assert Course.recorded(7, [], ended_early=True) == Course((Leg(0, 7),), ended_early=True)


def due(course: Course, validations: int) -> list[int]:
    return [done for done in range(course.steps + 1) if course.validation_due(done, validations)]


def test_validations_are_spread_over_the_schedule_and_the_last_is_that_of_the_finished_network() -> None:
    whole = Course.over(100)
    assert due(whole, 4) == [25, 50, 75]
    assert due(Course.over(25), 3) == [9, 17]
    assert due(whole, 1) == []
    assert due(Course.over(3), 20) == [1, 2]
    assert due(whole.extended(200), 4) == [25, 50, 75, 150, 200, 250]
    assert due(whole.redirected(40, 60), 4) == [25, 44, 52]
    assert due(whole.redirected(50, 60), 4) == [25, 50, 55]
