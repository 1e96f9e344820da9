"""`medseg demo`: plan, train, predict and evaluate once, on a generated phantom data set."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medseg.commands.data.options import PlanOptions
from medseg.commands.data.plan import PlanResult, plan
from medseg.commands.demo.phantom import make_phantom
from medseg.commands.evaluate.evaluate import evaluate
from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.predict import predict
from medseg.commands.predict.result import PredictResult
from medseg.commands.train.options import TrainOptions
from medseg.commands.train.train import TrainResult, train
from medseg.core.errors import DataError, PlanError
from medseg.core.files import check_folder
from medseg.core.progress import Callback, silent
from medseg.core.wording import summary_line
from medseg.evaluation.result import Evaluation

NAME = "demo"
_MARK = ".medseg-demo"
_CASES = 30
_SEED = 1
_FALLBACK_STEPS = 100
"""Trained where the machine is too slow for the budget."""


@dataclass(frozen=True)
class DemoResult:
    """The results of the steps of the demonstration.

    Attributes:
        folder: holds data set, plan, run and predictions.
        plan: the result of `medseg plan`.
        training: the result of `medseg train`.
        prediction: the result of `medseg predict`.
        evaluation: the result of `medseg evaluate`.
    """

    folder: Path
    plan: PlanResult
    training: TrainResult
    prediction: PredictResult
    evaluation: Evaluation

    def __repr__(self) -> str:
        return summary_line(self, self.folder, self.training, self.evaluation)


def demo(
    folder: str | Path = "medseg-demo",
    budget_seconds: float = 75.0,
    callback: Callback = silent,
    say: Callable[[str], None] = lambda text: None,
) -> DemoResult:
    """Make a phantom data set, plan, train within the budget, segment the test cases, and score them.

    Args:
        folder: where everything is written; an earlier demonstration in it is replaced.
        budget_seconds: wall-clock time for training.
        callback: told of the progress; may raise `Cancelled`.
        say: called before each step with the command that the step stands for.

    Returns:
        The results of the steps: the plan, the trained fold, the answers and their scores.

    Raises:
        DataError: `folder` holds something other than an earlier demonstration.
    """
    workspace = Path(folder)
    check_folder(workspace)
    if workspace.exists() and any(workspace.iterdir()) and not (workspace / _MARK).exists():
        raise DataError(f"{workspace} is not empty.", "Name another folder: medseg demo FOLDER")
    shutil.rmtree(workspace, ignore_errors=True)
    workspace.mkdir(parents=True)
    (workspace / _MARK).touch()
    data = workspace / "dataset"
    make_phantom(data, _CASES, _SEED, callback)
    say("medseg plan dataset --preset cpu")
    plan_result = plan(data, workspace, NAME, PlanOptions(preset="cpu"), callback)
    say(f"medseg train --fold 0 --budget {budget_seconds:.0f}s")
    try:
        train_result = train(NAME, workspace, TrainOptions(budget_seconds=budget_seconds), callback)
    except PlanError as error:  # a machine that is too slow for the budget still shows every step
        say(f"medseg train --fold 0 --steps {_FALLBACK_STEPS}   # {error.message}")
        train_result = train(NAME, workspace, TrainOptions(steps=_FALLBACK_STEPS), callback)
    say("medseg predict dataset/imagesTs predictions")
    predict_result = predict(data / "imagesTs", workspace / "predictions", None, workspace, PredictOptions(), callback)
    say("medseg evaluate predictions dataset/labelsTs")
    evaluation = evaluate(workspace / "predictions", data / "labelsTs", callback=callback)
    return DemoResult(workspace, plan_result, train_result, predict_result, evaluation)
