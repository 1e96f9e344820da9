"""A training run made ready: cases chosen and preprocessed, network made, everything but the number of steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from medseg.commands.train.probe import DiceProbe
from medseg.commands.train.run import Request, Run
from medseg.core.case import Case
from medseg.core.errors import DataError, ModelError, PlanError
from medseg.core.host_memory import free_host_bytes
from medseg.core.progress import Progress
from medseg.core.wording import counted, first_few
from medseg.models.model import Model, make_network
from medseg.models.run import check_factory
from medseg.models.workspace import plan_cases, splits_path
from medseg.networks.device import choose_device, choose_precision, memory_errors
from medseg.networks.slow_convolution_check import slow_convolution
from medseg.planning.annotation import check_annotated, describe_annotation
from medseg.planning.memory import PLANNERS
from medseg.planning.splits import Fold, make_splits, patient_leaks, read_splits
from medseg.preprocessing.cache import Sample, load_samples
from medseg.preprocessing.normalize import check_schemes
from medseg.training.data.sample_placement import place_samples
from medseg.training.length.course import Course
from medseg.training.length.epochs import steps_of_epochs
from medseg.training.run.setup import Setup
from medseg.training.step.rehearsal import rehearse

# Modules that only some runs need, or none before its first step (models to start from, cascades, prediction), are
# imported in the functions that use them: together they would double the time until a run starts.
if TYPE_CHECKING:
    from medseg.commands.train.options import TrainOptions
    from medseg.commands.train.previous_answers import PreviousStage
    from medseg.inference.predictor import Predictor
    from medseg.models.encoder_weights import EncoderWeights
    from medseg.models.start import Start
    from medseg.plans.schema import Configuration, Plan


_DEVICE_IS_FULL = (
    "Close other programs that use the device, choose another one with --device, or plan a smaller network: "
    "`medseg plan ... --memory 8GB --force`."
)


@dataclass(frozen=True)
class Job:
    """A run that is ready to start: everything but the number of steps.

    Attributes:
        run: its folder, plan and what earlier sessions left.
        setup: what the run is made of.
        network: the network with its first weights, on the setup's device.
        samples: training cases.
        held_out: validation cases.
        split: ids of training ("train") and validation cases ("val"), those that could not be read included.
        probe: scores a network on a few of the cases.
        notes: for the user.
        failed: {case id: why it could not be read}.
        start: what was taken over from another model; None for random weights.
        encoder_weights: what was taken of the plan's file of pretrained weights; None for none.
        previous: in a cascade's later stage, the model of the stage before.
    """

    run: Run
    setup: Setup
    network: torch.nn.Module
    samples: Sequence[Sample]
    held_out: list[Sample]
    split: dict[str, list[str]]
    probe: DiceProbe
    notes: list[str]
    failed: dict[str, str]
    start: Start | None = None
    encoder_weights: EncoderWeights | None = None
    previous: Model | None = None

    def predictor(self, network: torch.nn.Module) -> Predictor:
        """Return a predictor that uses a network in this run's configuration."""
        from medseg.inference.predictor import Predictor

        files, plan = self.run.files, self.setup.plan
        model = Model(plan, self.run.configuration, (files.fold,), (network,), files.run.path, self.previous)
        return Predictor(model, self.setup.device, compares=False)  # with its own data set


def prepare(run: Run, request: Request, previous_stage: PreviousStage | None = None) -> Job:
    """Choose the cases of a run, preprocess them, and make its network.

    Args:
        run: the run that is to be trained.
        request: the options and the workspace of the command. Of several processes, the first one preprocesses.
        previous_stage: in a cascade's later stage, the trained stage before it.

    Raises:
        MedsegError: the data or the request is not valid.
    """
    plan, configuration = run.plan, run.plan.configuration(run.configuration)
    ranks, options = request.ranks, request.options
    cases = plan_cases(run.plan_path, request.workspace.data_folder(plan, options.data), plan)
    training, validation, notes = choose_cases(run, cases)
    check_annotated(training, plan.labels)
    partly_labelled = describe_annotation(training, plan.labels)
    notes = [*run.notes, *notes, *partly_labelled]
    device = choose_device(options.device)
    ranks.numbers(configuration.batch_size)  # raises where there are too many processes, before hours of preprocessing
    torch.manual_seed(plan.training.seed)
    check_schemes(configuration, run.configuration)
    check_factory(run.record, run.files, request.factory)
    with memory_errors(_DEVICE_IS_FULL):
        network = make_network(plan, configuration, request.factory).to(device)
        mapped = any(case.weight_map is not None for case in training)
        rehearse(network, plan, configuration, bool(partly_labelled), mapped)
    encoder_weights = _encoder_weights(network, run, request)
    notes += encoder_weights.notes if encoder_weights else ()
    start = _start(network, run, request)
    notes += start.notes if start else ()
    with ranks.first_before():
        loaded, failed, odd = _load([*training, *validation], run, request, previous_stage, device)
    previous = None
    if previous_stage is not None:
        notes += [*odd, *previous_stage.leaks(run.files.fold, [case.id for case in validation])]
        previous = previous_stage.model(run.files.fold, device)
    ids = {case.id for case in training}
    on_host = [sample for sample in loaded if sample.case.id in ids]
    if not on_host:
        raise DataError("No training case could be read:\n  " + "\n  ".join(failed.values()))
    planned = plan.request.memory_gb or PLANNERS.get(plan.request.planner, PLANNERS["default"]).memory_gb
    samples, where = place_samples(on_host, device, free_host_bytes(), planned)
    notes.append(where)
    held_out = [sample for sample in loaded if sample.case.id not in ids]
    notes += _not_learnable(on_host, held_out, plan.labels.names)
    if not held_out:
        notes.append("no case is kept apart, so the Dice shown while training is that of training cases")
    precision = choose_precision(plan.training.precision, device)
    slow = slow_convolution(device, precision, configuration.dimensions)
    notes += [slow] if slow else []
    if run.record is None:
        steps, note = _planned_steps(options, plan, on_host, configuration)
        notes += [note] if note else []
        course = Course.over(steps)
    else:
        steps = run.record.steps or plan.training.steps
        course = Course.recorded(steps, run.record.schedule or (), bool(run.record.ended_early))
    setup = Setup(plan, configuration, course, device, precision, run.files, ranks)
    split = {"train": [case.id for case in training], "val": [case.id for case in validation]}
    also_scored = on_host if held_out and plan.training.train_scores else ()
    probe = DiceProbe(plan, configuration, device, held_out or on_host, also_scored)
    return Job(run, setup, network, samples, held_out, split, probe, notes, failed, start, encoder_weights, previous)


def _planned_steps(
    options: TrainOptions, plan: Plan, samples: Sequence[Sample], configuration: Configuration
) -> tuple[int, str | None]:
    """Return the steps of a new run without a budget, and a note where they follow from epochs."""
    if options.steps is not None:
        return options.steps, None
    epochs = options.epochs or plan.training.epochs
    if epochs is None or options.budget_seconds is not None:  # a budget chooses another number
        return plan.training.steps, None
    return steps_of_epochs(epochs, samples, configuration)


def choose_cases(run: Run, cases: list[Case]) -> tuple[list[Case], list[Case], list[str]]:
    """Return training cases, validation cases and notes; for the fold `all`, every labelled case and none.

    Args:
        run: the run whose fold is meant. One that goes on keeps the cases that it began with.
        cases: the cases of the plan.

    Raises:
        PlanError: there is no such fold.
        DataError: cases that the run began with are gone.
    """
    labelled = {case.id: case for case in cases if case.label is not None}
    if run.record is not None and run.files.split.exists():
        return _as_begun(run.files.split, labelled)
    if run.files.fold == "all":
        return [*labelled.values()], [], []
    folds, notes = plan_folds(run.plan_path, [*labelled.values()])
    number = int(run.files.fold)
    if number >= len(folds):
        there = f"there are 0 to {len(folds) - 1}, and all" if folds else "there is only all"
        raise PlanError(f"There is no fold {number}; {there}.")
    fold = folds[number]
    training, validation = ([labelled[case] for case in fold[side]] for side in ("train", "val"))
    unused = len(labelled) - len(training) - len(validation)
    if unused:
        what = f"{counted(unused, 'case')} of the table {'is' if unused == 1 else 'are'} in no part of this fold"
        notes.append(f"{what}; `medseg plan --force` makes folds again")
    return training, validation, [*notes, *patient_leaks([fold], [*labelled.values()])]


def _not_learnable(training: Sequence[Sample], held_out: Sequence[Sample], names: Sequence[str]) -> list[str]:
    """Return a warning for each structure that no training case holds: plans of earlier versions did not give one.

    Args:
        training: the preprocessed training cases; a structure that resampling lost is not in them either.
        held_out: the validation cases.
        names: the structures, in the order of `Sample.locations`.
    """
    warnings = []
    for number, name in enumerate(names):
        if any(len(sample.locations[number]) for sample in training):
            continue
        holding = sorted(sample.case.id for sample in held_out if len(sample.locations[number]))
        where = f"of the validation cases, {first_few(holding)} {'has' if len(holding) == 1 else 'have'} it" * bool(
            holding
        )
        warnings.append(
            f"no training case of this run holds {name} ({where or 'and no validation case either'}): it cannot be "
            "learnt, and its score says nothing"
        )
    return warnings


def plan_folds(plan_path: Path, labelled: list[Case]) -> tuple[list[Fold], list[str]]:
    """Return the folds that belong to a plan, and notes on them.

    Args:
        plan_path: the path of the plan in the workspace.
        labelled: its cases with labels.
    """
    path = splits_path(plan_path)
    if path.exists():
        return read_splits(path, labelled), []
    folds, why = make_splits(labelled, {})
    return folds, [why]


def _as_begun(path: Path, labelled: dict[str, Case]) -> tuple[list[Case], list[Case], list[str]]:
    """Return the cases that a run began with."""
    split = json.loads(path.read_text(encoding="utf-8"))
    gone = [case for side in ("train", "val") for case in split[side] if case not in labelled]
    if gone:
        raise DataError(
            f"Cases that the run began with are no longer in the data set ({len(gone)}): {first_few(gone)}.",
            "Put them back to go on, or delete the run's folder to train again.",
        )
    training, validation = ([labelled[case] for case in split[side]] for side in ("train", "val"))
    return training, validation, []


def _load(
    cases: Sequence[Case], run: Run, request: Request, previous_stage: PreviousStage | None, device: torch.device
) -> tuple[list[Sample], dict[str, str], list[str]]:
    """Return preprocessed cases, in a cascade with the previous stage's answers; why others failed; notes."""
    cache, callback = request.workspace.cache / run.plan.name, request.callback
    samples, failed = load_samples(cases, run.plan, run.plan.configuration(run.configuration), cache, callback)
    if previous_stage is None:
        return samples, failed, []
    from medseg.commands.train.previous_answers import answer_samples

    samples, unanswered, notes = answer_samples(samples, previous_stage, run.configuration, cache, device, callback)
    return samples, failed | unanswered, notes


def _encoder_weights(network: torch.nn.Module, run: Run, request: Request) -> EncoderWeights | None:
    """Fill the encoder from the plan's file, and show what was taken; a checkpoint or `--init` has all weights.

    Raises:
        MedsegError: there is no such file, it does not fit, or it is not the one that the run began with.
    """
    planned = run.plan.configuration(run.configuration).network
    begun = None if run.record is None else run.record.encoder_weights
    if planned.weights is None or request.factory is not None or run.step > 0 or request.options.init is not None:
        return None
    from medseg.models.encoder_weights import find_weights, take_encoder_weights
    from medseg.plans.network_rules import DEFAULT_ENCODER

    path = find_weights(planned, request.workspace.folder, request.options.download)
    weights = take_encoder_weights(network, path, planned.encoder or DEFAULT_ENCODER)
    if begun is not None and begun.sha256 != weights.sha256:
        raise ModelError(
            f"{path} is not the file that this run began with: its SHA-256 is {weights.sha256[:12]}..., and the run's "
            f"record says {begun.sha256[:12]}...",
            "Put the file back, or leave --resume out to train a new run.",
        )
    request.callback(Progress("encoder weights", 1, 1, {"weights": weights}))
    return weights


def _start(network: torch.nn.Module, run: Run, request: Request) -> Start | None:
    """Take weights over from the model that a run is to start from, and show what was taken."""
    init = request.options.init
    if request.options.continues and run.step == 0 and run.record is not None and run.record.init is not None:
        init = run.record.init.asked  # there is no checkpoint yet that holds what was taken over
    if init is None:
        return None
    from medseg.models.start import open_source, start_from

    source = open_source(request.workspace.model_path(init, option="--init"))
    start = start_from(network, run.plan, run.plan.configuration(run.configuration), source, run.files.fold)
    request.callback(Progress("start", 1, 1, {"start": start}))
    return start
