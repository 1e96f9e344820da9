"""The learning rate, by hand."""

import pytest

from medseg.training.schedule import learning_rate


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 0.01), (100, 0.01 * 0.9**0.9), (500, 0.005358867), (900, 0.001258925), (999, 0.01 * 0.001**0.9)],
)
def test_poly(step: int, rate: float) -> None:
    assert learning_rate(step, 1000, 0.01, "poly") == pytest.approx(rate, rel=1e-6)


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.04),  # a 25th of the peak
        (50, 0.52),  # half way up: the mean of 0.04 and 1
        (100, 1.0),
        (550, 0.50005),  # half way down: the mean of 1 and 0.0001
        (999, 0.0001030),
    ],
)
def test_one_cycle(step: int, rate: float) -> None:
    assert learning_rate(step, 1000, 1.0, "one_cycle") == pytest.approx(rate, rel=1e-3)


@pytest.mark.parametrize("schedule", ["poly", "one_cycle"])
@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_every_step_has_a_positive_rate_up_to_the_peak(schedule: str, steps: int) -> None:
    rates = [learning_rate(step, steps, 0.3, schedule) for step in range(steps)]
    assert all(0 < rate <= 0.3 for rate in rates)
    peak = rates.index(max(rates))
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
