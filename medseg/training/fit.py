"""The training loop, readable from top to bottom."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from copy import deepcopy

import torch

from medseg.networks.device import memory_errors
from medseg.preprocessing.cache import Sample
from medseg.progress import Callback, Progress
from medseg.training.batches import Batches
from medseg.training.checkpoint import save_checkpoint
from medseg.training.log import Log
from medseg.training.schedule import learning_rate
from medseg.training.trainer import Setup, Trainer, diverged

Validate = Callable[[torch.nn.Module], dict[str, float | None]]

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_SECONDS = 60.0
_LOG_EVERY = 10
_LESS_MEMORY = "Lower the batch_size or the patch_voxels of the configuration, or plan again with a smaller --memory."
_WARM_UP_STEPS = 3
_MOST_MEASURED = 1000


def fit(
    network: torch.nn.Module,
    samples: Sequence[Sample],
    setup: Setup,
    validate: Validate,
    callback: Callback,
    resume: bool = False,
) -> torch.nn.Module:
    """Train `network` for `setup.steps` steps and return the one to predict with.

    Args:
        validate: scores a network on whole volumes: {structure: mean Dice}. Called after every n-th step, so that with
            the score of the finished network, which is the caller's, there are `training.validations`.
        resume: go on from the last checkpoint in `setup.folder`.

    Raises:
        MedsegError: the loss is no longer a number.
    """
    training = setup.plan.training
    batches = Batches(samples, setup.configuration, training, setup.device)
    trainer = Trainer(network, setup)
    start = trainer.restore(setup.folder / CHECKPOINT) if resume else 0
    log = Log(setup.folder / "log.jsonl", keep_to_step=start)
    validate_every = -(-setup.steps // training.validations)
    began = saved = time.monotonic()
    recent: list[torch.Tensor] = []
    scores: dict[str, float | None] = {}
    try:
        with closing(batches.ahead(start, setup.steps)) as stream:
            for step, batch in stream:
                with memory_errors(_LESS_MEMORY):
                    recent.append(trainer.step(step, *batch))
                done = step + 1
                if done % _LOG_EVERY == 0 or done == setup.steps:
                    loss = _mean_loss(recent, done)
                    seconds = time.monotonic() - began
                    rate = learning_rate(step, setup.steps, training.learning_rate, training.schedule)
                    log.add("train", done, loss=loss, learning_rate=rate, seconds=seconds)
                    speed = (done - start) / seconds
                    callback(Progress("train", done, setup.steps, {"loss": loss, "steps_per_second": speed, **scores}))
                if done % validate_every == 0 and done < setup.steps:
                    scores = validate(trainer.best)
                    log.add("validation", done, dice=scores, seconds=time.monotonic() - began)
                if time.monotonic() - saved > CHECKPOINT_SECONDS or done == setup.steps:
                    trainer.check(done)
                    save_checkpoint(setup.folder / CHECKPOINT, trainer.state(done))
                    saved = time.monotonic()
    finally:
        log.close()
    return trainer.best


def seconds_per_step(network: torch.nn.Module, samples: Sequence[Sample], setup: Setup, seconds: float) -> float:
    """Measure the loop's speed for about `seconds` on a copy of the network, which is thrown away."""
    batches = Batches(samples, setup.configuration, setup.plan.training, setup.device)
    trainer = Trainer(deepcopy(network), setup)
    times = [time.monotonic()]
    with closing(batches.ahead(0, _MOST_MEASURED)) as stream:
        for _, batch in stream:
            trainer.step(0, *batch).item()
            times.append(time.monotonic())
            if times[-1] - times[0] > seconds and len(times) > _WARM_UP_STEPS + 4:
                break
    return (times[-1] - times[_WARM_UP_STEPS]) / (len(times) - 1 - _WARM_UP_STEPS)


def _mean_loss(recent: list[torch.Tensor], step: int) -> float:
    """Mean of the losses since the last call, which are forgotten."""
    mean = float(torch.stack(recent).mean())
    recent.clear()
    if mean != mean or mean in (float("inf"), float("-inf")):
        raise diverged(f"loss is {mean}", step)
    return mean
