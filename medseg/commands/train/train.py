"""`medseg train`: from a plan to a trained and scored fold."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from medseg.commands.train.job import SPLIT, Job, prepare
from medseg.commands.train.options import Extension, TrainOptions
from medseg.commands.train.previous_folds import ASKED, as_asked, train_before
from medseg.commands.train.run import Run, open_run, run_of
from medseg.commands.train.start import note_redirection, start_of
from medseg.commands.train.validate import validate_fold
from medseg.core.errors import MedsegError
from medseg.core.files import write_json
from medseg.core.locking import locked
from medseg.core.progress import Callback, Progress, silent
from medseg.core.wording import counted
from medseg.delivery.pages.run_page import write_report
from medseg.delivery.provenance.entries import Clock, training_inputs, write_run_manifest
from medseg.evaluation.extra_measures import check_registered
from medseg.evaluation.summary import Summary
from medseg.models.run import PLAN, RECORD, NetworkFactory, save_weights
from medseg.models.workspace import Workspace
from medseg.plans.file import save_plan
from medseg.training.length.steering import Redirection
from medseg.training.run.checkpoint import remove_half_written
from medseg.training.run.fit import fit
from medseg.training.run.setup import Setup
from medseg.training.step.ranks import Ranks, joined

__all__ = ["Extension", "TrainOptions", "TrainResult", "train"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@dataclass(frozen=True)
class TrainResult:
    """A trained fold: where it lies, its record, its scores (None for `all`), notes, and the cases that failed.

    Notes were told to the callback as well, before training. `trained` is false where nothing was left to do.
    """

    folder: Path
    record: dict[str, Any]
    summary: Summary | None
    notes: list[str]
    failed: dict[str, str]
    trained: bool = True


def train(
    plan: str | Path | None = None,
    workspace: str | Path = ".",
    options: TrainOptions | None = None,
    callback: Callback = silent,
    factory: NetworkFactory | None = None,
) -> TrainResult:
    """Train one fold and score its validation cases on full volumes.

    Of several processes that torchrun started all train, and the first one writes, scores and reports.

    Raises:
        MedsegError: the plan, the data or the request is not valid, or the run was interrupted.
    """
    options, place = options or TrainOptions(), Workspace(Path(workspace))
    with joined(options.device) as (ranks, device):
        options = replace(options, device=device)
        return _train(plan, place, options, callback if ranks.first else silent, factory, ranks)


def _train(
    plan: str | Path | None,
    place: Workspace,
    options: TrainOptions,
    callback: Callback,
    factory: NetworkFactory | None,
    ranks: Ranks,
) -> TrainResult:
    """Train a fold that no other command is training."""
    fold = run_of(plan, place, options).folder
    lock = locked(fold.with_name(f".{fold.name}.lock"), f"The run in {fold}") if ranks.first else nullcontext()
    with lock:
        return _train_locked(plan, place, options, callback, factory, ranks)


def _train_locked(
    plan: str | Path | None,
    place: Workspace,
    options: TrainOptions,
    callback: Callback,
    factory: NetworkFactory | None,
    ranks: Ranks,
) -> TrainResult:
    options = as_asked(plan, place, options)
    started, clock = options.started or time.monotonic(), Clock()
    options = replace(options, started=started)
    run = open_run(plan, place, options)
    check_registered(run.plan.scoring.extra_measures)  # before the hours of training that end in scores
    if run.finished and not options.extend:
        return _nothing_left(run)

    def train_fold(own: TrainOptions, tell: Callback) -> None:
        _train(plan, place, own, tell, factory, ranks)

    before = train_before(run, place, options, callback, train_fold, ranks)
    job = prepare(run, place, options, callback, factory, ranks, before)
    job, record = start_of(job, options, started, factory)

    def keep_course(changed: Setup, change: Redirection) -> None:
        note_redirection(record, changed, change)
        write_json(run.folder / RECORD, record)

    setup, began = replace(job.setup, announce=keep_course), started - run.seconds
    for note in job.notes:
        callback(Progress("train", run.step, setup.course.steps, {"note": note}))
    if not ranks.first:
        fit(job.network, job.samples, setup, job.probe, callback, options.goes_on, began)
        ranks.wait()  # until the model is written: another run may follow that needs it
        return TrainResult(run.folder, record, None, job.notes, job.failed)
    with _disk_errors(run.folder):
        remove_half_written(run.folder)
        save_plan(setup.plan, run.folder / PLAN)
        write_json(run.folder / SPLIT, job.split)
        write_json(run.folder / RECORD, record)
        (run.folder / ASKED).unlink(missing_ok=True)  # from here on the record says it
        cases = [sample.case for sample in (*job.samples, *job.held_out)]
        inputs = training_inputs(cases, place.data_folder(setup.plan, options.data))
        best = fit(job.network, job.samples, setup, job.probe, callback, options.goes_on, began)
        record["train_seconds"] = round(time.monotonic() - began, 1)
        save_weights(best, run.folder, record)
        summary = _score(job, best, record, began, callback)
        record["finished"] = True
        write_json(run.folder / RECORD, record)
        write_run_manifest(run.folder, clock, inputs, record, setup.plan)
    ranks.wait()
    failed = job.failed | (summary.failed if summary else {})
    return TrainResult(run.folder, record, summary, job.notes, failed)


def _nothing_left(run: Run) -> TrainResult:
    length = counted(run.record["steps"], "step")
    what = f"nothing is left to do: the run of {length} is finished; --extend 2x trains it further"
    return TrainResult(run.folder, run.record, None, [*run.notes, what], {}, trained=False)


def _score(
    job: Job, network: torch.nn.Module, record: dict[str, Any], began: float, callback: Callback
) -> Summary | None:
    """Segment and score the validation cases, and write the run's page."""
    folder = job.setup.folder
    validation = None
    if job.held_out:
        cases = [sample.case for sample in job.held_out]
        validation = validate_fold(job.predictor(network), cases, folder / "validation", callback)
    record["seconds"] = round(time.monotonic() - began, 1)
    write_json(folder / RECORD, record)
    summary = validation.summary if validation else None
    write_report(folder, job.setup.plan, summary, validation.scans if validation else (), job.notes)
    return summary


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Say what to do where the disk is full, whichever file shows it first."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise MedsegError(
            f"{error.filename or folder} could not be written: {error.strerror}.",
            "Free some space. The last checkpoint is whole; go on from it with `medseg train --resume`.",
        ) from None
