"""Which training run is meant, and what there is of it: a new one, one that was interrupted, or a finished one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from medseg.commands.train.options import TrainOptions
from medseg.commands.train.plan_changes import differs_note
from medseg.commands.train.request import Request
from medseg.core.errors import ModelError, PlanError
from medseg.core.files import content_hash
from medseg.core.wording import counted
from medseg.models.record import RunRecord, read_record
from medseg.models.run_files import PLAN, FoldFolder, RunFolder, runs_below
from medseg.planning.recipe import load_plan_to_train
from medseg.plans.changes import Change, check_changes, differences
from medseg.plans.file import NO_EFFECT, load_plan
from medseg.plans.schema import Plan
from medseg.training.length.request import nothing_to_train
from medseg.training.run.checkpoint import load_checkpoint
from medseg.training.run.log import read_log


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


def find_run(request: Request) -> Run:
    """Return the run that is meant, as a new one: what there is of it already is not looked at.

    Raises:
        MedsegError: the plan or the request is not valid.
    """
    options = request.options
    options.check()
    plan_path = request.workspace.plan_path(request.plan)
    plan = load_plan_to_train(plan_path, [] if options.continues else options.overrides, options.recipe)
    name = options.configuration or plan.default_configuration
    if name not in plan.configurations:
        raise PlanError(
            f"The plan {plan.name!r} has no configuration {name!r}; it has {', '.join(plan.configurations)}."
        )
    files = RunFolder(request.workspace.runs / plan.name / name).fold(_fold_name(options.fold))
    return Run(plan_path, plan, name, files, notes=_removed_keys(plan))


def open_run(run: Run, options: TrainOptions) -> Run:
    """Return the run with what earlier sessions have left of it.

    Args:
        run: as `find_run` found it.
        options: the options of the command.

    Raises:
        MedsegError: the request does not fit what there is of the run.
    """
    if not options.continues:
        _check_new(run.files)
        return run
    run = _earlier(run, options)
    if options.extend is not None:
        if not run.finished:
            raise ModelError(
                f"The run in {run.files.path} is not finished: --extend trains a finished one further.",
                f"`{run.files.resume_command}` continues it.",
            )
        steps = (run.record and run.record.steps) or 0
        if options.extend.seconds is None and options.extend.more(steps) < 1:
            raise nothing_to_train(f"--extend {options.extend} of a run of {counted(steps, 'step')}")
    elif run.finished and run.changes:
        raise PlanError(
            f"The run in {run.files.path} is finished: --set has nothing left to change.",
            "With --extend 2x in place of --resume it is trained further, with these settings.",
        )
    return run


def _earlier(run: Run, options: TrainOptions) -> Run:
    """Return the run as its last session left it, with its own plan."""
    files, record = run.files, read_record(run.files)
    if record is None or not files.plan.exists():
        runs = runs_below(files.run.path.parent, 1, PLAN)
        begun = [str(fold.path) for other in runs for fold in other.folds_with(PLAN)]
        raise ModelError(
            f"There is no run in {files.path} to go on with{'; there are ' + ', '.join(begun) if begun else ''}.",
            f"Leave {'--resume' if options.resume else '--extend'} out to start one.",
        )
    own_plan = load_plan(files.plan)
    plan = load_plan(files.plan, options.overrides)
    changes = differences(own_plan, plan, run.configuration)
    check_changes(changes, run.configuration)
    step, seconds = _progress(files, record, options.resume)
    notes = _removed_keys(own_plan)
    if record.plan_hash != content_hash(run.plan_path):
        notes += differs_note(run.plan_path, own_plan, run.configuration, record)
    if step == 0 and not record.finished:
        notes.append("there was no checkpoint yet: the run starts from its first step")
    return replace(run, plan=plan, record=record, step=step, seconds=seconds, changes=changes, notes=notes)


def _progress(files: FoldFolder, record: RunRecord, resume: bool) -> tuple[int, float]:
    """Return the step of the last checkpoint and the seconds that the run has used, those after it included."""
    used = max(record.seconds or 0.0, *(float(entry.get("seconds") or 0) for entry in read_log(files.log)), 0.0)
    if not files.checkpoint.exists():
        if files.weights.exists() and not (resume and record.finished):
            raise ModelError(
                f"{files.path} has weights, but no {files.checkpoint.name} to go on from.",
                "Put it back, or train a new run from them: --init.",
            )
        return 0, used
    state = load_checkpoint(files.checkpoint, peek=True)
    return int(state.get("step", 0)), max(used, float(state.get("seconds", 0)))


def _check_new(files: FoldFolder) -> None:
    if files.weights.exists():
        raise ModelError(
            f"{files.path} holds a trained model already.",
            "--extend 2x trains it further. Move or delete it to train again; nothing is overwritten.",
        )
    if files.checkpoint.exists():
        raise ModelError(
            f"{files.path} holds a run that was interrupted.",
            f"`{files.resume_command}` continues it; or delete the folder to start again.",
        )


def _fold_name(fold: str) -> str:
    """Return `all`, or a number without leading zeros."""
    if fold != "all" and not re.fullmatch(r"[0-9]+", fold):
        raise PlanError(f"There is no fold {fold!r}; a fold is a number from 0 on, or all.")
    return fold if fold == "all" else str(int(fold))


def _removed_keys(plan: Plan) -> list[str]:
    """Return a note on keys of the section `training` that had an effect in earlier versions."""
    reason = plan.reasons.get("training", "")
    return [f"training: {reason}"] if NO_EFFECT in reason else []
