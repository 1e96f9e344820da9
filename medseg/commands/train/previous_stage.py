"""The previous stages of a cascade: those of their folds that are missing are trained first, by the same command."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from medseg.commands.train.earlier import check_has_budget
from medseg.commands.train.first_request import FirstRequest
from medseg.commands.train.options import TrainOptions
from medseg.commands.train.previous_answers import PreviousStage
from medseg.commands.train.run import Request, Run
from medseg.core.errors import ModelError, PlanError, Stopped
from medseg.core.progress import Callback, Progress
from medseg.core.wording import counted
from medseg.models.model import overrides_for
from medseg.models.record import read_record
from medseg.models.run_files import FoldFolder, RunFolder
from medseg.models.workspace import plan_cases, plan_folds
from medseg.planning.splits import Fold
from medseg.plans.changes import differences
from medseg.plans.file import load_plan

_BUDGET_SHARE = 0.5
"""Share of a budget for the previous stage, where all of its folds have to be trained."""
_STAGE_KEYS = ("spacing_mm", "normalization", "resample_image", "network", "previous_stage")
_PLAN_KEYS = ("data.", "labels", "orientation", "transpose_forward")
"""Keys of the plan that decide what the answers of a stage mean."""

TrainFold = Callable[[Request], Any]
"""Trains the fold that a request names, to its end."""


def train_previous_stage(run: Run, request: Request, train_fold: TrainFold) -> PreviousStage:
    """Train every fold of the previous stage that is not finished, and return the stage.

    Folds that were interrupted go on from their checkpoint.

    Args:
        run: the run of the later stage.
        request: what the user asked for, for the later stage.
        train_fold: the function that trains one fold.

    Raises:
        MedsegError: the plan has no such stage, a fold was trained with another plan, or could not be trained.
    """
    name = run.plan.configuration(run.configuration).previous_stage
    assert name is not None
    _check_stages(run)
    stage, options = RunFolder(request.workspace.runs / run.plan.name / name), request.options
    splits = _splits(run, request)
    states = request.ranks.shared(lambda: {fold: _state(stage.fold(fold)) for fold in splits})
    missing = [fold for fold, state in states.items() if state != "finished"]
    if missing and options.continues:
        raise ModelError(
            f"The folds {', '.join(missing)} of the previous stage {stage.path} no longer exist.",
            f"Put them back, or move {run.files.path} away and train again without --resume or --extend.",
        )
    for fold in splits:
        if states[fold] != "new":
            _check_plan(run, name, stage.fold(fold))  # before hours are spent on the others
        if states[fold] == "begun" and options.budget_seconds is not None:
            check_has_budget(stage.fold(fold))
    first_request = FirstRequest(run.files, request)
    if not options.continues:
        first_request.write()
    end_time = None
    if options.budget_seconds is not None:
        share = _BUDGET_SHARE * len(missing) / len(splits)
        end_time = request.start_time + options.budget_seconds * share
    for number, fold in enumerate(splits, start=1):
        if fold not in missing:
            continue
        to_train = len(missing) - missing.index(fold)
        budget = None if end_time is None else max(1.0, (end_time - time.monotonic()) / to_train)
        fold_options = _options_for(options, name, fold, states[fold], budget)
        part = _Part(f"{name}, fold {fold} ({number} of {len(splits)})", request.callback, first_request)
        part.say(f"stage 1 of 2: {part.name}; {run.configuration} comes after it")
        with _errors_of_part(part.name, fold_options.budget_seconds, to_train, run.files.resume_command):
            train_fold(replace(request, options=fold_options, callback=part, start_time=time.monotonic()))
    if missing:
        first_request.write()
        request.callback(Progress("train", 0, 1, {"note": f"stage 2 of 2: {run.configuration}, fold {run.files.fold}"}))
    for fold in missing:
        _check_plan(run, name, stage.fold(fold))
    return PreviousStage(stage, {fold: _split_of(stage.fold(fold), split) for fold, split in splits.items()})


@contextmanager
def _errors_of_part(part: str, share_seconds: float | None, folds: int, resume_command: str) -> Iterator[None]:
    """Turn errors of a fold into those of the whole: a budget that is too short, and a stop, after which both go on.

    Args:
        part: the fold of the previous stage that is trained in the block, for the message.
        share_seconds: the part of the budget that it gets; None where there is no budget.
        folds: how many folds of the previous stage are still to be trained.
        resume_command: the command that continues the run of the later stage.
    """
    try:
        yield
    except Stopped as error:
        raise Stopped(f"{part}: {error.message}", f"`{resume_command}` continues it.") from None
    except PlanError as error:
        if share_seconds is None:
            raise
        raise PlanError(
            f"{part} has {share_seconds:.0f} s: its share of the half of the budget that the previous stage gets. "
            f"{error.message}",
            f"Give a longer budget, or --steps in its place: the previous stage has {counted(folds, 'fold')} to train.",
        ) from None


def _check_stages(run: Run) -> None:
    """Refuse previous stages that the plan does not have, and those that come before themselves."""
    seen = [run.configuration]
    while (stage := run.plan.configuration(seen[-1]).previous_stage) is not None:
        if stage not in run.plan.configurations:
            raise PlanError(
                f"{seen[-1]} comes after {stage!r} (its previous_stage), which the plan {run.plan.name!r} does not "
                f"have; it has {', '.join(run.plan.configurations)}.",
                "The command that made the plan plans a low resolution and a cascade with `--cascade --force`.",
            )
        if stage in seen:
            raise PlanError(f"previous_stage leads in a circle: {' after '.join([*seen, stage])}.")
        seen.append(stage)


def _splits(run: Run, request: Request) -> dict[str, Fold]:
    """Return the folds that the plan has, by name; only `all` where there are too few cases for folds."""
    data = request.workspace.data_folder(run.plan, request.options.data)
    labelled = [case for case in plan_cases(run.plan_path, data, run.plan) if case.label is not None]
    folds, _ = plan_folds(run.plan_path, labelled)
    if not folds:
        return {"all": {"train": [case.id for case in labelled], "val": []}}
    return {str(number): fold for number, fold in enumerate(folds)}


def _state(fold: FoldFolder) -> str:
    """Return `finished`, `begun` or `new`; weights without a checkpoint come from elsewhere, and count as finished."""
    record = read_record(fold)
    if fold.weights.exists() and ((record is not None and record.finished) or not fold.checkpoint.exists()):
        return "finished"
    return "begun" if record is not None and fold.plan.exists() else "new"


def _split_of(fold: FoldFolder, planned: Fold) -> dict[str, list[str]]:
    """Return the cases that a fold was trained on and kept apart, as its folder says; else as planned."""
    split = json.loads(fold.split.read_text(encoding="utf-8")) if fold.split.exists() else planned
    return {"train": split["train"], "val": split["val"]}


def _options_for(
    options: TrainOptions, stage: str, fold: str, state: str, budget_seconds: float | None
) -> TrainOptions:
    """Return the options for a fold of the previous stage: those of this command for a new fold, else to resume it."""
    fold_options = replace(
        options, configuration=stage, fold=fold, init=None, budget_seconds=budget_seconds, resume=False
    )
    if state == "new":
        return replace(fold_options, overrides=overrides_for(stage, options.overrides))
    return replace(fold_options, overrides=[], resume=True, steps=None, epochs=None, budget_seconds=None, recipe=None)


def _check_plan(run: Run, stage: str, fold: FoldFolder) -> None:
    """Refuse a fold whose answers would mean something else than the plan says now."""
    keys = (*_PLAN_KEYS, *(f"configurations.{stage}.{key}" for key in _STAGE_KEYS))
    changes = [change for change in differences(load_plan(fold.plan), run.plan, stage) if change.key.startswith(keys)]
    if changes:
        lines = "\n  ".join(map(str, changes))
        raise PlanError(
            f"{fold.path}, of the stage before, was trained with another plan (there -> now):\n  {lines}",
            f"Move {fold.run.path} away to have it trained again, or undo the change in {run.plan_path}.",
        )


@dataclass(frozen=True)
class _Part:
    """A callback that says which part of the work its events are of.

    Attributes:
        name: the name of the part.
        callback: the callback of the command.
        first_request: kept up to date while the part goes on.
    """

    name: str
    callback: Callback
    first_request: FirstRequest

    def __call__(self, event: Progress) -> None:
        self.first_request.write_if_due()
        self.callback(replace(event, info={"part": self.name, **event.info}))

    def say(self, note: str) -> None:
        """Show a note before the part begins."""
        self.first_request.write()
        self.callback(Progress("train", 0, 1, {"part": self.name, "note": note}))
