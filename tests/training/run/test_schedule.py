"""The learning rate and the legs of a run, by hand."""

import pytest

from medseg.training.run.schedule import Leg, extended, learning_rate, legs_from, progress, redirected, validation_due


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


@pytest.mark.parametrize("schedule", ["poly", "one_cycle"])
@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_every_step_has_a_positive_rate_up_to_the_peak(schedule: str, steps: int) -> None:
    rates = [learning_rate(progress((Leg(0, steps),), step), 0.3, schedule) for step in range(steps)]
    assert all(0 < rate <= 0.3 for rate in rates)
    peak = rates.index(max(rates))
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])


def test_progress_is_the_share_of_the_steps_that_are_done() -> None:
    assert [progress((Leg(0, 4),), step) for step in range(5)] == [0, 0.25, 0.5, 0.75, 1]


def test_progress_in_epochs_moves_on_at_their_beginnings() -> None:
    assert [progress((Leg(0, 8),), step, every=3) for step in range(8)] == [0, 0, 0, 0.375, 0.375, 0.375, 0.75, 0.75]


def test_a_shortened_run_comes_to_its_end_from_where_it_is() -> None:
    legs = redirected((Leg(0, 100),), 40, 60)
    assert legs == (Leg(0, 40, 0, 0.4), Leg(40, 60, 0.4, 1))
    assert [progress(legs, step) for step in (0, 20, 40, 50, 60)] == pytest.approx([0, 0.2, 0.4, 0.7, 1])
    again = redirected(legs, 50, 55)
    assert [progress(again, step) for step in (20, 40, 50, 55)] == pytest.approx([0.2, 0.4, 0.7, 1])
    assert redirected((Leg(0, 100),), 0, 20) == (Leg(0, 20, 0, 1),)


def test_an_extended_run_can_be_redirected_before_its_first_further_step() -> None:
    legs = redirected(extended((Leg(0, 10),), 20), 10, 15)
    assert legs == (Leg(0, 10), Leg(10, 15))
    assert redirected(legs, 10, 12) == (Leg(0, 10), Leg(10, 12))


def test_what_is_left_of_a_redirected_schedule_moves_on_with_every_step() -> None:
    legs = redirected((Leg(0, 1000),), 300, 320)
    assert [progress(legs, step, every=250) for step in (299, 300, 310)] == pytest.approx([0.25, 0.3, 0.65])


def test_an_extended_run_has_a_schedule_of_its_own_after_the_first() -> None:
    legs = extended((Leg(0, 10),), 20)
    assert [progress(legs, step) for step in (0, 5, 10, 15, 20, 30)] == pytest.approx([0, 0.5, 0, 0.25, 0.5, 1])
    both = redirected(legs, 20, 25)
    assert [progress(both, step) for step in (5, 10, 20, 25)] == pytest.approx([0.5, 0, 0.5, 1])


def test_legs_come_back_from_a_record() -> None:
    legs = redirected(extended((Leg(0, 10),), 20), 20, 25)
    assert legs_from([list(leg) for leg in legs]) == legs


def due(legs: tuple[Leg, ...], validations: int) -> list[int]:
    return [done for done in range(legs[-1].stop + 1) if validation_due(legs, done, validations)]


def test_validations_are_spread_over_the_schedule_and_the_last_is_that_of_the_finished_network() -> None:
    assert due((Leg(0, 100),), 4) == [25, 50, 75]
    assert due((Leg(0, 25),), 3) == [9, 17]
    assert due((Leg(0, 100),), 1) == []
    assert due((Leg(0, 3),), 20) == [1, 2]
    assert due(extended((Leg(0, 100),), 200), 4) == [25, 50, 75, 150, 200, 250]
    assert due(redirected((Leg(0, 100),), 40, 60), 4) == [25, 44, 52]
    assert due(redirected((Leg(0, 100),), 50, 60), 4) == [25, 50, 55]
