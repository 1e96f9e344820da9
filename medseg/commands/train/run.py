"""One call of `train`, and the run that it means: a new one, one that was interrupted, or a finished one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.commands.train.options import TrainOptions
from medseg.core.errors import ModelError, PlanError
from medseg.core.files import check_folder
from medseg.core.progress import Callback
from medseg.models.model import NetworkFactory
from medseg.models.record import RunRecord, read_record
from medseg.models.run_files import FoldFolder, RunFolder
from medseg.models.workspace import Workspace
from medseg.planning.recipe import load_plan_to_train
from medseg.plans.file import NO_EFFECT, choose_configuration
from medseg.plans.schema import Plan
from medseg.training.step.ranks import Ranks

if TYPE_CHECKING:
    from medseg.plans.changes import Change


@dataclass(frozen=True)
class Request:
    """One call of `train`. A cascade makes further ones of it, for the folds of its previous stages.

    Attributes:
        plan: name or file of the plan; None for the only one there is.
        workspace: with plans, runs and cache.
        options: with the device of this process.
        callback: receives progress and notes.
        factory: makes the network; None for that of the plan.
        ranks: this process among those that train together.
        start_time: `time.monotonic()` when the command began; a budget counts from there.
    """

    plan: str | Path | None
    workspace: Workspace
    options: TrainOptions
    callback: Callback
    factory: NetworkFactory | None
    ranks: Ranks
    start_time: float


@dataclass(frozen=True)
class Run:
    """A run, begun or not.

    Attributes:
        plan_path: the path of the plan in the workspace.
        plan: what is trained by: for a run that goes on its own copy, with what is to change from here on.
        configuration: name of the plan's configuration.
        files: folder of the fold.
        record: what earlier sessions noted; None for a new run.
        step: the step of the last checkpoint; 0 if there is none.
        seconds: wall-clock time that the run has used.
        changes: the changes of the plan, from here on.
        notes: for the user.
    """

    plan_path: Path
    plan: Plan
    configuration: str
    files: FoldFolder
    record: RunRecord | None = None
    step: int = 0
    seconds: float = 0.0
    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether nothing of it is left to do; the manifest is the last file that a run writes."""
        return self.record is not None and bool(self.record.finished) and self.files.manifest.exists()

    @property
    def waits_for_previous_stage(self) -> bool:
        """Whether a command was stopped while the previous stage was trained, before this run of a cascade began."""
        return self.files.request.exists() and not self.files.record.exists()


def find_run(request: Request) -> Run:
    """Return the run that the request names, as if it were new: files of earlier sessions are not read.

    Raises:
        MedsegError: the plan or the request is not valid.
    """
    options = request.options
    options.check()
    for folder in (request.workspace.runs, request.workspace.cache):
        check_folder(folder)
    plan_path = request.workspace.plan_path(request.plan)
    plan = load_plan_to_train(plan_path, [] if options.continues else options.overrides, options.recipe)
    _check_length(plan, options)
    name = choose_configuration(plan, options.configuration)
    files = RunFolder(request.workspace.runs / plan.name / name).fold(_fold_name(options.fold))
    return Run(plan_path, plan, name, files, notes=removed_keys(plan))


def _check_length(plan: Plan, options: TrainOptions) -> None:
    """Refuse a number of steps as a setting where epochs, which count instead, would leave it without effect."""
    length_options = (options.steps, options.epochs, options.budget_seconds)
    if options.continues or plan.training.epochs is None or any(given is not None for given in length_options):
        return
    if any(text.partition("=")[0].strip() == "training.steps" for text in options.overrides):
        raise PlanError(
            f"--set training.steps has no effect: training.epochs is {plan.training.epochs:g}, which counts instead.",
            f"Give --steps {plan.training.steps}, or --set training.epochs=null as well.",
        )


def open_run(run: Run, options: TrainOptions) -> Run:
    """Return the run with what earlier sessions have left of it.

    Args:
        run: as `find_run` found it.
        options: the options of the command.

    Raises:
        MedsegError: the request does not fit what there is of the run.
    """
    if options.continues:
        from medseg.commands.train.earlier import earlier_run

        return earlier_run(run, options)
    record = read_record(run.files)
    finished = record is not None and bool(record.finished) and run.files.manifest.exists()
    if run.files.weights.exists() and (finished or not run.files.checkpoint.exists()):
        raise ModelError(
            f"{run.files.path} holds a trained model already.",
            "--extend 2x trains it further. Move or delete it to train again; nothing is overwritten.",
        )
    if run.files.checkpoint.exists():
        raise ModelError(
            f"{run.files.path} holds a run that was interrupted.",
            f"`{run.files.resume_command}` continues it; or delete the folder to start again.",
        )
    return run


def _fold_name(fold: str) -> str:
    """Return `all`, or a number without leading zeros."""
    if fold != "all" and not re.fullmatch(r"[0-9]+", fold):
        raise PlanError(f"There is no fold {fold!r}; a fold is a number from 0 on, or all.")
    return fold if fold == "all" else str(int(fold))


def removed_keys(plan: Plan) -> list[str]:
    """Return a note on keys of the section `training` that had an effect in earlier versions."""
    reason = plan.reasons.get("training", "")
    return [f"training: {reason}"] if NO_EFFECT in reason else []
