"""`medseg train`: from a plan to a trained and scored fold."""

from __future__ import annotations

import platform
import re
import shlex
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from medseg import __version__
from medseg.case import Case
from medseg.commands.budget import fit_to_budget, validation_seconds
from medseg.commands.report import write_report
from medseg.commands.validate import DiceProbe, validate_fold
from medseg.commands.workspace import Workspace, plan_cases, splits_path
from medseg.errors import DataError, ModelError, PlanError
from medseg.evaluation.summary import Summary
from medseg.files import content_hash, write_json
from medseg.inference.predictor import Predictor
from medseg.models.run import PLAN, RECORD, WEIGHTS, Model, NetworkFactory, make_network, read_record, save_weights
from medseg.networks.device import choose_device, choose_precision
from medseg.plan_file import load_plan, save_plan
from medseg.planning.annotation import check_annotated, describe_annotation
from medseg.planning.splits import make_splits, patient_leaks, read_splits
from medseg.preprocessing.cache import Sample, load_samples
from medseg.progress import Callback, silent
from medseg.schema import Plan
from medseg.training.batches import to_device
from medseg.training.fit import CHECKPOINT, fit
from medseg.training.trainer import Setup


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
    job = _prepare(plan, Workspace(Path(workspace)), options, callback, factory)
    setup = _choose_steps(job, options, started)
    folder = setup.folder
    record = _record(setup, options, factory, job.plan_path)
    save_plan(setup.plan, folder / PLAN)
    write_json(folder / RECORD, record)
    best = fit(job.network, job.samples, setup, job.probe, callback, options.resume)
    record["train_seconds"] = round(time.monotonic() - started, 1)
    save_weights(best, folder, record)
    validation = None
    if job.held_out:
        cases = [sample.case for sample in job.held_out]
        validation = validate_fold(job.predictor(best), cases, folder / "validation", callback)
    record["seconds"] = round(time.monotonic() - started, 1)
    write_json(folder / RECORD, record)
    summary = validation.summary if validation else None
    write_report(folder, setup.plan, summary, validation.scans if validation else (), job.notes)
    failed = job.failed | (summary.failed if summary else {})
    return TrainResult(folder, record, summary, job.notes, failed)


@dataclass(frozen=True)
class _Job:
    """A run that is ready to start: everything but the number of steps."""

    plan_path: Path
    setup: Setup
    network: torch.nn.Module
    samples: list[Sample]
    held_out: list[Sample]
    probe: DiceProbe
    notes: list[str]
    failed: dict[str, str]

    def predictor(self, network: torch.nn.Module) -> Predictor:
        """What a network predicts with, in this run's configuration."""
        folder = self.setup.folder
        fold = folder.name.removeprefix("fold_")
        return Predictor(
            Model(self.setup.plan, folder.parent.name, (fold,), (network,), folder.parent), self.setup.device
        )


def _prepare(
    choice: str | Path | None,
    place: Workspace,
    options: TrainOptions,
    callback: Callback,
    factory: NetworkFactory | None,
) -> _Job:
    """Read the plan, choose the cases, preprocess them, and make the network."""
    plan_path = place.plan_path(choice)
    plan = load_plan(plan_path, options.overrides)
    name = _configuration_name(plan, options.configuration)
    folder = place.runs / plan.name / name / f"fold_{_fold_name(options.fold)}"
    _check_folder(folder, options)
    if options.resume:
        plan = load_plan(folder / PLAN)
    configuration = plan.configuration(name)
    cases = plan_cases(plan_path, place.data_folder(plan, options.data), plan)
    training, validation, notes = _fold_cases(plan_path, cases, _fold_name(options.fold))
    check_annotated(training, plan.labels)
    notes = [*notes, *describe_annotation(training, plan.labels)]
    device = choose_device(options.device)
    torch.manual_seed(plan.training.seed)
    network = make_network(plan, configuration, factory).to(device)
    every, failed = load_samples([*training, *validation], plan, configuration, place.cache / plan.name, callback)
    ids = {case.id for case in training}
    samples = to_device([sample for sample in every if sample.case.id in ids], device)
    if not samples:
        raise DataError("No training case could be read:\n  " + "\n  ".join(failed.values()))
    held_out = [sample for sample in every if sample.case.id not in ids]
    if not held_out:
        notes = [*notes, "no case is kept apart, so the Dice shown while training is that of training cases"]
    probe = DiceProbe(plan, configuration, device, held_out or samples)
    precision = choose_precision(plan.training.precision, device)
    setup = Setup(plan, configuration, options.steps or plan.training.steps, device, precision, folder)
    return _Job(plan_path, setup, network, samples, held_out, probe, notes, failed)


def _choose_steps(job: _Job, options: TrainOptions, started: float) -> Setup:
    """The setup with its number of steps: that of a resumed run, what was asked for, or what the budget allows."""
    if options.resume:
        return replace(job.setup, steps=read_record(job.setup.folder).get("steps", job.setup.steps))
    if options.budget_seconds is None:
        return job.setup
    predictor = job.predictor(job.network)
    validations = validation_seconds(job.probe, job.network, predictor, job.held_out)
    return fit_to_budget(job.setup, job.network, job.samples, validations, options.budget_seconds, started)


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


def _fold_name(fold: str) -> str:
    """`all`, or a number without leading zeros."""
    if fold != "all" and not re.fullmatch(r"[0-9]+", fold):
        raise PlanError(f"There is no fold {fold!r}; a fold is a number from 0 on, or all.")
    return fold if fold == "all" else str(int(fold))


def _check_folder(folder: Path, options: TrainOptions) -> None:
    if options.steps is not None and options.budget_seconds is not None:
        raise PlanError("Both --steps and --budget were given; a run ends after one or the other.")
    if options.resume:
        if options.steps is not None or options.budget_seconds is not None or options.overrides:
            raise PlanError("--resume goes on with the run as it was; --set, --steps and --budget cannot change it.")
        if not (folder / CHECKPOINT).exists():
            raise ModelError(f"There is no checkpoint in {folder} to resume from.", "Leave --resume out to start anew.")
    elif (folder / WEIGHTS).exists():
        raise ModelError(
            f"{folder} holds a trained model already.", "Move or delete it to train anew; nothing is overwritten."
        )
    elif (folder / CHECKPOINT).exists():
        raise ModelError(
            f"{folder} holds a run that was interrupted.", "Go on with --resume, or delete the folder to start anew."
        )


def _fold_cases(plan_path: Path, cases: list[Case], fold: str) -> tuple[list[Case], list[Case], list[str]]:
    """Training and validation cases of a fold, and what is odd about it; for `all`, every case and none."""
    labelled = [case for case in cases if case.label is not None]
    if fold == "all":
        return labelled, [], []
    if splits_path(plan_path).exists():
        folds, notes = read_splits(splits_path(plan_path), labelled), []
    else:
        folds, why = make_splits(labelled, {})
        notes = [why]
    if int(fold) >= len(folds):
        there = f"there are 0 to {len(folds) - 1}, and all" if folds else "there is only all"
        raise PlanError(f"There is no fold {fold}; {there}.")
    chosen = folds[int(fold)]
    by_id = {case.id: case for case in labelled}
    training, validation = ([by_id[one] for one in chosen[side]] for side in ("train", "val"))
    unused = len(by_id) - len(training) - len(validation)
    if unused:
        notes.append(f"{unused} cases of the table are in no part of this fold; `medseg plan --force` makes folds anew")
    return training, validation, [*notes, *patient_leaks([chosen], labelled)]


def _record(setup: Setup, options: TrainOptions, factory: NetworkFactory | None, plan_path: Path) -> dict[str, Any]:
    """How this run came about, for whoever reads its folder later; a resumed run keeps the record of its start."""
    if options.resume:
        return read_record(setup.folder)
    name = setup.folder.parent.name
    settings = [part for text in options.overrides for part in ("--set", text)]
    fold = _fold_name(options.fold)
    repeat = ["--plan", plan_path.stem, "--fold", fold, "--config", name, "--steps", str(setup.steps), *settings]
    return {
        "configuration": name,
        "fold": fold,
        "steps": setup.steps,
        "budget_seconds": options.budget_seconds,
        "repeat_with": shlex.join(repeat),
        "overrides": options.overrides,
        "device": str(setup.device),
        "precision": str(setup.precision).removeprefix("torch."),
        "network_factory": None if factory is None else getattr(factory, "__qualname__", type(factory).__qualname__),
        "plan_hash": content_hash(plan_path),
        "medseg": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
