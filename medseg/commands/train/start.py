"""The number of steps of a run and its record, before its first step."""

from __future__ import annotations

import platform
import shlex
from dataclasses import replace
from typing import Any

import torch

from medseg import __version__
from medseg.commands.train.cases import unread_so_far
from medseg.commands.train.job import Job
from medseg.commands.train.options import TrainOptions
from medseg.commands.train.run import Request
from medseg.core.files import content_hash
from medseg.core.options import words_to_repeat
from medseg.core.wording import counted, duration
from medseg.models.model import NetworkFactory
from medseg.models.record import ChangeRecord, EncoderWeightsRecord, RunRecord, StartRecord
from medseg.plans.sections.training import Training
from medseg.training.length.steering import describe_steps_change, steps_change
from medseg.training.run.setup import Setup

_MANY_STEPS = 50
"""Of fewer, no time is said before the first one."""


def decide_length(job: Job, request: Request) -> tuple[Setup, ChangeRecord | None, list[str]]:
    """Decide how many steps a run makes in this session.

    Args:
        job: the run that is ready to start.
        request: the request of the command.

    Returns:
        The setup with its course; the change of the number of steps, where a run that goes on has no time for all of
        them; and notes for the user.

    Raises:
        PlanError: a budget leaves too little time to train at all.
    """
    setup, record, options = job.setup, job.run.record, request.options
    if options.extend is not None:
        budget_seconds = options.extend.seconds
    elif options.resume:
        budget_seconds = None if record is None else record.budget_seconds
    else:
        budget_seconds = options.budget_seconds
    if budget_seconds is not None:
        return _in_time(job, request, budget_seconds)
    if options.extend is not None:
        setup = replace(setup, course=setup.course.extended(options.extend.more(setup.course.steps)))
    return setup, None, _expected_time(setup.course.steps - job.run.step, _step_seconds(job, setup))


def _in_time(job: Job, request: Request, budget_seconds: float) -> tuple[Setup, ChangeRecord | None, list[str]]:
    """Decide the length of a run with a time budget, by measuring what steps and validations take."""
    from medseg.training.length.budget import Time, ValidationSeconds, Work, fit_to_budget, keep_to_budget

    def measure() -> ValidationSeconds:
        from medseg.commands.train.validation_time import validation_seconds

        return validation_seconds(job.probe, job.network, job.predictor(job.network), job.held_out)

    setup, run, start_time = job.setup, job.run, request.start_time
    work = Work(job.network, job.samples, lambda: ValidationSeconds(*request.ranks.shared(measure)))
    if request.options.resume:
        if run.step >= setup.course.steps:
            return setup, None, []
        # the budget is that of the whole run: it began to run before this command did, by the time already used
        kept = keep_to_budget(setup, work, Time(budget_seconds, start_time - run.seconds), run.step)
        if kept.course.steps == setup.course.steps:
            return kept, None, []
        change = steps_change(run.step, setup.course.steps, kept.course.steps, "to keep to the budget")
        return kept, change, [describe_steps_change(change)]
    fitted = fit_to_budget(setup, work, Time(budget_seconds, start_time, run.seconds))
    if request.options.extend is not None:
        course = setup.course.extended(fitted.course.steps)
        fitted = replace(fitted, course=replace(course, pace=fitted.course.pace))
    return fitted, None, _fewer_validations(setup.plan.training, fitted.plan.training)


def _step_seconds(job: Job, setup: Setup) -> float | None:
    """Return about what a step takes, judged by a part of a patch, where many are to come."""
    if setup.ranks.size > 1 or setup.course.steps - job.run.step < _MANY_STEPS:
        return None
    from medseg.training.length.quick_look import estimated_step_seconds

    return estimated_step_seconds(job.network, setup.plan, setup.configuration, setup.device)


def _expected_time(steps: int, step_seconds: float | None) -> list[str]:
    """Return a note on how long a number of steps takes, where that is known.

    >>> _expected_time(1000, 0.4)
    ['about 6:40 for 1000 steps, validations not counted']
    """
    if step_seconds is None or steps <= 0:
        return []
    return [f"about {duration(steps * step_seconds)} for {counted(steps, 'step')}, validations not counted"]


def _fewer_validations(planned: Training, fitted: Training) -> list[str]:
    """Return a note if a budget has no time for all validations."""
    if fitted.validations == planned.validations:
        return []
    times = counted(fitted.validations, "time")
    note = f"Dice is measured {times} instead of {planned.validations}, to keep to the budget"
    if planned.patience > 0 and fitted.validations <= planned.patience:
        note += f": too rarely for an early end (training.patience is {planned.patience})"
    return [note]


def first_record(job: Job, setup: Setup, change: ChangeRecord | None, request: Request) -> RunRecord:
    """Return the record of a run as its session begins.

    Args:
        job: the run that is ready to start.
        setup: with the course that was decided.
        change: the change of the number of steps that was decided; None for none.
        request: the request of the command.
    """
    if job.run.record is None:
        return _new_record(job, setup, request)
    options = request.options
    run, course, extend = job.run, setup.course, options.extend
    failed = unread_so_far(run, job.failed, job.split["train"])
    record = job.run.record.updated(failed=failed or None, **_places(job, request)).changed(
        [ChangeRecord(step=run.step, key=planned.key, old=planned.old, new=planned.new) for planned in run.changes]
    )
    if extend is not None:
        budget_seconds = None if extend.seconds is None else round(run.seconds + extend.seconds, 1)
        more = course.steps - job.setup.course.steps
        command = shlex.join(["medseg", "train", *_names(job, request), "--extend", str(more), *_data_words(options)])
        return record.with_extension(course.legs, str(extend), budget_seconds, command)
    return record if change is None else record.redirected(course.legs, change, course.ended_early)


def _data_words(options: TrainOptions) -> list[str]:
    """Return `--data` as it was given, for a command that repeats this one."""
    return [] if options.data is None else ["--data", str(options.data)]


def _names(job: Job, request: Request) -> list[str]:
    """Return the options that name a run."""
    run = job.run
    plan: str = _places(job, request)["plan_file"] or run.plan_path.stem
    return ["--plan", plan, "--fold", run.files.fold, "--config", run.configuration]


def _places(job: Job, request: Request) -> dict[str, Any]:
    """Return where a plan outside of the workspace lies, and a data set that is not where its plan says; else None.

    A run goes on with the same ones, whichever of its copies a command names.
    """
    path, record = job.run.plan_path, job.run.record
    plan_file: str | None = None
    if path.absolute() == job.run.files.plan.absolute():
        plan_file = None if record is None else record.plan_file
    elif path.absolute().parent != request.workspace.plans.absolute():
        plan_file = str(path)
    return {"plan_file": plan_file, "data": None if request.options.data is None else str(request.options.data)}


def _qualified_name(factory: NetworkFactory) -> str:
    """Return module and name of a function or class, or those of an object's class."""
    named = factory if hasattr(factory, "__qualname__") else type(factory)
    return f"{named.__module__}.{named.__qualname__}"


def _new_record(job: Job, setup: Setup, request: Request) -> RunRecord:
    options, run, factory = request.options, job.run, request.factory
    planned = run.plan.training.validations
    start = None if job.start is None else StartRecord(**job.start.record(), asked=str(options.init))
    weights = None if job.encoder_weights is None else EncoderWeightsRecord(**job.encoder_weights.record())
    return RunRecord(
        configuration=run.configuration,
        fold=run.files.fold,
        steps=setup.course.steps,
        epochs=options.epochs,
        budget_seconds=options.budget_seconds,
        validations=planned if setup.plan.training.validations != planned else None,
        repeat_with=shlex.join([*_names(job, request), "--steps", str(setup.course.steps), *words_to_repeat(options)]),
        overrides=options.overrides,
        recipe=options.recipe,
        init=start,
        encoder_weights=weights,
        device=str(setup.device),
        processes=setup.ranks.size,
        precision=str(setup.precision).removeprefix("torch."),
        network_factory=None if factory is None else _qualified_name(factory),
        failed=job.failed or None,
        **_places(job, request),
        plan_hash=content_hash(run.plan_path),
        medseg=__version__,
        torch=torch.__version__,
        python=platform.python_version(),
    )
