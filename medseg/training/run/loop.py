"""What the training loop does beside making steps: log, show, validate, and keep the state; and what it remembers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from medseg.core.errors import MedsegError
from medseg.core.progress import Callback, Progress, silent
from medseg.core.wording import counted
from medseg.networks.device import memory_errors
from medseg.preprocessing.cache import Sample
from medseg.training.data.batches import Batch, Batches
from medseg.training.run.checkpoint import CHECKPOINT, Checkpoints, load_checkpoint
from medseg.training.run.divergence import Diverged, culprits, describe, diverged, is_absurd, worst_step
from medseg.training.run.log import LOG, Log
from medseg.training.run.schedule import progress, schedule_start, validation_due
from medseg.training.run.setup import Redirection, Setup
from medseg.training.run.steering import Stopwatch, early_end, steps_in_time
from medseg.training.step.trainer import Trainer

LOG_EVERY = 10
_OWN_STATE = ("scores", "best_dice", "first_loss")

Validate = Callable[[torch.nn.Module], dict[str, float | None]]


class Loop:
    """What the loop does beside making steps, and what it has to remember for that."""

    def __init__(
        self, network: torch.nn.Module, samples: Sequence[Sample], setup: Setup, callback: Callback, began: float
    ) -> None:
        self.setup = setup
        self.callback = callback if setup.ranks.first else silent
        self.began = began
        self.trainer = Trainer(network, setup)
        numbers = setup.ranks.numbers(setup.configuration.batch_size)
        own = setup.configuration, setup.plan.training, setup.device
        self.batches = Batches(samples, *own, numbers, setup.previous_values)
        self.checkpoints = Checkpoints(setup.folder / CHECKPOINT)
        self.start = self.done = 0
        self.whole = True
        self.recent: list[torch.Tensor] = []
        self.scores: dict[str, float | None] = {}
        self.best_dice: float | None = None
        self.first_loss: float | None = None
        self.stopwatch = Stopwatch()
        self.dice: list[float] = []

    def begin(self, resume: bool) -> None:
        """From the last checkpoint, or from nothing."""
        if resume and self.checkpoints.path.exists():
            state = load_checkpoint(self.checkpoints.path)
            self.start = self.done = self.trainer.restore(state)
            self.scores, self.best_dice, self.first_loss = (state[key] for key in _OWN_STATE)
        else:
            torch.manual_seed(self.setup.plan.training.seed)
        keep = self.start if resume else None
        self.log = Log(self.setup.folder / LOG, keep_to_step=keep, writes=self.setup.ranks.first)
        self.looped = time.monotonic()
        since = schedule_start(self.setup.course)
        shown = [one["dice"] for one in self.log.kept if one["kind"] == "validation" and one["step"] > since]
        self.dice = [dice for one in shown if (dice := mean_dice(one)) is not None]
        self.stopwatch.restart(self.done)
        self.callback(Progress("train", self.done, self.setup.steps, dict(self.scores)))

    @property
    def used_seconds(self) -> float:
        """Wall-clock time of the run."""
        return time.monotonic() - self.began

    def step(self, step: int, batch: Batch) -> None:
        """Train on a batch; until it is done, the state is no whole one."""
        self.whole = False
        with memory_errors(less_memory(self.setup)):
            self.recent.append(self.trainer.step(step, batch.image, batch.target, batch.annotated))
        self.done, self.whole = step + 1, True

    def report(self) -> None:
        """Ask the device for the losses since the last time, and log and show their mean."""
        losses = torch.stack(self.recent).tolist()
        self.recent.clear()
        loss = sum(losses) / len(losses)
        if self.first_loss is None:
            self.first_loss = losses[0]
        if is_absurd(loss, self.first_loss):
            raise self._diverged(losses)
        rate = self.setup.learning_rate(self.done - 1)
        self.log.add("train", self.done, loss=loss, learning_rate=rate, seconds=self.used_seconds)
        speed = (self.done - self.start) / (time.monotonic() - self.looped)
        figures = {"loss": loss, "steps_per_second": speed, **self.scores}
        note = {} if self.trainer.note is None else {"note": self.trainer.note}
        self.callback(Progress("train", self.done, self.setup.steps, figures | note))

    def validation_is_missing(self) -> bool:
        """Whether the run was interrupted in the validation that follows its last step."""
        there = any(one["kind"] == "validation" and one["step"] == self.done for one in self.log.kept)
        return self.validation_due() and not there  # all processes ask, as they wait for each other

    def validation_due(self) -> bool:
        """Whether to validate after this step; not where a time budget has no time left for it."""
        setup = self.setup
        if not validation_due(setup.course, self.done, setup.plan.training.validations):
            return False
        in_time = setup.pace is None or self.used_seconds < setup.pace.until_seconds
        return setup.ranks.first_says(in_time)

    def validate(self, validate: Validate) -> None:
        """Score whole volumes, and keep the state that was scored."""
        with self.stopwatch.stopped():
            self.scores = self.setup.ranks.shared(lambda: validate(self.trainer.best))
            dice = mean_dice(self.scores)
            if dice is not None:
                self.dice.append(dice)
                self.best_dice = max(dice, self.best_dice or 0.0)
            self.log.add("validation", self.done, dice=self.scores, seconds=self.used_seconds)
            self.save()

    def keep_to_time(self) -> None:
        """With a time budget: end sooner where steps take longer than was measured, later where they are quicker."""
        setup, pace = self.setup, self.setup.pace
        if pace is None or self.done >= setup.steps or self.done % LOG_EVERY != 0:
            return
        before, now = (progress(setup.course, self.done - back) for back in (LOG_EVERY, 0))
        if pace.of_step(before) != pace.of_step(now):
            self.stopwatch.restart(self.done)
        slowdown = self.stopwatch.slowdown(self.done, pace, now)
        left = pace.left(now, setup.plan.training.validations, self.used_seconds)
        steps = setup.steps
        if slowdown is not None:
            steps = steps_in_time(self.done, steps, slowdown * pace.of_rest(now), left, pace.whole_seconds)
        steps = setup.ranks.first_says(min(steps, setup.steps) if setup.ended_early else steps)
        self._end_at(steps, "to keep to the budget")

    def end_early(self) -> None:
        """Where validations no longer get better, come to the end of the schedule quickly."""
        setup, patience = self.setup, self.setup.plan.training.patience
        if setup.ended_early:
            return
        start = schedule_start(setup.course)
        steps = setup.ranks.first_says(early_end(self.dice, patience, self.done, setup.steps, start))
        if steps < setup.steps:
            self.setup = replace(setup, ended_early=True)
            self._end_at(steps, f"no better Dice in {counted(patience, 'validation')}")

    def _end_at(self, steps: int, why: str) -> None:
        """Change the course, if another end is asked for; behind a checkpoint, so that it can be resumed."""
        change = Redirection(self.done, self.setup.steps, steps, why)
        if change.new == change.old:
            return
        self.save()
        self.checkpoints.wait()
        self.setup = self.trainer.setup = self.setup.redirected(self.done, steps)
        if self.setup.ranks.first:
            self.setup.announce(self.setup, change)
        self.callback(Progress("train", self.done, steps, {"note": str(change)}))
        self.stopwatch.restart(self.done)

    def save(self) -> None:
        """Write a checkpoint, behind the training; the state is the same in every process, and one of them writes."""
        if not self.setup.ranks.first:
            return
        if not self.trainer.finite():
            raise diverged("weights are no longer numbers", self.done, self._kept())
        state = {
            **self.trainer.state(self.done),
            "seconds": self.used_seconds,
            **dict(zip(_OWN_STATE, (self.scores, self.best_dice, self.first_loss), strict=True)),
        }
        self.checkpoints.write(state)

    def rescue(self, error: BaseException) -> None:
        """Keep the last step where the state is whole; what ends the run is said by `error` in any case."""
        if not self.whole or isinstance(error, Diverged) or self.done == 0:
            return
        try:
            self.save()
            self.checkpoints.wait()
        except MedsegError:  # the disk is full: the checkpoint before is still there
            pass

    def close(self) -> None:
        """End the thread that writes checkpoints, and close the log."""
        self.checkpoints.close()
        self.log.close()

    def _diverged(self, losses: Sequence[float]) -> Diverged:
        """What to say of losses of the last steps of which one is no number."""
        worst = worst_step(losses)
        step = self.done - len(losses) + worst
        batches = self.batches
        own = batches.configuration, batches.training, batches.device
        whole = Batches(batches.samples, *own, previous_values=batches.previous_values)  # the parts of all processes
        batch = whole.make(step, self.setup.patch_voxels(step))
        found = culprits(batch, self.trainer.losses_one_by_one(batch))
        return diverged(f"loss is {losses[worst]:.4g}", step + 1, self._kept(), describe(batch, found))

    def _kept(self) -> str:
        """Which checkpoint there is."""
        self.checkpoints.wait()
        path = self.checkpoints.path
        if not path.exists():
            return "There is no checkpoint yet."
        return f"The last good checkpoint, of step {load_checkpoint(path, peek=True)['step']}, is kept: {path}"


def mean_dice(scores: Mapping[str, float | None]) -> float | None:
    """Over the structures that have a score; None if none has."""
    known = [dice for dice in scores.values() if dice is not None]
    return sum(known) / len(known) if known else None


def less_memory(setup: Setup) -> str:
    """What to lower where memory runs out, by key and present value."""
    one = setup.configuration
    key = f"configurations.{setup.folder.parent.name}"
    return (
        f"Lower {key}.batch_size (now {one.batch_size}) or {key}.patch_voxels (now {one.patch_voxels}), which "
        f"`--resume --set KEY=VALUE` can too; or, for a new run, {key}.network.features (now {one.network.features}). "
        "`medseg plan ... --memory 8GB --force` plans for less memory."
    )
