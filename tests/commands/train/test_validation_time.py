"""How long validations take is known before they are done: small volumes are timed whole, large ones by a few tiles."""

import pytest

from medseg.commands.train import validation_time
from medseg.core.progress import Callback, Progress


class Clock:
    """A clock that a made-up prediction sets on."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(validation_time, "time", clock)
    return clock


class Prediction:
    """Some seconds of reading, then tiles in batches of (tiles, seconds), of `total`."""

    def __init__(self, clock: Clock, total: int, batches: list[tuple[int, float]], reading: float = 2.0) -> None:
        self.clock, self.total, self.batches, self.reading = clock, total, batches, reading
        self.finished = 0

    def __call__(self, callback: Callback) -> None:
        self.clock.now += self.reading
        done = 0
        callback(Progress("tiles", done, self.total))
        for tiles, seconds in self.batches:
            for part in range(2):  # mirrored copies, which make no whole tile each
                self.clock.now += seconds / 2
                callback(Progress("tiles", done + tiles * part, self.total))
            done += tiles
        self.finished += 1


def test_a_large_volume_is_timed_by_its_first_tiles(clock: Clock) -> None:
    """Loops are set up in the first batch, the next are of air: neither says how long a tile takes, which is 0.5 s."""
    prediction = Prediction(clock, 400, [(2, 6.0), (20, 0.1), *[(2, 1.0)] * 189])
    assert validation_time._seconds(prediction) == pytest.approx(2 + 400 * 0.5)
    assert not prediction.finished
    assert clock.now < 115


def test_one_slow_report_does_not_decide(clock: Clock) -> None:
    prediction = Prediction(clock, 400, [(2, 1.0), (2, 1.0), (2, 2.6), *[(2, 1.0)] * 197])
    assert validation_time._seconds(prediction) == pytest.approx(2 + 400 * 0.5)


def test_what_is_nearly_done_is_timed_to_its_end(clock: Clock) -> None:
    prediction = Prediction(clock, 20, [(2, 1.0)] * 10)
    assert validation_time._seconds(prediction) == pytest.approx(12.0)
    assert prediction.finished == 1


def test_a_small_volume_is_timed_whole_and_twice(clock: Clock) -> None:
    """The second time, as the first one may have set loops up; but once where that took long."""
    short = Prediction(clock, 8, [(4, 0.4), (4, 0.4)], reading=0.5)
    assert validation_time._seconds(short) == pytest.approx(1.3)
    assert short.finished == 2
    longer = Prediction(clock, 8, [(4, 1.5), (4, 1.5)])
    assert validation_time._seconds(longer) == pytest.approx(5.0)
    assert longer.finished == 1


def test_the_first_stage_of_a_cascade_does_not_stand_for_both(clock: Clock) -> None:
    prediction = Prediction(clock, 400, [(2, 1.0)] * 200)
    assert validation_time._seconds(prediction, one_stage=False) == pytest.approx(202.0)
    assert prediction.finished == 1
