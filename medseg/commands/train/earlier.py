"""Read the state that earlier sessions left of a run: its own plan, its record, and its progress."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medseg.commands.train.options import TrainOptions
from medseg.commands.train.run import Run, removed_keys
from medseg.core.errors import MedsegError, ModelError, PlanError
from medseg.core.files import content_hash
from medseg.core.wording import counted
from medseg.models.record import RunRecord, read_record
from medseg.models.run_files import PLAN, FoldFolder, runs_below
from medseg.planning.recipe import load_plan_to_train
from medseg.plans.changes import check_changes, differences
from medseg.plans.file import load_plan
from medseg.plans.schema import Plan
from medseg.training.length.extension import nothing_to_train
from medseg.training.run.checkpoint import load_checkpoint
from medseg.training.run.log import read_log

_MOST_NAMED = 8


def earlier_run(run: Run, options: TrainOptions) -> Run:
    """Return a run as its last session left it, to be resumed or extended.

    Args:
        run: as `find_run` found it.
        options: the options of the command.

    Raises:
        MedsegError: there is no such run, or the request does not fit it.
    """
    run = _as_left(run, options)
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


def _as_left(run: Run, options: TrainOptions) -> Run:
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
    as_planned = []
    since = {change.key for change in record.changes or ()}
    if options.extend is not None and record.validations is not None and "training.validations" not in since:
        as_planned = [f"training.validations={record.validations}"]  # the new length may have time for them
    plan = load_plan(files.plan, [*as_planned, *options.overrides])
    changes = differences(own_plan, plan, run.configuration)
    check_changes(changes, run.configuration)
    step, seconds = _progress(files, record, options.resume)
    notes = removed_keys(own_plan)
    if record.plan_hash != content_hash(run.plan_path):
        notes += _differs_note(run.plan_path, own_plan, run.configuration, record)
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


def _differs_note(plan_path: Path, run_plan: Plan, configuration: str, record: RunRecord) -> list[str]:
    """Return a note on keys whose values in the workspace's plan differ from the run's own copy, which counts.

    Args:
        plan_path: the path of the plan in the workspace.
        run_plan: the run's copy.
        configuration: the configuration that the run trains.
        record: the record of the run, with what was set when it began and changed since.
    """
    try:
        current = load_plan_to_train(plan_path, record.overrides or [], record.recipe)
    except MedsegError as error:
        return [f"{plan_path} has changed and no longer fits the run, which keeps its own copy: {error}"]
    texts = _differing(run_plan, current, configuration, record, "there")
    return [f"{plan_path} has changed since the run began, which keeps its own plan: {texts}"] if texts else []


def _differing(run_plan: Plan, other: Plan, configuration: str, record: RunRecord, where: str) -> str:
    """Return which keys differ in a run's plan and another one, but for those changed since the run began; or nothing.

    Args:
        run_plan: the run's copy.
        other: the other plan.
        configuration: the configuration that the run trains.
        record: the record of the run.
        where: says of which plan the second value is.
    """
    set_since = {change.key for change in record.changes or ()}
    if record.budget_seconds is not None:
        set_since.add("training.validations")  # which a short budget lowers
    changes = [change for change in differences(run_plan, other, configuration) if change.key not in set_since]
    texts = [f"{change.key} is {change.old} in the run, {change.new} {where}" for change in changes[:_MOST_NAMED]]
    more = f"; and {len(changes) - _MOST_NAMED} more" if len(changes) > _MOST_NAMED else ""
    return "; ".join(texts) + more


def asked_otherwise(fold: FoldFolder, planned: Plan, options: TrainOptions) -> list[str]:
    """Return a note on what is asked of a fold that has begun, and goes on as it was begun; none of a new one.

    Args:
        fold: the fold.
        planned: the plan with the settings and the recipe that are asked for now.
        options: how a fold that begins now is trained.
    """
    record = read_record(fold)
    if record is None or not fold.plan.exists():
        return []
    texts = []
    begun_with = next((change.old for change in record.changes or () if change.key == "steps"), record.steps)
    if options.steps not in (None, begun_with):
        texts.append(f"it has {counted(record.steps or 0, 'step')}, not {options.steps}")
    if options.epochs not in (None, record.epochs):
        texts.append(f"it has {counted(record.steps or 0, 'step')}, which --epochs {options.epochs:g} does not change")
    started = None if record.init is None else record.init.asked
    if options.init is not None and str(options.init) != started:
        texts.append(f"it started from {started or 'random weights'}, not from {options.init}")
    if differing := _differing(load_plan(fold.plan), planned, fold.run.path.name, record, "as asked now"):
        texts.append(differing)
    if not texts:
        return []
    return [f"{fold.path} goes on as it was begun: {'; '.join(texts)}. Moved away, it is trained anew as asked"]


def check_has_budget(fold: FoldFolder) -> None:
    """Refuse a budget for a fold that was begun without one, as it would go on to the end that was planned.

    Args:
        fold: the fold; one that is new or finished is let pass.

    Raises:
        PlanError: it is begun, and has no budget of its own.
    """
    record = read_record(fold)
    if record is not None and not record.finished and record.budget_seconds is None:
        raise PlanError(
            f"{fold.path} was begun without a budget and is not finished: it would go on to its last step, however "
            "long that takes.",
            f"Finish it first: `{fold.resume_command}`. Or move it away: it is then trained anew, within the budget.",
        )
