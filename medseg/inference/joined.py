"""Several configurations that answer one scan together: their probabilities are averaged on the grid of the scan.

Each configuration has a grid of its own, so that logits meet only on the scan's. All advance together, some planes at
a time: nothing is held of the whole scan but the answer, and for each configuration the planes that its tiles cover.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch

from medseg.core.labels import Labels
from medseg.core.progress import Callback, Progress
from medseg.inference.window_pass import STAGE
from medseg.preprocessing.restore import scan_blocks
from medseg.preprocessing.volume import Volume

if TYPE_CHECKING:
    from medseg.inference.observation import Observation
    from medseg.inference.predictor import Predictor

Blocks = Iterator[tuple[range, torch.Tensor]]
"""Consecutive planes on the scan's grid: their numbers, and values (maps, planes, y, x)."""


def joint_logits(
    predictors: Sequence[Predictor],
    volumes: Sequence[Volume],
    callback: Callback,
    observations: Sequence[Observation] = (),
) -> Blocks:
    """Return the logits of a scan on its own grid; of several configurations, those of their mean.

    Args:
        predictors: one for each configuration.
        volumes: the scan on the grid of each.
        callback: receives progress; may raise `Cancelled`.
        observations: one for each configuration, to see its answer being computed; or none.

    Raises:
        MedsegError: as `Predictor.logits`, once the blocks are asked for.
    """
    watching: Sequence[Observation | None] = observations or [None] * len(predictors)
    methods = [
        partial(predictor.logits, observation=watch) for predictor, watch in zip(predictors, watching, strict=True)
    ]
    blocks = _resampled_to_scan(methods, predictors, volumes, callback)
    return blocks[0] if len(blocks) == 1 else averaged_logits(blocks, predictors[0].model.plan.labels)


def joint_spread(predictors: Sequence[Predictor], volumes: Sequence[Volume], callback: Callback) -> Blocks:
    """Return mean and spread of the probabilities on the scan's grid, over the predictions of all configurations.

    Args:
        predictors: one for each configuration.
        volumes: the scan on the grid of each.
        callback: receives progress; may raise `Cancelled`.

    Raises:
        MedsegError: as `Predictor.uncertainty`, once the blocks are asked for.
    """
    methods = [partial(predictor.uncertainty, single=True) for predictor in predictors]
    blocks = _resampled_to_scan(methods, predictors, volumes, callback)
    return pooled_spread(blocks, len(predictors[0].model.plan.labels.names))


def _resampled_to_scan(
    methods: Sequence[Callable[[Volume, Callback], Iterator[torch.Tensor]]],
    predictors: Sequence[Predictor],
    volumes: Sequence[Volume],
    callback: Callback,
) -> list[Blocks]:
    """Resample each predictor's output to the grid of the scan."""
    reports = [callback] if len(predictors) == 1 else joint_progress(callback, STAGE, len(predictors))
    return [
        scan_blocks(method(volume, report), volume.geometry, predictor.configuration)
        for method, predictor, volume, report in zip(methods, predictors, volumes, reports, strict=True)
    ]


def averaged_logits(members: Sequence[Blocks], labels: Labels) -> Blocks:
    """Yield the logits whose probabilities are the mean of those of several members.

    Args:
        members: the logits of each.
        labels: say which probabilities logits have.
    """
    for planes, parts in aligned(members):
        mean = labels.all_probabilities(parts[0])
        for part in parts[1:]:
            mean += labels.all_probabilities(part).to(mean.device)
        yield planes, labels.logits_of(mean.div_(len(parts)))


def pooled_spread(members: Sequence[Blocks], structures: int) -> Blocks:
    """Yield mean and spread of the predictions of several members, each of which counts alike.

    The variance of a mixture is the mean of the variances plus the variance of the means.

    Args:
        members: (2 x structures, planes, y, x) of each, means first, as `Predictor.uncertainty` yields them.
        structures: how many there are.
    """
    for planes, parts in aligned(members):
        means = [part[:structures] for part in parts]
        mean = sum(means[1:], means[0]) / len(parts)
        variance = torch.zeros_like(mean)
        for part in parts:
            variance += (part[structures:] ** 2 + (part[:structures] - mean) ** 2) / len(parts)
        yield planes, torch.cat([mean, variance.sqrt_()])


def aligned(members: Sequence[Blocks]) -> Iterator[tuple[range, list[torch.Tensor]]]:
    """Yield the same planes of all members at a time, whatever blocks each comes in.

    Args:
        members: each yields the planes from 0 on, in order and without gaps, and all yield the same number.
    """
    held: list[torch.Tensor | None] = [None] * len(members)
    start = 0
    while True:
        for number, member in enumerate(members):
            if held[number] is None:
                held[number] = next(member, (range(0), None))[1]
        blocks = [block for block in held if block is not None]
        if len(blocks) < len(members):
            if blocks:
                raise ValueError("one configuration has more planes than another")
            return
        size = min(block.shape[1] for block in blocks)
        yield range(start, start + size), [block[:, :size] for block in blocks]
        held = [block[:, size:] if block.shape[1] > size else None for block in blocks]
        del blocks
        start += size


def joint_progress(callback: Callback, stage: str, count: int) -> list[Callback]:
    """Return a callback for each of several members that work at one scan, which report its share together.

    Args:
        callback: receives the share that is done of all, in thousandths.
        stage: name of the stage.
        count: number of members.
    """
    shares = [0.0] * count

    def of_member(number: int) -> Callable[[Progress], None]:
        def report(event: Progress) -> None:
            if event.stage == stage:
                shares[number] = event.done / max(event.total, 1)
            callback(Progress(stage, int(1000 * sum(shares) / count), 1000, event.info))

        return report

    return [of_member(number) for number in range(count)]
