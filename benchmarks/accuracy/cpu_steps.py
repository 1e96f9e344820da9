"""How many training steps a time of the processor holds, so that work beside a benchmark changes none of its scores.

A wall-clock budget gives fewer steps to the run that had to share the machine. Here a step is timed by what the process
itself computes (`time.process_time`), just before the run and in the same process, and the budget becomes a number of
steps.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from copy import deepcopy
from pathlib import Path

from medseg.cli.app import _run
from medseg.commands.train.job import prepare
from medseg.commands.train.options import TrainOptions
from medseg.commands.train.run import Request, find_run
from medseg.core.progress import silent
from medseg.models.workspace import Workspace
from medseg.training.step.ranks import ALONE
from medseg.training.step.trainer import Trainer

WHOLE_SET = "all"
"""The fold of the runs that are compared: they train on all cases, and other cases score them."""
FEW_VALIDATIONS = ("training.validations=1", "training.validation_cases=1")
"""Settings under which such a run does little else than train."""
_WARM_UP_STEPS, _FEWEST_STEPS = 2, 2
_MEASURE_SECONDS = 3.0


def cpu_seconds_a_step(workspace: Path, plan: str, overrides: Sequence[str] = ()) -> float:
    """Return the processor time of a training step of a plan, batches included; with one thread that of the clock.

    Args:
        workspace: with `plans/`; the preprocessed cases are left in its cache.
        plan: name of the plan.
        overrides: settings of the plan, as for `--set` of `medseg train`.
    """
    options = TrainOptions(fold=WHOLE_SET, overrides=[*FEW_VALIDATIONS, *overrides])
    request = Request(plan, Workspace(workspace), options, silent, None, ALONE, time.monotonic())
    job = prepare(find_run(request), request)
    trainer, start, done = Trainer(deepcopy(job.network), job.setup), 0.0, -_WARM_UP_STEPS
    with closing(job.setup.batches(job.samples).ahead(0)) as batches:
        for batch in batches:
            start = time.process_time() if done == 0 else start
            trainer.step(job.setup, 0, batch).item()
            done += 1
            if done >= _FEWEST_STEPS and time.process_time() - start > _MEASURE_SECONDS:
                break
    return (time.process_time() - start) / done


def steps_in(seconds: float, workspace: Path, plan: str, overrides: Sequence[str] = ()) -> int:
    """Return how many training steps so many seconds of the processor hold; the other arguments are as above."""
    return max(1, round(seconds / cpu_seconds_a_step(workspace, plan, overrides)))


def medseg_here(*arguments: object, cwd: Path) -> None:
    """Run a command of medseg in this process, which need not start and import everything again.

    Raises:
        RuntimeError: its exit code is not 0.
    """
    words, folder, sys.argv = sys.argv, Path.cwd(), ["medseg", *map(str, arguments)]
    print("$", *sys.argv, flush=True)
    os.chdir(cwd)
    try:
        code = _run()
    finally:
        os.chdir(folder)
        sys.argv = words
    if code:
        raise RuntimeError(f"medseg {arguments[0]} ended with {code}")
