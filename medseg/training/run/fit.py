"""The training loop: `fit` reads from top to bottom, and `Loop` has what it does around each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace

import torch

from medseg.core.errors import MedsegError, Stopped
from medseg.core.progress import Callback, Progress, silent
from medseg.core.wording import counted
from medseg.networks.device import choosing_algorithms, first_line, is_out_of_memory, memory_errors
from medseg.preprocessing.cache import Sample
from medseg.training.data.batches import Batch
from medseg.training.data.sample_placement import PlacedSamples
from medseg.training.length.steering import Steering, describe_steps_change, mean_dice, steps_change
from medseg.training.run.checkpoint import Checkpoints, load_checkpoint
from medseg.training.run.divergence import Diverged, describe, diverged, is_absurd, retries, worst_step
from medseg.training.run.interrupt import Interrupts
from medseg.training.run.log import Log
from medseg.training.run.setup import Setup
from medseg.training.step.trainer import Trainer

CHECKPOINT_SECONDS = 60.0
LOG_EVERY = 10
"""Steps between two looks at the loss and the clock: each look waits for the device."""
_MOST_SKIPPED = 30
"""Steps in a row that change nothing before a run is ended; the scale of fp16 takes up to 16 to settle (2^16 to 1)."""

Validate = Callable[[torch.nn.Module], dict[str, float | None]]


def fit(
    network: torch.nn.Module,
    samples: Sequence[Sample],
    setup: Setup,
    validate: Validate,
    callback: Callback,
    resume: bool = False,
    start_time: float | None = None,
) -> torch.nn.Module:
    """Train a network to the end of its course and return the network to predict with.

    Args:
        network: with its first weights; a resumed run replaces them.
        samples: training cases.
        setup: plan, course, device and files of the run.
        validate: scores a network on whole volumes: {structure: mean Dice}. It is called evenly over the run, so that
            with the score of the finished network, which is the caller's, there are `training.validations`.
        callback: receives progress and notes.
        resume: go on from the last checkpoint in `setup.files`, if there is one.
        start_time: virtual start time of the run: time on the clock of the setup now minus the time trained in earlier
            sessions; None for a run that starts now.

    Raises:
        MedsegError: the loss is no longer a number, memory or disk are full, a batch could not be made, or the run
            was interrupted. The last checkpoint is whole in any case.
    """
    with memory_errors(setup.less_memory):
        loop = Loop(network, samples, setup, validate, callback, setup.clock() if start_time is None else start_time)
        loop.begin(resume)
    try:
        with (
            choosing_algorithms(setup.device),
            Interrupts(setup.ranks.first) as interrupts,
            closing(loop.batches.ahead(loop.done)) as batches,
        ):
            if resume:
                loop.catch_up()
            while not loop.finished:
                batch = loop.next_batch(batches)
                with interrupts.held():
                    loop.step(batch)
                if loop.done % LOG_EVERY == 0 or loop.finished:
                    loop.report()
                if loop.validation_due():
                    loop.validate()
                    loop.end_without_gain()
                loop.end_in_time()
                if loop.checkpoints.due(CHECKPOINT_SECONDS) or loop.finished:
                    loop.save()
        loop.checkpoints.wait()
    except KeyboardInterrupt as error:
        loop.rescue(error)
        raise loop.stopped() from None
    except Exception as error:
        loop.rescue(error)
        raise
    finally:
        loop.close()
    return loop.trainer.best


class Loop:
    """The work of the loop around each step, with the state that it needs for that.

    Args:
        network: to be trained.
        samples: training cases.
        setup: plan, course, device and files of the run.
        validate: scores a network on whole volumes.
        callback: receives progress and notes, from the first process.
        start_time: virtual start time of the run.

    Attributes:
        setup: the only copy; its course may change from step to step.
        done: steps that are done.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        samples: Sequence[Sample],
        setup: Setup,
        validate: Validate,
        callback: Callback,
        start_time: float,
    ) -> None:
        self.setup = setup
        self.samples = samples
        self.score = validate
        self.callback = callback if setup.ranks.first else silent
        self.memory_advice = setup.less_memory
        self.start_time = start_time
        self.trainer = Trainer(network, setup)
        self.batches = setup.batches(samples)
        self.checkpoints = Checkpoints(setup.files.checkpoint)
        self.first_step = self.done = 0
        self.losses: list[torch.Tensor] = []  # since the last report; still on the device
        self.scores: dict[str, float | None] = {}
        self.best_dice: float | None = None
        self.first_loss: float | None = None
        self._skipped = self._skipped_in_a_row = 0
        self._consistent = True

    def begin(self, resume: bool) -> None:
        """Start from the last checkpoint, or from the first step."""
        if resume and self.checkpoints.path.exists():
            state = load_checkpoint(self.checkpoints.path)
            self.first_step = self.done = self.trainer.restore(self.setup, state)
            self.scores, self.best_dice, self.first_loss = (state[key] for key in ("scores", "best_dice", "first_loss"))
            # these two are not there in checkpoints of earlier versions
            self.losses = [loss.to(self.setup.device) for loss in state.get("losses", [])]
            skipped, self._skipped, self._skipped_in_a_row = state.get("skipped", (0, 0, 0))
            self.trainer.skipped.fill_(skipped)
        else:
            torch.manual_seed(self.setup.plan.training.seed)
        ranks, course = self.setup.ranks, self.setup.course
        self.log = Log(self.setup.files.log, keep_to_step=self.done if resume else None, writes=ranks.first)
        if ranks.first:
            self.setup.listener.begin(self.done, self.log.kept)
        self.loop_time = self.setup.clock()
        validations = {record["step"]: record["dice"] for record in self.log.kept if record["kind"] == "validation"}
        scores = [mean_dice(scores) for step, scores in validations.items() if step > course.schedule_start]
        dice = [dice for dice in scores if dice is not None]
        self.steering = Steering(ranks, self.setup.plan.training, dice, self.setup.clock)
        self.steering.stopwatch.restart(self.done)
        self._validated = self.done in validations
        self.callback(Progress("train", self.done, course.steps, dict(self.scores)))

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.done >= self.setup.course.steps

    @property
    def used_seconds(self) -> float:
        """Wall-clock time of the run, that of earlier sessions included."""
        return self.setup.clock() - self.start_time

    def next_batch(self, batches: Iterator[Batch]) -> Batch:
        """Return the next batch; whatever goes wrong in making it ends the run with a message.

        Args:
            batches: the batches of the steps to come.

        Raises:
            MedsegError: the batch could not be made.
        """
        try:
            return next(batches)
        except MedsegError:
            raise
        except Exception as error:  # a file that vanished, an error type of a reader's own, memory
            if is_out_of_memory(error):
                raise MedsegError(f"There is not enough memory: {first_line(error)}", self.memory_advice) from None
            raise MedsegError(
                f"A batch could not be made: {type(error).__name__}: {first_line(error)}",
                f"`{self.setup.files.resume_command}` continues from the last checkpoint, and makes missing files of "
                "the cache again.",
            ) from error

    def step(self, batch: Batch) -> None:
        """Train on a batch. The state is inconsistent until this returns."""
        self._consistent = False
        with memory_errors(self.memory_advice):
            self.losses.append(self._loss_of(batch))
        self.done += 1
        self._consistent = True

    def _loss_of(self, batch: Batch) -> torch.Tensor:
        """Make a step; once more where memory ran out and training cases can be taken off the device.

        Not where several processes train together: the others wait for this one in the middle of the step.
        """
        try:
            return self.trainer.step(self.setup, self.done, batch)
        except RuntimeError as error:
            reason = first_line(error)
            again = is_out_of_memory(error) and self.trainer.unchanged and self.setup.ranks.size == 1
            if not again or not self.batches.make_room(reason):
                raise
        # outside of the handler: the traceback there keeps the memory of the failed attempt
        return self.trainer.step(self.setup, self.done, batch)

    def report(self) -> None:
        """Ask the device for the losses since the last report, and log and show their mean.

        Raises:
            Diverged: a loss is not a number, or absurdly large, or no step changes anything.
        """
        losses = self._checked_losses()
        self.losses.clear()
        loss = sum(losses) / len(losses)
        skipped = self._count_skipped(len(losses))
        rate = self.setup.learning_rate(self.done - 1)
        more = {"skipped": skipped} if skipped else {}
        self.log.add("train", self.done, loss=loss, learning_rate=rate, seconds=self.used_seconds, **more)
        if self.setup.ranks.first:
            self.setup.listener.trained(self.done, {"loss": loss, "learning_rate": rate, **more})
        speed = (self.done - self.first_step) / max(self.setup.clock() - self.loop_time, 1e-9)
        figures = {"loss": loss, "steps_per_second": speed, **self.scores}
        notes = (self.trainer.note, self.samples.note if isinstance(self.samples, PlacedSamples) else None)
        note = {"note": "; ".join(text for text in notes if text)} if any(notes) else {}
        if self._skipped and (self._skipped == skipped or self.finished):  # said at the first time and at the end
            note["note"] = f"{self._skipped} of {self.done} steps changed nothing, as a gradient was NaN or infinite"
        self.callback(Progress("train", self.done, self.setup.course.steps, figures | note))

    def _checked_losses(self) -> list[float]:
        """Return the losses since the last report; the device is waited for.

        Raises:
            Diverged: one is not a number, or their mean is absurdly large.
        """
        losses: list[float] = torch.stack(self.losses).tolist()
        if self.first_loss is None:
            self.first_loss = losses[0]
        if is_absurd(sum(losses) / len(losses), self.first_loss):
            raise self._absurd_loss(losses)
        return losses

    def _count_skipped(self, steps: int) -> int:
        """Return how many of the last steps changed nothing, as a gradient was not finite.

        Args:
            steps: since the last report.

        Raises:
            Diverged: none has changed anything for long, or in the whole run.
        """
        skipped = int(self.trainer.skipped) - self._skipped
        self._skipped += skipped
        self._skipped_in_a_row = self._skipped_in_a_row + skipped if skipped == steps else 0
        in_vain = self.finished and self._skipped >= self.done
        if self._skipped_in_a_row >= _MOST_SKIPPED or in_vain:
            steps = self.done if in_vain else self._skipped_in_a_row
            what = f"gradient is NaN or infinite in each of the last {steps} steps, which changed nothing"
            raise self._diverged(what, self.done)
        return skipped

    def catch_up(self) -> None:
        """Do what followed the last step of the run and may have been interrupted: a validation, an early end."""
        if self.validation_due() and not self._validated:  # in this order: all processes have to ask the first one
            self.validate()
        self.end_without_gain()

    def validation_due(self) -> bool:
        """Return whether to validate after this step: as planned, unless a budget has no time left for it."""
        setup, pace = self.setup, self.setup.course.pace
        if not setup.course.validation_due(self.done, setup.plan.training.validations):
            return False
        return setup.ranks.first_says(pace is None or self.used_seconds < pace.until_seconds)

    def validate(self) -> None:
        """Score whole volumes, and keep the state that was scored."""
        with self.steering.stopwatch.paused(), memory_errors(self.memory_advice):
            self.scores = self.setup.ranks.shared(lambda: self.score(self.trainer.best))
            dice = mean_dice(self.scores)
            if dice is not None:
                self.steering.dice.append(dice)
                self.best_dice = max(dice, self.best_dice or 0.0)
            first, listener = self.setup.ranks.first, self.setup.listener
            more = listener.validated(self.done, self.scores, self.trainer.validation_loss) if first else {}
            self.log.add("validation", self.done, dice=self.scores, seconds=self.used_seconds, **more)
            figures = {**self.scores, "validation": {"dice": self.scores, **more}}
            self.callback(Progress("train", self.done, self.setup.course.steps, figures))
            self.save()

    def end_in_time(self) -> None:
        """With a time budget: end sooner where steps take longer than was measured, later where they are quicker."""
        if self.done % LOG_EVERY == 0:
            steps = self.steering.end_in_time(self.setup.course, self.done, self.used_seconds)
            self._redirect(steps, "to keep to the budget")

    def end_without_gain(self) -> None:
        """Where validations no longer get better, come to the end of the schedule quickly."""
        steps = self.steering.end_without_gain(self.setup.course, self.done)
        patience = counted(self.setup.plan.training.patience, "validation")
        self._redirect(steps, f"no better Dice in {patience}", ended_early=True)

    def _redirect(self, steps: int, why: str, ended_early: bool = False) -> None:
        """Change the course if the run is to end at another step.

        A checkpoint is written first, so that a kill leaves a record and a checkpoint that fit together.
        """
        course = self.setup.course
        if steps == course.steps:
            return
        self.save()
        self.checkpoints.wait()
        change = steps_change(self.done, course.steps, steps, why)
        course = replace(course.redirected(self.done, steps), ended_early=ended_early or course.ended_early)
        self.setup = replace(self.setup, course=course)
        if self.setup.ranks.first:
            self.setup.announce(self.setup, change)
        self.callback(Progress("train", self.done, steps, {"note": describe_steps_change(change)}))
        self.steering.stopwatch.restart(self.done)

    def save(self) -> None:
        """Write a checkpoint, behind the training; the state is the same in every process, and one of them writes.

        Raises:
            Diverged: a weight or a loss is not a number.
            MedsegError: the checkpoint before could not be written.
        """
        if not self.setup.ranks.first:
            return
        if not self.trainer.finite():
            raise self._diverged("weights are no longer numbers", self.done)
        if self.losses:  # steps with such a loss may change nothing, and leave weights that are finite but lost
            self._checked_losses()
        state = {
            **self.trainer.state(self.setup, self.done),
            "seconds": self.used_seconds,
            "scores": self.scores,
            "best_dice": self.best_dice,
            "first_loss": self.first_loss,
            # so that the figures of the log are of the same steps after a resume
            "losses": self.losses,
            "skipped": [int(self.trainer.skipped), self._skipped, self._skipped_in_a_row],
        }
        self.checkpoints.write(state)

    def rescue(self, error: BaseException) -> None:
        """Write a checkpoint of the last step where the state is consistent; `error` ends the run in any case."""
        if not self._consistent or isinstance(error, Diverged) or self.done == 0:
            return
        with suppress(MedsegError):  # the disk is full: the checkpoint before is still there
            self.save()
            self.checkpoints.wait()

    def stopped(self) -> Stopped:
        """Return the error that says where the user stopped the run, and how to go on."""
        if self.done == 0:
            return Stopped("Stopped before the first step.")
        steps = self.setup.course.steps
        left = "" if self.finished else f"; {steps - self.done} of {steps} steps are left"
        return Stopped(
            f"Stopped after step {self.done}{left}. The checkpoint is written: {self.checkpoints.path}",
            f"`{self.setup.files.resume_command}` continues it.",
        )

    def close(self) -> None:
        """End the thread that writes checkpoints, close the log, and tell the listener."""
        self.checkpoints.close()
        self.log.close()
        if self.setup.ranks.first:
            self.setup.listener.end(self.finished)

    def _diverged(self, what: str, step: int, suspects: Sequence[str] = ()) -> Diverged:
        """Return the error that ends the run, with the commands that continue it."""
        setup = self.setup
        hint = retries(setup.files.resume_command, setup.plan.training.learning_rate, setup.precision)
        return diverged(what, step, self.checkpoints.describe_last(), hint, suspects)

    def _absurd_loss(self, losses: Sequence[float]) -> Diverged:
        """Return the error for the losses of the last steps, of which one is not a number."""
        worst = worst_step(losses)
        step = self.done - len(losses) + worst
        what = f"loss is {losses[worst]:.4g}"
        suspects, one_by_one = list[str](), None
        with suppress(Exception):  # of memory, say: that the run has diverged is worth more than the name of the case
            batch = self.setup.batches(self.samples, whole=True).make(step)  # the samples of all processes
            with suppress(Exception):  # batch normalization of a single voxel refuses a single sample
                one_by_one = self.trainer.losses_one_by_one(batch)
            suspects = describe(batch, one_by_one)
        return self._diverged(what, step + 1, suspects)
