"""`medseg train`: from a plan to a trained and scored fold."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from medseg.commands.train.cases import CONTENTS, unread_so_far
from medseg.commands.train.job import Job, prepare
from medseg.commands.train.live import LiveView
from medseg.commands.train.logs import RunLogs, logs_of_run
from medseg.commands.train.options import TrainOptions
from medseg.commands.train.run import Request, Run, find_run, open_run
from medseg.commands.train.start import decide_length, first_record
from medseg.core.errors import MedsegError
from medseg.core.files import remove_temporaries, write_json, write_text
from medseg.core.machine.locking import locked
from medseg.core.machine.parallel import BackgroundResult
from medseg.core.machine.tuning import give_back_freed_memory
from medseg.core.progress import Callback, Progress, silent
from medseg.core.replacing import finish_replacing, replacing_together
from medseg.core.wording import counted, summary_line
from medseg.delivery.provenance.folder_files import write_readme
from medseg.delivery.provenance.manifest import Clock
from medseg.models.model import NetworkFactory
from medseg.models.record import ChangeRecord, RecordFile, RunRecord
from medseg.models.run import save_weights
from medseg.models.run_files import FoldFolder
from medseg.models.workspace import Workspace
from medseg.plans.file import dump_plan
from medseg.plans.schema import Plan
from medseg.training.length.extension import Extension
from medseg.training.run.fit import fit
from medseg.training.run.setup import Setup
from medseg.training.step.ranks import joined

# Modules for what follows the training (validation, report, manifest), and for cascades, are imported in the functions
# that use them: they would double the time until a run starts.
if TYPE_CHECKING:
    from medseg.commands.train.previous_answers import PreviousStage
    from medseg.commands.train.validate import Validation
    from medseg.evaluation.summary import Summary

__all__ = ["Extension", "TrainOptions", "TrainResult", "train"]

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@dataclass(frozen=True)
class TrainResult:
    """A trained fold.

    Attributes:
        folder: the folder of the fold.
        record: how it came about.
        summary: its scores; None for the fold `all`, and in every process but the first.
        notes: for the user; the callback received them before training.
        failed: {case id: why it could not be read or segmented}.
        trained: False where nothing was left to do.
    """

    folder: Path
    record: RunRecord
    summary: Summary | None
    notes: list[str]
    failed: dict[str, str]
    trained: bool = True

    def __repr__(self) -> str:
        dice = self.summary.dice_mean if self.summary else None
        scores = [] if dice is None else [f"mean Dice {dice:.4f}"]
        return summary_line(self, self.folder, counted(self.record.steps or 0, "step"), *scores, failed=self.failed)


def train(
    plan: str | Path | None = None,
    workspace: str | Path = ".",
    options: TrainOptions | None = None,
    callback: Callback = silent,
    factory: NetworkFactory | None = None,
) -> TrainResult:
    """Train one fold and score its validation cases on full volumes.

    Of several processes that torchrun started all train, and the first one writes, scores and reports.

    Args:
        plan: name or file of the plan; None for the only one there is.
        workspace: folder with `plans/`, `runs/` and `cache/`.
        options: which fold, how long, and on what device.
        callback: receives progress and notes. It may raise `Cancelled` to stop; the last checkpoint stays.
        factory: makes the network from (configuration, channels, outputs); None for that of the plan.

    Returns:
        The folder of the fold, its record, its scores, and {case: why it could not be read or segmented}.

    Raises:
        MedsegError: the plan, the data or the request is not valid, or the run was interrupted.
    """
    options = (options or TrainOptions()).as_settings()
    with joined(options.device) as (ranks, device):
        start_time = time.monotonic() if options.start_time is None else options.start_time
        options, callback = replace(options, device=device), callback if ranks.first else silent
        return train_fold(Request(plan, Workspace(Path(workspace)), options, callback, factory, ranks, start_time))


def train_fold(request: Request) -> TrainResult:
    """Train the fold that a request names, unless another command is training it.

    Args:
        request: the request of the command, or of a cascade for a fold of its previous stage.

    Returns:
        As `train`.

    Raises:
        MedsegError: as `train`.
    """
    clock, run, ranks = Clock(), find_run(request), request.ranks
    alone = locked(run.files.lock, f"The run in {run.files.path}") if ranks.first else nullcontext()
    with alone, _disk_errors(run.files):
        if request.options.resume and run.waits_for_previous_stage:
            from medseg.commands.train.first_request import as_first_asked

            request = as_first_asked(request, run.files)
            run = find_run(request)
        finish_replacing(run.files.path)
        run = open_run(run, request.options)
        if run.finished and not request.options.extend:
            return _nothing_left(run)
        _check_measures(run)
        job = prepare(run, request, _previous_stage(run, request))
        setup, change, length_notes = decide_length(job, request)
        record = RecordFile(run.files, first_record(job, setup, change, request), writes=ranks.first)
        logs, log_notes = logs_of_run(run.files, request.options.log, request.options.continues)
        notes = [*job.notes, *length_notes, *log_notes]

        def note_change(setup: Setup, change: ChangeRecord) -> None:
            record.update(record.content.redirected(setup.course.legs, change, setup.course.ended_early))

        def report_note(note: str) -> None:
            request.callback(Progress("train", run.step, setup.course.steps, {"note": note}))

        for note in notes:
            report_note(note)
        run_logs = RunLogs(run.files, logs, report_note)
        live = LiveView(run.files, job.probe, job.held_out, setup.device, report_note, run_logs)
        setup = replace(setup, announce=note_change, listener=live)
        start_time = request.start_time - run.seconds
        hashes = _begin(job, setup.plan, record, request) if ranks.first else None
        resume, callback = request.options.continues, request.callback
        network = fit(job.network, job.samples, setup, job.probe, callback, resume, start_time)
        summary = None
        if hashes is not None:
            record.content = record.content.updated(train_seconds=round(time.monotonic() - start_time, 1))
            save_weights(network, run.files, record.content)
            give_back_freed_memory()
            validation = _validate(job, network, callback)
            summary = None if validation is None else validation.summary
            failed = unread_so_far(run, job.failed, job.split["train"]) | (summary.failed if summary else {})
            seconds = round(time.monotonic() - start_time, 1)
            record.update(record.content.updated(seconds=seconds, notes=tuple(notes), failed=failed or None))
            _report(job, setup.plan, validation)
            record.update(record.content.updated(finished=True))
            _write_manifest(run, setup.plan, record.content, clock, hashes)
        ranks.wait()  # until the model is written: another run may follow that needs it
    failed = job.failed | (summary.failed if summary else {})
    return TrainResult(run.files.path, record.content, summary, notes, failed)


def _previous_stage(run: Run, request: Request) -> PreviousStage | None:
    """Have the previous stage of a cascade trained; None for a configuration that has none."""
    if run.plan.configuration(run.configuration).previous_stage is None:
        return None
    from medseg.commands.train.previous_stage import train_previous_stage

    return train_previous_stage(run, request, train_fold)


def _begin(
    job: Job, plan: Plan, record: RecordFile, request: Request
) -> BackgroundResult[dict[str, list[dict[str, Any]]]]:
    """Write what a run that is stopped needs to go on, and begin to hash what it is trained on: {case: its files}."""
    files = job.run.files
    remove_temporaries(files.path)
    with replacing_together(files.path, "session") as staging:  # a changed plan and the record that says so
        write_text(FoldFolder(staging).plan, dump_plan(plan))
        write_json(FoldFolder(staging).split, {**job.split, CONTENTS: job.contents})
        record.content.write(FoldFolder(staging))
    write_readme(files.path, "run")
    files.request.unlink(missing_ok=True)  # from here on the record says it
    cases = [sample.case for sample in (*job.samples, *job.held_out)]
    folder = request.workspace.data_folder(plan, request.options.data)

    def hash_files() -> dict[str, list[dict[str, Any]]]:
        # imported in the thread: the first step does not wait for the modules that read DICOM
        from medseg.delivery.provenance.inputs import input_entries

        return {case.id: input_entries(case, folder, label=True) for case in cases}

    return BackgroundResult(hash_files)


def _validate(job: Job, network: torch.nn.Module, callback: Callback) -> Validation | None:
    """Segment and score the validation cases; None where no case is kept apart."""
    if not job.held_out:
        return None
    from medseg.commands.train.validate import validate_fold

    cases = [sample.case for sample in job.held_out]
    unread = {case: why for case, why in job.failed.items() if case in job.split["val"]}
    return validate_fold(job.predictor(network), cases, job.run.files.validation, callback, unread)


def _report(job: Job, plan: Plan, validation: Validation | None) -> None:
    """Write the run's page."""
    from medseg.delivery.pages.run_page import write_report

    if validation is None:
        write_report(job.run.files, plan, None)
    else:
        write_report(job.run.files, plan, validation.summary, validation.scans)


def _write_manifest(
    run: Run, plan: Plan, record: RunRecord, clock: Clock, hashes: BackgroundResult[dict[str, list[dict[str, Any]]]]
) -> None:
    """Write the run's manifest: what is written last says that the run is finished."""
    from medseg.delivery.provenance.entries import write_run_manifest

    write_run_manifest(run.files.path, clock, hashes, record.as_json(), plan)


def _check_measures(run: Run) -> None:
    """Refuse measures that nobody registered, before the hours of training that end in scores."""
    if run.plan.scoring.extra_measures:
        from medseg.evaluation.extra_measures import check_registered

        check_registered(run.plan.scoring.extra_measures)


def _nothing_left(run: Run) -> TrainResult:
    assert run.record is not None
    length = counted(run.record.steps or 0, "step")
    what = f"nothing is left to do: the run of {length} is finished; --extend 2x trains it further"
    return TrainResult(run.files.path, run.record, None, [*run.notes, what], {}, trained=False)


@contextmanager
def _disk_errors(files: FoldFolder) -> Iterator[None]:
    """Turn the error of a full disk, whichever file could not be written, into one that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        if not files.begun:
            then = "Free some space, and give the command again."
        elif not files.checkpoint.exists():
            then = f"Free some space; `{files.resume_command}` starts the run from its first step."
        else:
            then = f"Free some space. The last checkpoint is whole; `{files.resume_command}` continues from it."
        message = f"{error.filename or files.path} could not be written: {error.strerror}."
        raise MedsegError(message, then) from None
