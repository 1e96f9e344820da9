"""The live view of a run in training: pictures of the same slices, and a page that reloads itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import torch

from medseg.commands.train.logs import RunLogs
from medseg.commands.train.probe import DiceProbe
from medseg.models.model import input_channels
from medseg.models.run_files import FoldFolder
from medseg.plans.sections.training import Training
from medseg.preprocessing.cache import Sample
from medseg.training.data.batches import Batch, Batches
from medseg.training.run.listener import LossOf, RunListener

_PAGE_SECONDS = 20.0
"""Time between two writes of the page where no validation is due."""
LOSS_BATCHES = 2
"""Batches that the validation loss is the mean of: as much work as the forward passes of two steps."""
_MOST_TRAIN_RECORDS = 1000
"""Records that curves are drawn of; of a longer run, every second one is left out, again and again."""


class LiveView(RunListener):
    """Draws the slices of a probe after each validation and writes the page, in a thread behind the training.

    Args:
        files: the files of the fold.
        probe: the probe that validates; its slices are drawn.
        held_out: validation cases, of which the validation loss is measured; none where no case is kept apart.
        device: the device of the network.
        note: receives a sentence if the page can no longer be written; training goes on.
        logs: receive the same figures and pictures.
    """

    def __init__(
        self,
        files: FoldFolder,
        probe: DiceProbe,
        held_out: Sequence[Sample],
        device: torch.device,
        note: Callable[[str], None],
        logs: RunLogs,
    ) -> None:
        self.logs = logs
        self.files, self.probe, self.held_out, self.device, self.note = files, probe, held_out, device, note
        self.records: list[dict[str, Any]] = []
        self._trained: list[dict[str, Any]] = []
        self._every = 1
        self._counted = 0
        self._batches: list[Batch] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="live")
        self._writing: Future[None] | None = None
        self._written = time.monotonic()
        self._failed = False

    def begin(self, step: int, records: Sequence[Mapping[str, Any]]) -> None:
        """Take over the records of earlier sessions, and drop the pictures of steps that are made again.

        Args:
            step: number of steps that are done.
            records: the records of earlier sessions.
        """
        for record in records:
            self._add(dict(record))
        for drawn, path in self.files.drawn_pictures():
            if drawn > step:
                path.unlink(missing_ok=True)
        self.logs.begin(step, records)
        self._write(None)

    def trained(self, step: int, figures: Mapping[str, float]) -> None:
        """Note a record, and write the page if the last time is long ago.

        Args:
            step: number of steps that are done.
            figures: loss, learning rate and so on.
        """
        record = {"kind": "train", "step": step, **figures}
        self._add(record)
        self.logs.add(record)
        idle = self._writing is None or self._writing.done()
        if idle and time.monotonic() - self._written > _PAGE_SECONDS:
            self._write(None)

    def validated(self, step: int, dice: Mapping[str, float | None], loss_of: LossOf) -> dict[str, Any]:
        """Draw the slices, write the page, and return validation loss, IoU and the scores of training cases.

        Args:
            step: number of steps that are done.
            dice: {structure: mean Dice}.
            loss_of: measures the loss of the network that was validated.
        """
        figures: dict[str, Any] = {"iou": self.probe.iou}
        if self.held_out:
            losses = [loss_of(batch) for batch in self._loss_batches()]
            figures["loss"] = sum(losses) / len(losses)
        if self.probe.train_samples:
            figures |= {"train_dice": self.probe.train_dice, "train_iou": self.probe.train_iou}
        record = {"kind": "validation", "step": step, "dice": dict(dice), **figures}
        self._add(record)
        self.logs.add(record)
        self._write(step)
        return figures

    def end(self, finished: bool) -> None:
        """Wait for what is being drawn, write a page that stays as it is, and close the logs.

        Args:
            finished: whether all steps are done.
        """
        self._write(None, trains=False)
        self._thread.shutdown()
        self.logs.end(finished)

    def _loss_batches(self) -> list[Batch]:
        """Return the patches that the validation loss is measured on: the same each time, not augmented."""
        if self._batches is None:
            plan, configuration = self.probe.plan, self.probe.configuration
            previous = input_channels(plan, configuration) - len(plan.data.channels)
            batches = Batches(
                _weighted(self.held_out), configuration, _unchanged(plan.training), self.device, None, previous
            )
            self._batches = [batches.make(number) for number in range(LOSS_BATCHES)]
        return self._batches

    def _add(self, record: dict[str, Any]) -> None:
        """Keep a record; of very many training records every second one is left out."""
        if record["kind"] == "train":
            self._counted += 1
            if self._counted % self._every:
                return
            self._trained.append(record)
            if len(self._trained) > _MOST_TRAIN_RECORDS:
                del self._trained[::2]
                self._every *= 2
        else:
            self.records.append(record)

    def _write(self, picture_step: int | None, trains: bool = True) -> None:
        """Write the page in the thread; if a step is given, draw a picture of the probe's slices for it first."""
        if self._writing is not None:
            self._writing.result()
        self._written = time.monotonic()
        slices = list(self.probe.slices) if picture_step is not None else []
        records = [*self._trained, *self.records]
        self._writing = self._thread.submit(self._draw, picture_step, slices, records, trains)
        if not trains:
            self._writing.result()

    def _draw(self, step: int | None, slices: list[Any], records: list[dict[str, Any]], trains: bool) -> None:
        """Draw and write; what goes wrong, such as a full disk, ends the pictures and not the training."""
        # imported in the thread: the first step does not wait for it
        from medseg.core.files import atomic
        from medseg.delivery.pages.live_page import newest_picture, write_live_page
        from medseg.delivery.pictures.live_picture import draw_slices

        if self._failed:
            return
        try:
            if step is not None and slices:
                picture = draw_slices(slices, self.probe.plan.labels)
                with atomic(self.files.picture(step)) as path:
                    path.write_bytes(picture)
                self.logs.add_picture(step, picture)
            write_live_page(self.files, records, newest_picture(self.files), trains)
        except Exception as error:  # whatever it is, a picture is not worth the hours of training
            self._failed = True
            reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else f"{error!r}"
            self.note(f"{self.files.live.name} and pictures are no longer written ({reason}); training goes on")


def _weighted(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Return validation cases with the weights that they have in training, or of equal weight if all of them are 0."""
    if any(sample.case.is_learnt_from for sample in samples):
        return samples
    return [replace(sample, case=replace(sample.case, weight=1.0, loss_weight=1.0)) for sample in samples]


def _unchanged(training: Training) -> Training:
    """Return the section `training` with all changes of patches switched off."""
    names = [name for name in type(training.augmentation).model_fields if name.endswith("_probability")]
    off = training.augmentation.model_copy(update=dict.fromkeys(names, 0.0))
    return training.model_copy(update={"augmentation": off})
