"""The number of steps of a run and its record, before its first step."""

from __future__ import annotations

import platform
import shlex

import torch

from medseg import __version__
from medseg.commands.train.job import Job
from medseg.commands.train.run import Request
from medseg.core.files import content_hash
from medseg.models.model import NetworkFactory
from medseg.models.record import ChangeRecord, RunRecord, StartRecord
from medseg.training.length.budget import ValidationSeconds, Work
from medseg.training.length.start import Earlier, Length, set_length
from medseg.training.length.steering import Redirection
from medseg.training.run.setup import Setup


def decide_length(job: Job, request: Request) -> Length:
    """Decide how many steps a run makes in this session.

    Args:
        job: the run that is ready to start.
        request: what the user asked for.

    Raises:
        PlanError: a budget leaves too little time to train at all.
    """
    run, ranks = job.run, request.ranks
    budget_seconds = None if run.record is None else run.record.budget_seconds

    def measure() -> ValidationSeconds:
        from medseg.commands.train.validate import validation_seconds

        return validation_seconds(job.probe, job.network, job.predictor(job.network), job.held_out)

    work = Work(job.network, job.samples, lambda: ValidationSeconds(*ranks.shared(measure)))
    earlier = Earlier(run.step, run.seconds, budget_seconds)
    return set_length(job.setup, request.options.length, work, earlier, request.start_time)


def first_record(job: Job, length: Length, request: Request) -> RunRecord:
    """Return the record of a run as its session begins.

    Args:
        job: the run that is ready to start.
        length: the length that was decided.
        request: what the user asked for.
    """
    if job.run.record is None:
        return _new_record(job, length.setup, request)
    run, course, extend = job.run, length.setup.course, request.options.extend
    record = job.run.record.changed(
        [ChangeRecord(step=run.step, key=change.key, old=change.old, new=change.new) for change in run.changes]
    )
    if extend is not None:
        budget_seconds = None if extend.seconds is None else round(run.seconds + extend.seconds, 1)
        more = course.steps - job.setup.course.steps
        command = shlex.join(["medseg", "train", *_names(job), "--extend", str(more)])
        return record.with_extension(course.legs, str(extend), budget_seconds, command)
    return record if length.change is None else redirected(record, length.setup, length.change)


def redirected(record: RunRecord, setup: Setup, change: Redirection) -> RunRecord:
    """Return the record of a run that ends at another step.

    Args:
        record: the record so far.
        setup: the setup of the run, from now on.
        change: the change of the number of steps.
    """
    noted = ChangeRecord(step=change.step, key="steps", old=change.old, new=change.new, why=change.why)
    return record.redirected(setup.course.legs, noted, setup.course.ended_early)


def _names(job: Job) -> list[str]:
    """Return the options that name a run."""
    run = job.run
    return ["--plan", run.plan_path.stem, "--fold", run.files.fold, "--config", run.configuration]


def _qualified_name(factory: NetworkFactory) -> str:
    """Return module and name of a function or class, or those of an object's class."""
    named = factory if hasattr(factory, "__qualname__") else type(factory)
    return f"{named.__module__}.{named.__qualname__}"


def _new_record(job: Job, setup: Setup, request: Request) -> RunRecord:
    options, run, factory = request.options, job.run, request.factory
    given = (("--init", options.init), ("--recipe", options.recipe))
    start_options = [str(part) for pair in given if pair[1] is not None for part in pair]
    settings = [part for text in options.overrides for part in ("--set", text)]
    start = None if job.start is None else StartRecord(**job.start.record(), asked=str(options.init))
    return RunRecord(
        configuration=run.configuration,
        fold=run.files.fold,
        steps=setup.course.steps,
        budget_seconds=options.budget_seconds,
        repeat_with=shlex.join([*_names(job), "--steps", str(setup.course.steps), *start_options, *settings]),
        overrides=options.overrides,
        recipe=options.recipe,
        init=start,
        device=str(setup.device),
        processes=setup.ranks.size,
        precision=str(setup.precision).removeprefix("torch."),
        network_factory=None if factory is None else _qualified_name(factory),
        plan_hash=content_hash(run.plan_path),
        medseg=__version__,
        torch=torch.__version__,
        python=platform.python_version(),
    )
