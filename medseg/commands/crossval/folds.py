"""The folds of a cross-validation as jobs that any process can run, and the order of the jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.commands.crossval.processes import several_processes
from medseg.commands.train.options import TrainOptions
from medseg.commands.train.train import TrainResult, train
from medseg.core.errors import Cancelled, MedsegError, PlanError, Stopped
from medseg.core.progress import Callback
from medseg.engines.on_worker import threads_of_worker, worker_number
from medseg.models.run_files import FoldFolder, RunFolder
from medseg.models.workspace import Workspace
from medseg.networks.device import choose_devices
from medseg.plans.schema import Plan


@dataclass(frozen=True)
class FoldOutcome:
    """The outcome of one fold: its training, or why it failed.

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
class FoldJob:
    """The training of one fold.

    Attributes:
        plan: the path of the plan.
        plan_name: its name.
        workspace: folder with plans, runs and cache.
        configuration: the fold's configuration.
        fold: its number, as text.
        options: how it is trained.
        budget_seconds: its share of the budget; None where there is none.
        processes: how many train it together.
    """

    plan: Path
    plan_name: str
    workspace: Path
    configuration: str
    fold: str
    options: TrainOptions
    budget_seconds: float | None
    processes: int = 1

    @property
    def files(self) -> FoldFolder:
        """The folder of the fold."""
        return RunFolder(Workspace(self.workspace).runs / self.plan_name / self.configuration).fold(self.fold)

    def train_options(self) -> TrainOptions:
        """Return the options to train the fold; a fold that has begun is resumed with its own settings."""
        options = replace(self.options, configuration=self.configuration, fold=self.fold)
        if self.files.record.exists() or self.files.request.exists():
            return TrainOptions(self.fold, self.configuration, resume=True, device=options.device, data=options.data)
        return replace(options, budget_seconds=self.budget_seconds, start_time=None)


def train_fold(job: FoldJob, callback: Callback) -> FoldOutcome:
    """Train a fold, and return what became of it; errors are part of the outcome, only a request to stop is raised.

    Args:
        job: the fold.
        callback: receives progress and notes; may raise `Cancelled`.

    Returns:
        What became of the fold.

    Raises:
        Stopped: the callback asked to stop; the hint says how the cross-validation goes on.
    """
    options = job.train_options()
    try:
        with several_processes(job.processes, job.plan, job.workspace, options, callback) as watched:
            result = train(job.plan, job.workspace, options, watched)
    except Cancelled:
        raise
    except Stopped as error:  # whose hint goes on with this fold alone
        raise Stopped(
            f"{job.configuration}, fold {job.fold}: {error.message}",
            "The same command goes on: trained folds stay, and this one continues.",
        ) from None
    except MedsegError as error:
        problem = str(error)
        if options.budget_seconds is not None and "--budget" in problem:
            share = f"a fold's share is {options.budget_seconds:g} s now"
            problem += f"\nThat is the time of one fold, and --budget of medseg crossval is for all of them: {share}."
        return FoldOutcome(job.configuration, job.fold, problem=problem)
    return FoldOutcome(job.configuration, job.fold, result)


def train_fold_on_worker(job: FoldJob, callback: Callback) -> FoldOutcome:
    """Train a fold on a worker of a cluster, on its device if there are several: see `train_fold`.

    Args:
        job: the fold.
        callback: receives progress and notes; raises `Cancelled` once the command has ended.

    Returns:
        What became of the fold.

    Raises:
        PlanError: the worker would train several folds at once in one process.
    """
    if threads_of_worker() > 1:
        raise PlanError(
            f"A worker has {threads_of_worker()} threads, and would train as many folds at once in one process.",
            "Start workers that do one thing at a time: dask worker ADDRESS --nthreads 1",
        )
    devices = choose_devices(job.options.device)
    several = len(devices) > 1 and job.processes == 1  # of several processes each takes its own
    device = str(devices[worker_number() % len(devices)]) if several else job.options.device
    return train_fold(replace(job, options=replace(job.options, device=device)), callback)


def waves(jobs: Sequence[FoldJob], plan: Plan) -> list[list[FoldJob]]:
    """Return the jobs in groups that run one after another; the jobs of one group can run at the same time.

    The folds of a cascade's later stage need all folds of the stage before. Where these are not among the jobs, the
    first fold of the later stage trains them, and the others wait for it.

    Args:
        jobs: in the order in which the user named them.
        plan: the plan of all of them.
    """
    of_configuration: dict[str, list[FoldJob]] = {}
    for job in jobs:
        of_configuration.setdefault(job.configuration, []).append(job)
    groups: dict[int, list[FoldJob]] = {}
    for name, folds in of_configuration.items():
        before = _stages_before(name, plan)
        depth = 2 * sum(stage in of_configuration for stage in before)
        alone = 1 if before and before[0] not in of_configuration else len(folds)
        groups.setdefault(depth, []).extend(folds[:alone])
        groups.setdefault(depth + 1, []).extend(folds[alone:])
    return [group for _, group in sorted(groups.items()) if group]


def _stages_before(name: str, plan: Plan) -> list[str]:
    """Return the stages before a configuration, the last one first; training refuses a cycle of stages."""
    stages: list[str] = []
    stage = plan.configuration(name).previous_stage
    while stage is not None and stage not in stages and stage in plan.configurations:
        stages.append(stage)
        stage = plan.configuration(stage).previous_stage
    return stages
