"""The training loop, readable from top to bottom."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from medseg.core.errors import Cancelled, MedsegError
from medseg.core.progress import Callback
from medseg.networks.device import first_line, is_out_of_memory, memory_errors
from medseg.preprocessing.cache import Sample
from medseg.training.data.batches import Batch, Batches
from medseg.training.run.checkpoint import CHECKPOINT
from medseg.training.run.interrupt import Interrupts
from medseg.training.run.loop import LOG_EVERY, Loop, Validate, less_memory
from medseg.training.run.setup import Setup
from medseg.training.run.steering import Pace
from medseg.training.step.trainer import Trainer

CHECKPOINT_SECONDS = 60.0
_WARM_UP_STEPS = 3
_MOST_MEASURED = 1000


def fit(
    network: torch.nn.Module,
    samples: Sequence[Sample],
    setup: Setup,
    validate: Validate,
    callback: Callback,
    resume: bool = False,
    began: float | None = None,
) -> torch.nn.Module:
    """Train `network` for `setup.steps` steps and return the one to predict with.

    Args:
        validate: scores a network on whole volumes: {structure: mean Dice}. Called evenly over the run, so that with
            the score of the finished network, which is the caller's, there are `training.validations`.
        resume: go on from the last checkpoint in `setup.folder`, if there is one.
        began: `time.monotonic()` when the run began, or would have without the time between its parts.

    Raises:
        MedsegError: the loss is no longer a number, memory or disk are full, a batch could not be made, or the run
            was interrupted. The last checkpoint is whole in any case.
    """
    loop = Loop(network, samples, setup, callback, time.monotonic() if began is None else began)
    loop.begin(resume)
    try:
        with Interrupts(setup.ranks.first) as interrupts, closing(_batches(loop)) as batches:
            if loop.validation_is_missing():
                loop.validate(validate)
            loop.end_early()
            for step, batch in batches:
                with interrupts.held():
                    loop.step(step, batch)
                if loop.done % LOG_EVERY == 0 or loop.done == loop.setup.steps:
                    loop.report()
                if loop.validation_due():
                    loop.validate(validate)
                    loop.end_early()
                loop.keep_to_time()
                if loop.checkpoints.due(CHECKPOINT_SECONDS) or loop.done == loop.setup.steps:
                    loop.save()
        loop.checkpoints.wait()
    except (KeyboardInterrupt, Exception) as error:
        loop.rescue(error)
        if isinstance(error, KeyboardInterrupt):
            raise _stopped(loop.done, loop.setup) from None
        raise
    finally:
        loop.close()
    return loop.trainer.best


def measured_pace(
    network: torch.nn.Module, samples: Sequence[Sample], setup: Setup, seconds: float, start: float = 0.0
) -> Pace:
    """What steps from progress `start` of a schedule on take, measured for about `seconds`.

    On a copy of the network, which is thrown away; with each patch that is still to come.
    """
    numbers = setup.ranks.numbers(setup.configuration.batch_size)
    own = setup.configuration, setup.plan.training, setup.device
    batches = Batches(samples, *own, numbers, setup.previous_values)
    trainer, training = Trainer(deepcopy(network), setup), setup.plan.training
    fraction, share = training.small_patch_fraction, training.small_patch_share
    small, full = (setup.configuration.small_patch_voxels(part) for part in (fraction, 1.0))
    if start >= share or small == full:
        only = _seconds_of(trainer, batches, full, seconds)
        return Pace(only, only, share)
    first, then = (_seconds_of(trainer, batches, patch, seconds / 2) for patch in (small, full))
    return Pace(first, then, share)


def _seconds_of(trainer: Trainer, batches: Batches, patch: list[int], seconds: float) -> float:
    """Time of a step with patches of one size; the same in every process."""
    setup = trainer.setup
    times = [time.monotonic()]
    with closing(batches.ahead(0, _MOST_MEASURED, lambda step: patch)) as stream, memory_errors(less_memory(setup)):
        for _, batch in stream:
            trainer.step(0, batch.image, batch.target, batch.annotated).item()
            times.append(time.monotonic())
            long_enough = times[-1] - times[0] > seconds and len(times) > _WARM_UP_STEPS + 4
            if setup.ranks.first_says(long_enough):
                break
    return setup.ranks.shared(lambda: (times[-1] - times[_WARM_UP_STEPS]) / (len(times) - 1 - _WARM_UP_STEPS))


def _batches(loop: Loop) -> Generator[tuple[int, Batch], None, None]:
    """The steps that are left of a run, and their batches; those made ahead are made anew if its course changes."""
    while loop.done < loop.setup.steps:
        setup = loop.setup
        made = loop.batches.ahead(loop.done, setup.steps, setup.patch_voxels)
        with closing(made) as stream:
            while loop.setup is setup and (one := _next(stream, setup)) is not None:
                yield one


def _next(stream: Generator[tuple[int, Batch], Any, None], setup: Setup) -> tuple[int, Batch] | None:
    """What `stream` has next; whatever goes wrong in making a batch ends the run with a message."""
    try:
        return next(stream, None)
    except MedsegError:
        raise
    except Exception as error:  # a file that vanished, a reader's own kind of error, memory
        if is_out_of_memory(error):
            raise MedsegError(f"There is not enough memory: {first_line(error)}", less_memory(setup)) from None
        raise MedsegError(
            f"A batch could not be made: {type(error).__name__}: {first_line(error)}",
            "Training goes on from its last checkpoint with `medseg train --resume`, which makes missing files of "
            "the cache anew.",
        ) from error


def _stopped(done: int, setup: Setup) -> MedsegError:
    path: Path = setup.folder / CHECKPOINT
    if done == 0:
        return Cancelled("Stopped before the first step.")
    left = f"; {setup.steps - done} of {setup.steps} steps are left" if done < setup.steps else ""
    return MedsegError(
        f"Stopped after step {done}{left}. The checkpoint is written: {path}",
        "Go on with `medseg train --resume`, and the same --plan, --fold and --config if you gave them.",
    )
