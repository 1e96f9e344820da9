"""Train the missing folds of a cross-validation, then score the out-of-fold answers of each configuration together."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.commands.crossval.folds import FoldJob, FoldOutcome, train_fold, train_fold_on_worker, waves
from medseg.commands.crossval.options import CrossvalOptions
from medseg.commands.crossval.out_of_fold import Asked, OutOfFold, score_out_of_fold
from medseg.commands.train.earlier import asked_otherwise, check_has_budget
from medseg.core.case import Case
from medseg.core.errors import DataError, MedsegError, ModelError, PlanError
from medseg.core.progress import Callback, Progress, silent, track
from medseg.core.wording import counted, summary_line
from medseg.engines.engine import Engine, Results
from medseg.engines.open import open_engine
from medseg.models.run_files import RunFolder
from medseg.models.workspace import Workspace, plan_cases, plan_folds
from medseg.planning.recipe import load_plan_to_train
from medseg.plans.file import choose_configuration
from medseg.plans.schema import Plan


@dataclass(frozen=True)
class CrossvalResult:
    """A cross-validation.

    Attributes:
        folds: the folds, in the order of the configurations that were asked for.
        scores: {configuration: scores of its out-of-fold answers}, for those with at least one trained fold.
    """

    folds: tuple[FoldOutcome, ...]
    scores: Mapping[str, OutOfFold]

    def __repr__(self) -> str:
        dice = [
            f"{name} mean Dice {score.evaluation.summary.dice_mean:.4f}"
            for name, score in self.scores.items()
            if score.evaluation.summary.dice_mean is not None
        ]
        return summary_line(self, counted(len(self.folds), "fold"), *dice, failed=self.failed)

    @property
    def failed(self) -> dict[str, str]:
        """{fold or case: why it has no model or no score}; where there are any, the exit code is 1."""
        folds = {fold.name: fold.problem for fold in self.folds if fold.problem is not None}
        cases = {
            f"{name}, {case}": why
            for name, score in self.scores.items()
            for case, why in score.evaluation.failed.items()
        }
        unread = {
            f"{fold.name}, {case}": why
            for fold in self.folds
            if fold.result is not None
            for case, why in fold.result.failed.items()
            if f"{fold.configuration}, {case}" not in cases
        }
        return folds | cases | unread


def crossval(
    plan: str | Path | None = None,
    workspace: str | Path = ".",
    options: CrossvalOptions | None = None,
    callback: Callback = silent,
) -> CrossvalResult:
    """Train the folds that are not trained yet, and score all out-of-fold answers together.

    A fold that was interrupted goes on from its last checkpoint; a trained one is left as it is. A fold that fails is
    named, and the others go on. The scores of a configuration lie in `runs/PLAN/CONFIG/crossval`.

    Args:
        plan: name or file of the plan; None for the only one there is.
        workspace: folder with `plans/`, `runs/` and `cache/`.
        options: which configurations and folds, how long, and how each is trained.
        callback: receives progress and notes. It may raise `Cancelled` to stop; the same call goes on later.

    Returns:
        What became of each fold, and the scores of each configuration.

    Raises:
        MedsegError: the plan or the request is not valid, or no fold could be trained.
    """
    options = options or CrossvalOptions()
    _refuse_torchrun()
    space = Workspace(Path(workspace))
    path = space.plan_path(plan)
    planned = load_plan_to_train(path, options.training.overrides, options.training.recipe)
    data_folder = space.data_folder(planned, options.training.data)
    cases = plan_cases(path, data_folder, planned)
    configurations = _configurations(planned, options)
    planned_folds = _folds(path, cases, options)
    named = [(configuration, fold) for configuration in configurations for fold in planned_folds]
    share = None if options.budget_seconds is None else options.budget_seconds / len(named)
    replace(options.training, budget_seconds=share).check()
    settings = (path, planned.name, space.folder)
    length = (options.training, share, options.processes)
    jobs = [FoldJob(*settings, configuration, fold, *length) for configuration, fold in named]
    _look_at_begun(jobs, planned, share, callback)
    scores = {}
    with open_engine(options.cluster, callback) as engine:
        outcomes = _train_all(jobs, planned, engine, callback)
        for configuration in configurations:
            run = RunFolder(space.runs / planned.name / configuration)
            trained = [run.fold(fold.fold) for fold in outcomes if fold.configuration == configuration and fold.result]
            if trained:
                asked = Asked(options, run.crossval)
                scores[configuration] = score_out_of_fold(
                    run, trained, cases, planned_folds, data_folder, asked, callback, engine
                )
    if not scores:
        raise DataError(
            "No fold could be trained:\n" + "\n".join(f"  {fold.name}: {fold.problem}" for fold in outcomes),
        )
    return CrossvalResult(tuple(outcomes), scores)


def _look_at_begun(jobs: Sequence[FoldJob], plan: Plan, share: float | None, callback: Callback) -> None:
    """Refuse a budget that folds begun without one would not keep, and note what is asked of begun folds in vain.

    A fold whose record or plan is damaged is let pass: it fails by itself, and the others go on.

    Args:
        jobs: one for each fold.
        plan: with the settings that are asked for now.
        share: the budget of a fold in seconds; None where there is none.
        callback: receives the notes.

    Raises:
        PlanError: there is a budget, and a fold was begun without one.
    """
    for job in jobs:
        if share is not None:
            with suppress(ModelError):
                check_has_budget(job.files)
        with suppress(MedsegError):
            for note in asked_otherwise(job.files, plan, job.options):
                callback(Progress("folds", 0, len(jobs), {"note": note}))


def _refuse_torchrun() -> None:
    """Refuse to run under torchrun: each process would decide by itself which folds are still to be trained."""
    processes = os.environ.get("WORLD_SIZE", "1")
    if processes != "1":
        raise PlanError(
            f"medseg crossval was started as one of {processes} processes by torchrun; it starts them itself.",
            f"`medseg crossval --processes {processes}` trains each fold with as many; on several machines train each "
            "with `torchrun ... -m medseg train --fold 0`, then `medseg crossval` scores all.",
        )


def _configurations(plan: Plan, options: CrossvalOptions) -> tuple[str, ...]:
    """Return the configurations that the options name; if they name none, the plan's default configuration.

    Raises:
        PlanError: the plan has no such configuration.
    """
    return tuple(choose_configuration(plan, name) for name in options.configurations or (None,))


def _folds(plan_path: Path, cases: Sequence[Case], options: CrossvalOptions) -> dict[str, list[str]]:
    """Return {fold: the cases that it keeps apart} of the folds that the options name, else of all folds of the plan.

    Raises:
        PlanError: the plan has no folds, or not such a one.
    """
    folds, _ = plan_folds(plan_path, [case for case in cases if case.label is not None])
    numbers = [str(number) for number in range(len(folds))]
    if not numbers:
        raise PlanError(
            "The plan has no folds: its cases are of a single patient.", "`medseg train --fold all` trains on all."
        )
    unknown = [fold for fold in options.folds if fold not in numbers]
    if unknown:
        raise PlanError(f"There is no fold {unknown[0]!r}; there are 0 to {len(numbers) - 1}.")
    return {
        number: fold["val"]
        for number, fold in zip(numbers, folds, strict=True)
        if number in options.folds or not options.folds
    }


def _train_all(jobs: Sequence[FoldJob], plan: Plan, engine: Engine, callback: Callback) -> list[FoldOutcome]:
    """Train the folds that are not trained yet, one after another or on a cluster; return what became of each."""
    outcomes: dict[tuple[str, str], FoldOutcome] = {}
    several = len({job.configuration for job in jobs}) > 1
    work = train_fold_on_worker if engine.elsewhere else train_fold

    def show(job: FoldJob, event: Progress) -> None:
        part = f"{job.configuration} fold {job.fold}" if several else f"fold {job.fold}"
        _with_part(callback, part)(event)

    def results() -> Results[FoldJob, FoldOutcome]:
        for wave in waves(jobs, plan):
            yield from engine.run(work, wave, show, gpu=not wave[0].options.device.startswith("cpu"))

    with closing(results()) as trained:
        for job, result in track(trained, "folds", len(jobs), callback):
            problem = FoldOutcome(job.configuration, job.fold, problem=str(result))
            outcomes[job.configuration, job.fold] = problem if isinstance(result, MedsegError) else result
    return [outcomes[job.configuration, job.fold] for job in jobs]


def _with_part(callback: Callback, part: str) -> Callback:
    """Return a callback that names the fold in every event, and in its notes."""

    def show(event: Progress) -> None:
        info = {**event.info, "part": part}
        if "note" in info:
            info["note"] = f"{part}: {info['note']}"
        callback(replace(event, info=info))

    return show
