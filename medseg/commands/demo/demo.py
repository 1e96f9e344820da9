"""`medseg demo`: the whole way once, on a generated phantom set."""

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
from medseg.core.progress import Callback, silent
from medseg.evaluation.result import Evaluation

NAME = "demo"
_MARK = ".medseg-demo"
_CASES = 30
_SEED = 1
_FEWEST_STEPS = 100


@dataclass(frozen=True)
class DemoResult:
    """What each step of the demonstration gave."""

    folder: Path
    plan: PlanResult
    training: TrainResult
    prediction: PredictResult
    evaluation: Evaluation


def demo(
    folder: str | Path = "medseg-demo",
    budget_seconds: float = 75.0,
    callback: Callback = silent,
    say: Callable[[str], None] = lambda text: None,
) -> DemoResult:
    """Make a phantom set in `folder`, plan, train within the budget, segment its test cases, and score them.

    Args:
        budget_seconds: wall-clock time for training.
        say: called with the command that each step stands for, before the step.

    Raises:
        DataError: `folder` holds something else than an earlier demonstration.
    """
    place = Path(folder)
    if place.exists() and any(place.iterdir()) and not (place / _MARK).exists():
        raise DataError(f"{place} is not empty.", "Name another folder: medseg demo FOLDER")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / _MARK).touch()
    data = place / "dataset"
    make_phantom(data, _CASES, _SEED, callback)
    say("medseg plan dataset --preset cpu")
    made = plan(data, place, NAME, PlanOptions(preset="cpu"), callback)
    say(f"medseg train --fold 0 --budget {budget_seconds:.0f}s")
    try:
        trained = train(NAME, place, TrainOptions(budget_seconds=budget_seconds), callback)
    except PlanError as error:  # a machine too slow for the budget still shows the whole way
        say(f"medseg train --fold 0 --steps {_FEWEST_STEPS}   # {error.message}")
        trained = train(NAME, place, TrainOptions(steps=_FEWEST_STEPS), callback)
    say("medseg predict dataset/imagesTs predictions")
    predicted = predict(data / "imagesTs", place / "predictions", None, place, PredictOptions(), callback)
    say("medseg evaluate predictions dataset/labelsTs")
    scored = evaluate(place / "predictions", data / "labelsTs", callback=callback)
    return DemoResult(place, made, trained, predicted, scored)
