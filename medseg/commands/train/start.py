"""How a run starts: its number of steps, its schedule, and the record of how it came about."""

from __future__ import annotations

import platform
import shlex
from dataclasses import replace
from typing import Any

import torch

from medseg import __version__
from medseg.commands.train.job import Job
from medseg.commands.train.options import Extension, TrainOptions
from medseg.commands.train.validate import validation_seconds
from medseg.core.files import content_hash
from medseg.core.wording import counted
from medseg.models.run import NetworkFactory
from medseg.training.length.budget import Time, ValidationSeconds, Work, fit_to_budget, keep_to_budget
from medseg.training.length.steering import Redirection
from medseg.training.run.setup import Setup


def start_of(
    job: Job, options: TrainOptions, started: float, factory: NetworkFactory | None
) -> tuple[Job, dict[str, Any]]:
    """The job with its number of steps, and the run's record from here on.

    Args:
        started: `time.monotonic()` when the command began.

    Raises:
        PlanError: a budget leaves too little time to train at all.
    """
    if options.extend is not None:
        return _extended(job, options.extend, started)
    if options.resume:
        return _resumed(job, started)
    if options.budget_seconds is not None:
        job = _in_budget(job, Time(options.budget_seconds, started))
    return job, _record(job, options, factory)


def _in_budget(job: Job, clock: Time) -> Job:
    """With as many steps as a budget leaves time for, and as many validations."""
    setup = fit_to_budget(job.setup, _work(job), clock)
    planned, left = job.setup.plan.training, setup.plan.training.validations
    if left == planned.validations:
        return replace(job, setup=setup)
    note = f"Dice is measured {counted(left, 'time')} instead of {planned.validations}, to keep to the budget"
    if planned.patience > 0 and left <= planned.patience:
        note += f": too rarely for an early end (training.patience is {planned.patience})"
    return replace(job, setup=setup, notes=[*job.notes, note])


def _resumed(job: Job, started: float) -> tuple[Job, dict[str, Any]]:
    """As the run was begun; with fewer steps where its budget does not leave time for all of them."""
    run, steps = job.run, job.setup.course.steps
    record = _with_changes(job)
    budget = record.get("budget_seconds")
    if budget is None or run.step >= steps:
        return job, record
    setup = keep_to_budget(job.setup, _work(job), Time(budget, started - run.seconds), run.step)
    if setup.course.steps == steps:
        return replace(job, setup=setup), record
    change = Redirection(run.step, steps, setup.course.steps, "to keep to the budget")
    note_redirection(record, setup, change)
    return replace(job, setup=setup, notes=[*job.notes, str(change)]), record


def note_redirection(record: dict[str, Any], setup: Setup, change: Redirection) -> None:
    """Have the record say how the course was changed; the run is then no longer one that a command repeats."""
    one = {"step": change.step, "key": "steps", "old": change.old, "new": change.new, "why": change.why}
    record |= {**_of_setup(record, setup), "changes": [*record.get("changes", []), one], "repeat_with": None}
    record["ended_early"] = setup.course.ended_early
    extended = record.get("extended", [])
    if extended:
        extended[-1]["to_step"] = change.new


def _extended(job: Job, extension: Extension, started: float) -> tuple[Job, dict[str, Any]]:
    """A finished run with a new schedule after its last step."""
    run, setup = job.run, job.setup
    record = _with_changes(job)
    if extension.seconds is not None:
        job = _in_budget(job, Time(extension.seconds, started, run.seconds))
        more, pace = job.setup.course.steps, job.setup.course.pace
        record["budget_seconds"] = round(run.seconds + extension.seconds, 1)
    else:
        more, pace = extension.more(setup.course.steps), None
        record["budget_seconds"] = None
    longer = replace(job.setup, course=replace(setup.course.extended(more), pace=pace))
    one = {"from_step": setup.course.steps, "to_step": longer.course.steps, "asked": str(extension)}
    record = {**_of_setup(record, longer), "extended": [*record.get("extended", []), one]}
    if record.get("repeat_with"):
        same = shlex.join(["medseg", "train", *_names(job), "--extend", str(more)])
        record["repeat_with"] = f"{record['repeat_with']} && {same}"
    for key in ("finished", "ended_early", "train_seconds", "seconds"):
        record.pop(key, None)
    return replace(job, setup=longer), record


def _with_changes(job: Job) -> dict[str, Any]:
    """The record of a run that goes on, with what changes in its plan from here on."""
    run = job.run
    if not run.changes:
        return dict(run.record)
    changes = [{"step": run.step, "key": one.key, "old": one.old, "new": one.new} for one in run.changes]
    return {**run.record, "changes": [*run.record.get("changes", []), *changes], "repeat_with": None}


def _of_setup(record: dict[str, Any], setup: Setup) -> dict[str, Any]:
    return {**record, "steps": setup.course.steps, "schedule": [list(leg) for leg in setup.course.legs]}


def _work(job: Job) -> Work:
    def measure() -> ValidationSeconds:
        return validation_seconds(job.probe, job.network, job.predictor(job.network), job.held_out)

    return Work(job.network, job.samples, lambda: ValidationSeconds(*job.setup.ranks.shared(measure)))


def _names(job: Job) -> list[str]:
    """Options that name a run."""
    return ["--plan", job.run.plan_path.stem, "--fold", job.run.fold, "--config", job.run.configuration]


def _qualified_name(factory: NetworkFactory) -> str:
    """Return module and name of a function or class, or those of an object's class."""
    named = factory if hasattr(factory, "__qualname__") else type(factory)
    return f"{named.__module__}.{named.__qualname__}"


def _record(job: Job, options: TrainOptions, factory: NetworkFactory | None) -> dict[str, Any]:
    """How this run came about, for whoever reads its folder later; a run that goes on keeps the record of its start."""
    setup, run = job.setup, job.run
    given = (("--init", options.init), ("--recipe", options.recipe))
    begun = [str(part) for pair in given if pair[1] is not None for part in pair]
    settings = [part for text in options.overrides for part in ("--set", text)]
    return {
        "configuration": run.configuration,
        "fold": run.fold,
        "steps": setup.course.steps,
        "budget_seconds": options.budget_seconds,
        "repeat_with": shlex.join([*_names(job), "--steps", str(setup.course.steps), *begun, *settings]),
        "overrides": options.overrides,
        "recipe": options.recipe,
        "init": None if job.start is None else {**job.start.record(), "asked": str(options.init)},
        "device": str(setup.device),
        "processes": setup.ranks.size,
        "precision": str(setup.precision).removeprefix("torch."),
        "network_factory": None if factory is None else _qualified_name(factory),
        "plan_hash": content_hash(run.plan_path),
        "medseg": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
