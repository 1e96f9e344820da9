"""The time of validations, measured before a run with a budget, so that it leaves room for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import torch

from medseg.commands.train.live import LOSS_BATCHES
from medseg.commands.train.probe import DiceProbe
from medseg.core.errors import Cancelled
from medseg.core.progress import Callback, Progress, silent
from medseg.evaluation.label_files import Pair, score_pairs
from medseg.inference.predictor import Predictor
from medseg.inference.window_pass import STAGE
from medseg.io.load import load_case_image
from medseg.preprocessing.cache import Sample
from medseg.training.length.budget import ValidationSeconds

_SAVING_SECONDS = 3.0
"""For weights, record, page and manifest of a run."""
_LONG_SECONDS = 2.0
"""A call that takes longer is timed once; a shorter one may have taken most of its time to set itself up."""
_TILE_SECONDS, _FEWEST_STEADY = 4.0, 5
"""After so many seconds and reports of tiles it is known how long all tiles of a volume take."""
_TIMES_AS_LONG = 3.0
"""A call is stopped only if its tiles take this many times as long as those that are done."""


def validation_seconds(
    probe: DiceProbe, network: torch.nn.Module, predictor: Predictor, held_out: Sequence[Sample]
) -> ValidationSeconds:
    """Extrapolate the time of validations from one timed case each, by voxel count.

    Of a large volume a few seconds of tiles are timed, so that the budget is spent on training. Tiles of air, which
    take no time, are then counted like all others.

    The scores that are timed are those of a reference against itself: what an untrained network answers may be ragged,
    and take its surfaces many times longer.

    Args:
        probe: the probe that validates during training.
        network: to be trained.
        predictor: the predictor of the same network, for the final validation.
        held_out: validation cases; none for a fold that is trained on every case.

    Returns:
        Seconds of a validation during training, and of the final one.
    """
    first, *_ = probe.samples
    probed = sum(sample.label.numel() for sample in [*probe.samples, *probe.train_samples]) / first.label.numel()
    each = _seconds(lambda callback: probe.score(network, first, callback)) * probed
    if not held_out:
        return ValidationSeconds(each, 0.0)
    plan, case = predictor.model.plan, first.case
    image = load_case_image(case, len(plan.data.channels), plan.data.reading)
    assert case.label is not None  # it was trained or validated with
    itself = Pair(case, case.label, case.label, plan.data.reading, plan.data.reading)
    score_seconds = _seconds(lambda callback: score_pairs([itself], plan.labels, plan.scoring, callback))
    one = _seconds(lambda callback: predictor(image, callback), predictor.model.previous is None) + score_seconds
    volumes = sum(sample.label.numel() for sample in held_out) / first.label.numel()
    return ValidationSeconds(each, one * volumes + _SAVING_SECONDS, LOSS_BATCHES)


def _seconds(call: Callable[[Callback], object], one_stage: bool = True) -> float:
    """Return the time of a call; of a second one where the first is short.

    Args:
        call: given a callback. Where it reports tiles that would take long, it is stopped after a few seconds of them;
            what follows the last tile is then not counted.
        one_stage: whether the tiles that it reports are all that there are; those of a cascade are not.
    """
    for _ in range(2):
        tiles, start_time = _TimedTiles(), time.monotonic()
        try:
            call(tiles if one_stage else silent)
        except Cancelled:
            return tiles.times[0] - start_time + tiles.expected_seconds()
        spent = time.monotonic() - start_time
        if spent > _LONG_SECONDS:
            break
    return spent


class _TimedTiles:
    """A callback that stops a prediction once it is known how long its tiles take.

    Attributes:
        times: when each number of tiles was done, on the monotonic clock; at the beginning, none.
        done: these numbers.
        total: how many tiles there are.
    """

    def __init__(self) -> None:
        self.times: list[float] = []
        self.done: list[int] = []
        self.total = 0

    def __call__(self, event: Progress) -> None:
        if event.stage != STAGE or (self.done and event.done == self.done[-1]):
            return
        self.times.append(time.monotonic())
        self.done.append(event.done)
        self.total = event.total
        spent = self.times[-1] - self.times[0]
        if spent <= _TILE_SECONDS or len(self._steady()) < _FEWEST_STEADY:
            return
        if self.expected_seconds() > _TIMES_AS_LONG * spent:  # else what follows the tiles may weigh, too
            raise Cancelled

    def expected_seconds(self) -> float:
        """Return how long all tiles take if each takes as long as those that the network computed.

        Tiles of one value, as outside a patient, take no time, and often are the first. What a tile takes is therefore
        what it took in the middle of the time that was spent, which a single slow report does not change either.
        """
        by_rate = sorted((seconds / tiles, seconds) for tiles, seconds in self._steady())
        spent = [*accumulate(seconds for _, seconds in by_rate)]
        return self.total * next(
            rate for (rate, _), so_far in zip(by_rate, spent, strict=True) if so_far >= spent[-1] / 2
        )

    def _steady(self) -> list[tuple[int, float]]:
        """Return (tiles, seconds) from report to report, without the first ones, in which loops may be set up."""
        parts = zip(pairwise(self.done), pairwise(self.times), strict=True)
        return [(after - before, end - start) for (before, after), (start, end) in parts][1:]
