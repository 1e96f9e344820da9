"""The stages before a cascade's later one: what of their folds is missing is trained first, by the same command."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medseg.commands.train.job import SPLIT, plan_folds
from medseg.commands.train.options import TrainOptions
from medseg.commands.train.previous_answers import Before
from medseg.commands.train.run import Run, run_of
from medseg.core.errors import ModelError, PlanError
from medseg.core.files import write_json
from medseg.core.progress import Callback, Progress
from medseg.models.model import overrides_for
from medseg.models.run import PLAN, WEIGHTS, read_record
from medseg.models.workspace import Workspace, plan_cases
from medseg.planning.splits import Fold
from medseg.plans.changes import differences
from medseg.plans.file import load_plan
from medseg.training.run.checkpoint import CHECKPOINT
from medseg.training.step.ranks import Ranks

ASKED = "asked.json"
"""What was asked of a later stage, in its folder, while the stages before it are trained."""

_FOR_FOLDS = 0.5
"""Share of a budget for the stage before, where all of its folds are to be trained."""
_WRITE_SECONDS = 10.0
_OF_STAGE = ("spacing_mm", "normalization", "resample_image", "network", "previous_stage")
_OF_PLAN = ("data.", "labels", "orientation", "transpose_forward")

TrainFold = Callable[[TrainOptions, Callback], Any]
"""Trains the fold that the options name, to its end."""


def as_asked(choice: str | Path | None, place: Workspace, options: TrainOptions) -> TrainOptions:
    """The options of a command that goes on: where it was stopped before the last stage began, those it began with."""
    if not options.resume:
        return options
    folder = run_of(choice, place, options).folder
    if read_record(folder) or not (folder / ASKED).exists():
        return options
    asked = json.loads((folder / ASKED).read_text(encoding="utf-8"))
    seconds = asked.pop("seconds")
    asked["overrides"] = [*asked["overrides"], *options.overrides]
    return replace(options, resume=False, started=(options.started or time.monotonic()) - seconds, **asked)


def train_before(
    run: Run, place: Workspace, options: TrainOptions, callback: Callback, train_fold: TrainFold, ranks: Ranks
) -> Before | None:
    """Have every fold of the stage before trained; None for a configuration that is no later stage.

    Folds that were begun go on, and those that are finished stay as they are.

    Raises:
        MedsegError: the plan has no such stage, a fold was trained with another plan, or could not be trained.
    """
    name = run.plan.configuration(run.configuration).previous_stage
    if name is None:
        return None
    _check_stages(run)
    folder = place.runs / run.plan.name / name
    splits = _splits(run, place, options)
    states = ranks.shared(lambda: {fold: _state(folder / f"fold_{fold}") for fold in splits})
    missing = [fold for fold, state in states.items() if state != "finished"]
    if missing and options.goes_on:
        raise ModelError(
            f"The folds {', '.join(missing)} of {folder}, the stage before, are not there any more.",
            "Put them back, or train anew.",
        )
    for fold in splits:
        if states[fold] != "new":
            _check_plan(run, name, folder / f"fold_{fold}")  # before hours are spent on the others
    started = options.started or time.monotonic()
    asked = _Asked(run.folder / ASKED, options, started, ranks.first)
    if not options.goes_on:
        asked.write()
    if missing:
        ends = None
        if options.budget_seconds is not None:
            ends = started + options.budget_seconds * _FOR_FOLDS * len(missing) / len(splits)
        for number, fold in enumerate(splits, start=1):
            if fold not in missing:
                continue
            left = len(missing) - missing.index(fold)
            share = None if ends is None else max(1.0, (ends - time.monotonic()) / left)
            own = _options_of(options, name, fold, states[fold], share)
            part = _Part(f"{name}, fold {fold} ({number} of {len(splits)})", callback, asked)
            part.say(f"stage 1 of 2: {part.name}; {run.configuration} comes after it")
            with _of_budget(part.name, own.budget_seconds, left):
                train_fold(own, part)
        asked.write()
        callback(Progress("train", 0, 1, {"note": f"stage 2 of 2: {run.configuration}, fold {run.fold}"}))
    for fold in missing:
        _check_plan(run, name, folder / f"fold_{fold}")
    return Before(name, folder, {fold: _split_of(folder / f"fold_{fold}", split) for fold, split in splits.items()})


@contextmanager
def _of_budget(part: str, share: float | None, parts: int) -> Iterator[None]:
    """Say that it is a part of a budget that is too short."""
    try:
        yield
    except PlanError as error:
        if share is None:
            raise
        raise PlanError(
            f"{part} has {share:.0f} s of the budget, of which half is for the stage before. {error.message}",
            f"Ask for a longer budget: {parts} folds have to be trained first, and each needs so much.",
        ) from None


def _check_stages(run: Run) -> None:
    """That the stages before are configurations of the plan, and none comes before itself."""
    seen = [run.configuration]
    while (stage := run.plan.configuration(seen[-1]).previous_stage) is not None:
        if stage not in run.plan.configurations:
            raise PlanError(
                f"{seen[-1]} comes after {stage!r} (its previous_stage), which the plan {run.plan.name!r} does not "
                f"have; it has {', '.join(run.plan.configurations)}.",
                "`medseg plan ... --cascade --force` plans a low resolution and a cascade.",
            )
        if stage in seen:
            raise PlanError(f"previous_stage leads in a circle: {' after '.join([*seen, stage])}.")
        seen.append(stage)


def _splits(run: Run, place: Workspace, options: TrainOptions) -> dict[str, Fold]:
    """The folds that the plan has, by name; `all` where there are too few cases for folds."""
    cases = plan_cases(run.plan_path, place.data_folder(run.plan, options.data), run.plan)
    labelled = [case for case in cases if case.label is not None]
    folds, _ = plan_folds(run, labelled)
    if not folds:
        return {"all": {"train": [case.id for case in labelled], "val": []}}
    return {str(number): fold for number, fold in enumerate(folds)}


def _state(fold: Path) -> str:
    """`finished`, `begun` or `new`; weights without a checkpoint come from elsewhere, and are as they are to be."""
    record = read_record(fold)
    weights, checkpoint = ((fold / name).exists() for name in (WEIGHTS, CHECKPOINT))
    if weights and (record.get("finished") or not checkpoint):
        return "finished"
    return "begun" if record and (fold / PLAN).exists() else "new"


def _split_of(fold: Path, planned: Fold) -> dict[str, list[str]]:
    """The cases that a fold was trained on and kept apart, as its folder says; else as planned."""
    path = fold / SPLIT
    split = json.loads(path.read_text(encoding="utf-8")) if path.exists() else planned
    return {"train": split["train"], "val": split["val"]}


def _options_of(options: TrainOptions, stage: str, fold: str, state: str, share: float | None) -> TrainOptions:
    """How a fold of the stage before is trained: as was asked of the later stage, or as it was begun."""
    own = replace(options, configuration=stage, fold=fold, init=None, started=time.monotonic(), budget_seconds=share)
    if state == "new":
        return replace(own, overrides=overrides_for(stage, options.overrides), resume=False)
    return replace(own, overrides=[], resume=True, steps=None, budget_seconds=None, recipe=None)


def _check_plan(run: Run, stage: str, fold: Path) -> None:
    """Refuse a fold whose answers would mean something else than the plan says now."""
    keys = (*_OF_PLAN, *(f"configurations.{stage}.{key}" for key in _OF_STAGE))
    odd = [one for one in differences(load_plan(fold / PLAN), run.plan, stage) if one.key.startswith(keys)]
    if odd:
        lines = "\n  ".join(map(str, odd))
        raise PlanError(
            f"{fold}, of the stage before, was trained with another plan (there -> now):\n  {lines}",
            f"Move {fold.parent} away to have it trained anew, or undo the change in {run.plan_path}.",
        )


@dataclass
class _Asked:
    """What was asked of the later stage and the time that the command has used, kept for one that goes on."""

    path: Path
    options: TrainOptions
    started: float
    writes: bool
    written: float = 0.0

    def write(self) -> None:
        """Write it down, if this process is the one that writes."""
        self.written = time.monotonic()
        if not self.writes:
            return
        kept = {key: getattr(self.options, key) for key in ("steps", "budget_seconds", "overrides", "recipe")}
        init = None if self.options.init is None else str(self.options.init)
        write_json(self.path, {**kept, "init": init, "seconds": round(self.written - self.started, 1)})

    def now_and_then(self) -> None:
        """Write it down every few seconds."""
        if time.monotonic() - self.written > _WRITE_SECONDS:
            self.write()


@dataclass(frozen=True)
class _Part:
    """A callback that says which part of the work its events are of."""

    name: str
    callback: Callback
    asked: _Asked

    def __call__(self, event: Progress) -> None:
        self.asked.now_and_then()
        self.callback(replace(event, info={"part": self.name, **event.info}))

    def say(self, note: str) -> None:
        """A note before the part begins."""
        self.asked.write()
        self.callback(Progress("train", 0, 1, {"part": self.name, "note": note}))
