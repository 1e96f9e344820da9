"""Train the missing folds of a cross-validation, then score the out-of-fold answers of each configuration together."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.commands.crossval.options import CrossvalOptions
from medseg.commands.crossval.out_of_fold import OutOfFold, score_out_of_fold
from medseg.commands.train.cases import plan_folds
from medseg.commands.train.options import TrainOptions
from medseg.commands.train.train import TrainResult, train
from medseg.core.case import Case
from medseg.core.errors import Cancelled, DataError, MedsegError, PlanError, Stopped
from medseg.core.progress import Callback, Progress, silent
from medseg.core.wording import counted, summary_line
from medseg.models.run_files import FoldFolder, RunFolder
from medseg.models.workspace import Workspace, plan_cases
from medseg.planning.recipe import load_plan_to_train
from medseg.plans.schema import Plan


@dataclass(frozen=True)
class FoldOutcome:
    """What became of one fold.

    Attributes:
        configuration: its configuration.
        fold: its number, as text.
        result: its training; None where it failed.
        problem: why it failed; None where it did not.
    """

    configuration: str
    fold: str
    result: TrainResult | None = None
    problem: str | None = None

    @property
    def name(self) -> str:
        """Configuration and fold, such as `3d_fullres, fold 0`."""
        return f"{self.configuration}, fold {self.fold}"


@dataclass(frozen=True)
class CrossvalResult:
    """A cross-validation.

    Attributes:
        folds: the folds, in the order in which they were trained.
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
    folds = _folds(path, cases, options)
    jobs = [(configuration, fold) for configuration in configurations for fold in folds]
    share = None if options.budget_seconds is None else options.budget_seconds / len(jobs)
    replace(options.training, budget_seconds=share).check()
    outcomes: list[FoldOutcome] = []
    for number, (configuration, fold) in enumerate(jobs):
        callback(Progress("folds", number, len(jobs)))
        files = RunFolder(space.runs / planned.name / configuration).fold(fold)
        fold_options = _options_of_fold(files, replace(options.training, configuration=configuration, fold=fold), share)
        part = f"fold {fold}" if len(configurations) == 1 else f"{configuration} fold {fold}"
        outcomes.append(_train_fold(path, space.folder, fold_options, _with_part(callback, part)))
    callback(Progress("folds", len(jobs), len(jobs)))
    scores = {}
    for configuration in configurations:
        run = RunFolder(space.runs / planned.name / configuration)
        trained = [run.fold(fold.fold) for fold in outcomes if fold.configuration == configuration and fold.result]
        if trained:
            scores[configuration] = score_out_of_fold(run, trained, cases, data_folder, options, callback)
    if not scores:
        raise DataError(
            "No fold could be trained:\n" + "\n".join(f"  {fold.name}: {fold.problem}" for fold in outcomes),
        )
    return CrossvalResult(tuple(outcomes), scores)


def _refuse_torchrun() -> None:
    """Refuse to be one of several processes: each would decide by itself which folds are still to be trained."""
    processes = os.environ.get("WORLD_SIZE", "1")
    if processes != "1":
        raise PlanError(
            f"medseg crossval was started as one of {processes} processes by torchrun; it trains a fold after another.",
            "Train each fold with `torchrun ... -m medseg train --fold 0`; then `medseg crossval` scores all.",
        )


def _configurations(plan: Plan, options: CrossvalOptions) -> tuple[str, ...]:
    """Return the configurations that are meant.

    Raises:
        PlanError: the plan has no such configuration.
    """
    chosen = options.configurations or (plan.default_configuration,)
    for name in chosen:
        if name not in plan.configurations:
            raise PlanError(
                f"The plan {plan.name!r} has no configuration {name!r}; it has {', '.join(plan.configurations)}."
            )
    return chosen


def _folds(plan_path: Path, cases: Sequence[Case], options: CrossvalOptions) -> list[str]:
    """Return the folds that are meant.

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
    return [fold for fold in numbers if fold in options.folds or not options.folds]


def _options_of_fold(files: FoldFolder, options: TrainOptions, budget_seconds: float | None) -> TrainOptions:
    """Return the options that train a fold, or go on with one that has begun, which keeps its own settings."""
    if files.record.exists() or files.request.exists():
        return TrainOptions(options.fold, options.configuration, resume=True, device=options.device, data=options.data)
    return replace(options, budget_seconds=budget_seconds, start_time=None)


def _train_fold(plan: Path, workspace: Path, options: TrainOptions, callback: Callback) -> FoldOutcome:
    """Train a fold, and return what became of it; only a wish to stop is raised."""
    assert options.configuration is not None
    try:
        result = train(plan, workspace, options, callback)
    except (Cancelled, Stopped):
        raise
    except MedsegError as error:
        problem = str(error)
        if options.budget_seconds is not None and "--budget" in problem:
            share = f"a fold's share is {options.budget_seconds:g} s now"
            problem += f"\nThat is the time of one fold, and --budget of medseg crossval is for all of them: {share}."
        return FoldOutcome(options.configuration, options.fold, problem=problem)
    return FoldOutcome(options.configuration, options.fold, result)


def _with_part(callback: Callback, part: str) -> Callback:
    """Return a callback that names the fold in every event, and in its notes."""

    def show(event: Progress) -> None:
        info = {**event.info, "part": part}
        if "note" in info:
            info["note"] = f"{part}: {info['note']}"
        callback(replace(event, info=info))

    return show
