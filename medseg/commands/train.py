"""`medseg train`: from a plan to a trained and scored fold."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from medseg import __version__
from medseg.case import Case
from medseg.commands.validate import DiceProbe, validate_fold
from medseg.commands.workspace import Workspace, plan_cases, splits_path
from medseg.delivery.pictures import training_curves
from medseg.errors import DataError, ModelError, PlanError
from medseg.evaluation.summary import Summary
from medseg.files import content_hash, write_json
from medseg.inference.predictor import Predictor
from medseg.io.load import load_case_image
from medseg.models.run import PLAN, RECORD, WEIGHTS, Model, NetworkFactory, make_network, read_record, save_weights
from medseg.networks.device import choose_device, choose_precision
from medseg.plan_file import load_plan, save_plan
from medseg.planning.splits import patient_leaks, read_splits
from medseg.preprocessing.cache import Sample, load_samples
from medseg.progress import Callback, silent
from medseg.schema import Plan
from medseg.training.batches import to_device
from medseg.training.fit import Setup, fit, seconds_per_step
from medseg.training.log import read_log

_MEASURE_SECONDS = 3.0
_MARGIN = 0.96
_FEWEST_STEPS = 20
_SAVING_SECONDS = 3.0


@dataclass(frozen=True)
class TrainOptions:
    """What may be asked of a training run.

    Attributes:
        fold: a number, or `all` to train on every case and keep none apart.
        configuration: of the plan; None for the plan's default.
        budget_seconds: wall-clock time for the whole command, preprocessing and final validation included.
        steps: number of optimizer steps; None for the plan's.
        overrides: `dotted.key=value` strings for the plan.
        resume: go on from the last checkpoint.
        device: `auto`, `cuda`, `cuda:1`, `mps` or `cpu`.
        data: where the data set lies now, if not where the plan says.
        started: `time.monotonic()` when the command began; a budget counts from there.
    """

    fold: str = "0"
    configuration: str | None = None
    budget_seconds: float | None = None
    steps: int | None = None
    overrides: list[str] = field(default_factory=list)
    resume: bool = False
    device: str = "auto"
    data: Path | None = None
    started: float | None = None


@dataclass(frozen=True)
class TrainResult:
    """A trained fold: where it lies, its record, its scores (None for `all`), notes, and the cases that failed."""

    folder: Path
    record: dict[str, Any]
    summary: Summary | None
    notes: list[str]
    failed: dict[str, str]


def train(
    plan: str | Path | None = None,
    workspace: str | Path = ".",
    options: TrainOptions | None = None,
    callback: Callback = silent,
    factory: NetworkFactory | None = None,
) -> TrainResult:
    """Train one fold and score its validation cases on full volumes.

    Raises:
        MedsegError: the plan, the data or the request is not valid.
    """
    options = options or TrainOptions()
    started = options.started or time.monotonic()
    place = Workspace(Path(workspace))
    plan_path = place.plan_path(plan)
    loaded = load_plan(plan_path, options.overrides)
    name = _configuration_name(loaded, options.configuration)
    folder = place.runs / loaded.name / name / f"fold_{options.fold}"
    _check_folder(folder, options.resume)
    cases = plan_cases(plan_path, place.data_folder(loaded, options.data), loaded)
    training, validation, notes = _fold_cases(plan_path, cases, options.fold)
    configuration = loaded.configuration(name)
    device = choose_device(options.device)
    samples, failed = load_samples([*training, *validation], loaded, configuration, place.cache / loaded.name, callback)
    ids = {case.id for case in training}
    train_samples = [sample for sample in samples if sample.case.id in ids]
    held_out = [sample for sample in samples if sample.case.id not in ids]
    if not train_samples:
        raise DataError("No training case could be read:\n  " + "\n  ".join(failed.values()))
    torch.manual_seed(loaded.training.seed)
    network = make_network(loaded, configuration, factory).to(device)
    train_samples = to_device(train_samples, device)
    precision = choose_precision(loaded.training.precision, device)
    probe = DiceProbe(loaded, configuration, device, held_out or train_samples)
    setup = Setup(loaded, configuration, options.steps or loaded.training.steps, device, precision, folder)
    predictor = Predictor(Model(loaded, name, (options.fold,), (network,), folder.parent), device)
    if options.resume:
        setup = _with_steps(setup, read_record(folder).get("steps", setup.steps))
    elif options.budget_seconds is not None and options.steps is None:
        deadline = started + options.budget_seconds
        setup = _fit_budget(setup, network, train_samples, deadline, _validation_seconds(probe, predictor, validation))
    record = _record(setup, name, options, factory, plan_path)
    save_plan(loaded, folder / PLAN)
    write_json(folder / RECORD, record)
    best = fit(network, train_samples, setup, probe, callback, options.resume)
    record["train_seconds"] = round(time.monotonic() - started, 1)
    save_weights(best, folder, record)
    summary = None
    if validation:
        predictor = Predictor(Model(loaded, name, (options.fold,), (best,), folder.parent), device)
        summary = validate_fold(
            predictor, [case for case in validation if case.id not in failed], folder / "validation", callback
        )
        failed |= summary.failed
    training_curves(read_log(folder / "log.jsonl"), folder / "curves.png")
    record["seconds"] = round(time.monotonic() - started, 1)
    write_json(folder / RECORD, record)
    return TrainResult(folder, record, summary, notes, failed)


def _configuration_name(plan: Plan, chosen: str | None) -> str:
    name = chosen or plan.default_configuration
    if name not in plan.configurations:
        raise PlanError(
            f"The plan {plan.name!r} has no configuration {name!r}; it has {', '.join(plan.configurations)}."
        )
    if plan.configuration(name).previous_stage:
        raise PlanError(
            f"{name} is the second stage of a cascade, which this version cannot train yet.", "Choose 3d_fullres."
        )
    return name


def _check_folder(folder: Path, resume: bool) -> None:
    if resume and not (folder / "checkpoint.pt").exists():
        raise ModelError(f"There is no checkpoint in {folder} to resume from.", "Leave --resume out to start anew.")
    if not resume and (folder / WEIGHTS).exists():
        raise ModelError(
            f"{folder} holds a trained model already.", "Move or delete it to train anew; nothing is overwritten."
        )


def _fold_cases(plan_path: Path, cases: list[Case], fold: str) -> tuple[list[Case], list[Case], list[str]]:
    """Training and validation cases of a fold, and what is odd about it; for `all`, every case and none."""
    labelled = [case for case in cases if case.label is not None]
    if fold == "all":
        return labelled, [], []
    folds = read_splits(splits_path(plan_path), labelled)
    if not fold.isdigit() or int(fold) >= len(folds):
        there = f"there are 0 to {len(folds) - 1}, and all" if folds else "there is only all"
        raise PlanError(f"There is no fold {fold}; {there}.")
    chosen = folds[int(fold)]
    by_id = {case.id: case for case in labelled}
    training, validation = ([by_id[one] for one in chosen[side]] for side in ("train", "val"))
    return training, validation, patient_leaks([chosen], labelled)


def _validation_seconds(probe: DiceProbe, predictor: Predictor, validation: list[Case]) -> float:
    """Time that all validations of a run will take, from one volume each way."""
    training = predictor.model.plan.training
    began = time.monotonic()
    probe.one(predictor.model.networks[0])
    during = (time.monotonic() - began) * probe.cases * (training.validations - 1)
    if not validation:
        return during
    began = time.monotonic()
    predictor(load_case_image(validation[0], len(predictor.model.plan.data.channels)))
    return during + (time.monotonic() - began) * len(validation) + _SAVING_SECONDS


def _fit_budget(
    setup: Setup, network: torch.nn.Module, samples: list[Sample], deadline: float, reserved: float
) -> Setup:
    """As many steps as the time until the deadline allows, less what is reserved for validation."""
    step = seconds_per_step(network, samples, setup, _MEASURE_SECONDS)
    left = (deadline - time.monotonic() - reserved) * _MARGIN
    if left < _FEWEST_STEPS * step:
        raise PlanError(
            f"The budget leaves {max(left, 0):.0f} s for training, and a step takes {step:.2f} s.",
            f"Ask for at least {_FEWEST_STEPS * step - left:.0f} s more.",
        )
    return _with_steps(setup, int(left / step))


def _with_steps(setup: Setup, steps: int) -> Setup:
    return Setup(setup.plan, setup.configuration, steps, setup.device, setup.precision, setup.folder)


def _record(
    setup: Setup, name: str, options: TrainOptions, factory: NetworkFactory | None, plan_path: Path
) -> dict[str, Any]:
    """How this run came about, for whoever reads its folder later."""
    return {
        "configuration": name,
        "fold": options.fold,
        "steps": setup.steps,
        "budget_seconds": options.budget_seconds,
        "repeat_with": f"--fold {options.fold} --config {name} --steps {setup.steps}",
        "overrides": options.overrides,
        "device": str(setup.device),
        "precision": str(setup.precision).removeprefix("torch."),
        "network_factory": None if factory is None else repr(factory),
        "plan_hash": content_hash(plan_path),
        "medseg": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
