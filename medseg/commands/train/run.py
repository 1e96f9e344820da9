"""Which training run is meant, and what there is of it: a new one, one that was interrupted, or a finished one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.commands.train.options import TrainOptions, check_options, nothing_to_train
from medseg.commands.train.plan_changes import differs_note
from medseg.core.errors import ModelError, PlanError
from medseg.core.files import content_hash
from medseg.core.wording import counted
from medseg.delivery.provenance.manifest import NAME as MANIFEST
from medseg.models.run import PLAN, WEIGHTS, read_record
from medseg.models.workspace import Workspace
from medseg.planning.recipe import load_plan_to_train
from medseg.plans.changes import Change, check_changes, differences
from medseg.plans.file import load_plan
from medseg.plans.schema import Plan
from medseg.training.run.checkpoint import CHECKPOINT, load_checkpoint
from medseg.training.run.log import LOG, read_log


@dataclass(frozen=True)
class Run:
    """A run, begun or not.

    Attributes:
        plan_path: of the plan in the workspace.
        plan: what is trained by: of a run that goes on its own copy, with what is to change from here on.
        record: what an earlier process noted; empty for a new run.
        step: of the last checkpoint; 0 if there is none.
        seconds: wall-clock time that it has used.
        changes: of the plan, from here on.
    """

    plan_path: Path
    plan: Plan
    configuration: str
    fold: str
    folder: Path
    record: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    seconds: float = 0.0
    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether nothing of it is left to do; the manifest is what a run writes last."""
        return bool(self.record.get("finished")) and (self.folder / MANIFEST).exists()


def run_of(choice: str | Path | None, place: Workspace, options: TrainOptions) -> Run:
    """The run that is meant, as a new one: what there is of it already is not looked at.

    Raises:
        MedsegError: the plan or the request stands against it.
    """
    check_options(options)
    plan_path = place.plan_path(choice)
    plan = load_plan_to_train(plan_path, [] if options.goes_on else options.overrides, options.recipe)
    name = _configuration_name(plan, options.configuration)
    fold = _fold_name(options.fold)
    return Run(plan_path, plan, name, fold, place.runs / plan.name / name / f"fold_{fold}")


def open_run(choice: str | Path | None, place: Workspace, options: TrainOptions) -> Run:
    """The run that is meant.

    Raises:
        MedsegError: the plan, the request, or what there is of the run already stands against it.
    """
    asked = run_of(choice, place, options)
    if not options.goes_on:
        _check_new(asked.folder)
        return asked
    run = _earlier(asked, options)
    if options.extend is not None and not run.finished:
        raise ModelError(
            f"The run in {run.folder} is not finished: --extend trains a finished one further.", "Go on with --resume."
        )
    steps = int(run.record.get("steps", 0))
    if options.extend is not None and options.extend.seconds is None and options.extend.more(steps) < 1:
        raise nothing_to_train(f"--extend {options.extend} of a run of {counted(steps, 'step')}")
    if options.extend is None and run.finished and run.changes:
        raise PlanError(
            f"The run in {run.folder} is finished: --set has nothing left to change.",
            "--extend 2x --set ... trains it further with other settings.",
        )
    return run


def _earlier(asked: Run, options: TrainOptions) -> Run:
    """The run as it was left, with its own plan."""
    folder = asked.folder
    record = read_record(folder)
    if not record or not (folder / PLAN).exists():
        there = sorted(str(path.parent) for path in folder.parent.parent.glob(f"*/fold_*/{PLAN}"))
        raise ModelError(
            f"There is no run in {folder} to go on with{'; there are ' + ', '.join(there) if there else ''}.",
            "Leave --resume out to start anew." if options.resume else "`medseg train` makes one.",
        )
    own = load_plan(folder / PLAN)
    plan = load_plan(folder / PLAN, options.overrides)
    changes = differences(own, plan, asked.configuration)
    check_changes(changes, asked.configuration)
    step, seconds = _progress(folder, record, options.resume)
    notes = []
    if record.get("plan_hash") != content_hash(asked.plan_path):
        notes = differs_note(asked.plan_path, own, asked.configuration, record)
    if step == 0 and not record.get("finished"):
        notes.append("there was no checkpoint yet: the run starts from its first step")
    return Run(asked.plan_path, plan, asked.configuration, asked.fold, folder, record, step, seconds, changes, notes)


def _progress(folder: Path, record: dict[str, Any], resume: bool) -> tuple[int, float]:
    """Step of the last checkpoint and seconds that the run has used, those after the checkpoint included."""
    used = max(float(one.get("seconds") or 0) for one in (record, *read_log(folder / LOG)))
    if not (folder / CHECKPOINT).exists():
        if (folder / WEIGHTS).exists() and not (resume and record.get("finished")):
            raise ModelError(
                f"{folder} has weights, but no {CHECKPOINT} to go on from.",
                "Put it back, or train a new run from them: --init.",
            )
        return 0, used
    state = load_checkpoint(folder / CHECKPOINT, peek=True)
    return int(state.get("step", 0)), max(used, float(state.get("seconds", 0)))


def _check_new(folder: Path) -> None:
    if (folder / WEIGHTS).exists():
        raise ModelError(
            f"{folder} holds a trained model already.",
            "--extend 2x trains it further. Move or delete it to train anew; nothing is overwritten.",
        )
    if (folder / CHECKPOINT).exists():
        raise ModelError(
            f"{folder} holds a run that was interrupted.", "Go on with --resume, or delete the folder to start anew."
        )


def _configuration_name(plan: Plan, chosen: str | None) -> str:
    name = chosen or plan.default_configuration
    if name not in plan.configurations:
        raise PlanError(
            f"The plan {plan.name!r} has no configuration {name!r}; it has {', '.join(plan.configurations)}."
        )
    return name


def _fold_name(fold: str) -> str:
    """`all`, or a number without leading zeros."""
    if fold != "all" and not re.fullmatch(r"[0-9]+", fold):
        raise PlanError(f"There is no fold {fold!r}; a fold is a number from 0 on, or all.")
    return fold if fold == "all" else str(int(fold))
