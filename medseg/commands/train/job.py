"""A training run made ready: cases chosen and preprocessed, network made, everything but the number of steps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from medseg.commands.train.cases import changed_since, choose_cases, note_on_unread, warn_of_cases
from medseg.commands.train.probe import DiceProbe
from medseg.commands.train.run import Request, Run
from medseg.core.case import Case
from medseg.core.errors import DataError, ModelError, PlanError
from medseg.core.machine.host_memory import free_host_bytes
from medseg.core.progress import Progress
from medseg.core.wording import counted, lines_of
from medseg.models.model import Model, input_channels, make_network
from medseg.models.run import check_factory
from medseg.models.workspace import plan_cases
from medseg.networks.anatomy import count_parameters, on_meta, training_bytes
from medseg.networks.device import choose_device, choose_precision, memory_errors, precision_name
from medseg.networks.slow_convolution_check import slow_convolution
from medseg.networks.table import supervision_scales
from medseg.networks.unet import UNet
from medseg.planning.annotation import check_annotated, describe_annotation
from medseg.planning.memory import PLANNERS
from medseg.planning.recipe import note_on_rate
from medseg.preprocessing.cache import Sample, load_samples
from medseg.preprocessing.normalize import check_schemes
from medseg.training.data.sample_placement import place_samples
from medseg.training.data.sampling import check_weights
from medseg.training.length.course import Course
from medseg.training.length.epochs import steps_of_epochs
from medseg.training.length.quick_look import estimated_step_seconds, refuse_hopeless_budget
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
    "Close other programs that use the device, choose another one with --device, or plan a smaller network: give the "
    "command that made the plan once more with `--memory 8GB --force`."
)


@dataclass(frozen=True)
class Job:
    """A run that is ready to start: everything but the number of steps.

    Attributes:
        run: its folder, plan and what earlier sessions left.
        setup: plan, course, device and files of the run.
        network: the network with its first weights, on the setup's device.
        samples: training cases.
        held_out: validation cases.
        split: ids of training ("train") and validation cases ("val"), those that could not be read included.
        probe: scores a network on a few of the cases.
        notes: for the user.
        failed: {case id: why it could not be read}.
        contents: {case id: what names the contents that the run is, or was, trained on}.
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
    contents: dict[str, str]
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

    Returns:
        The run with its cases and its network, ready to be trained.

    Raises:
        MedsegError: the data or the request is not valid.
    """
    plan, configuration = run.plan, run.plan.configuration(run.configuration)
    if plan.inference.precision == "int8":
        raise PlanError(
            "inference.precision is int8, for which `medseg quantize` prepares a fold once it is trained.",
            "Train with --set inference.precision=auto, and predict with --set inference.precision=int8.",
        )
    ranks, options = request.ranks, request.options
    cases = plan_cases(run.plan_path, request.workspace.data_folder(plan, options.data), plan)
    training, validation, notes = choose_cases(run, cases)
    check_weights(training)
    check_annotated(training, plan.labels)
    annotation = describe_annotation(training, plan.labels)
    notes = [*run.notes, *notes, *annotation]
    device = choose_device(options.device)
    ranks.numbers(configuration.batch_size)  # raises where there are too many processes, before hours of preprocessing
    mapped = any(case.weight_map is not None for case in (*training, *validation))  # both losses count it
    network = _first_network(run, request, bool(annotation), mapped, device)
    if (budget := options.new_seconds) is not None and ranks.size == 1:
        step_seconds = estimated_step_seconds(network, plan, configuration, device)
        left, option = budget - (time.monotonic() - request.start_time), "--extend" if options.extend else "--budget"
        refuse_hopeless_budget(left, step_seconds, option)
    encoder_weights = _encoder_weights(network, run, request)
    start = _start(network, run, request)
    for taken in (encoder_weights, start):
        notes += taken.notes if taken else ()
    with ranks.first_before():
        loaded, failed, odd = _load([*training, *validation], run, request, previous_stage, device)
    contents = {sample.case.id: sample.contents for sample in loaded}
    notes += [*odd, *note_on_unread(failed)]
    if ranks.first:  # which alone writes and reports
        contents, changed = changed_since(run.files, run.record, contents, failed, run.step)
        notes += changed
    previous = None
    if previous_stage is not None:
        notes += previous_stage.leaks(run.files.fold, [case.id for case in validation])
        previous = previous_stage.model(run.files.fold, device)
    ids = {case.id for case in training}
    on_host = [sample for sample in loaded if sample.case.id in ids]
    held_out = [sample for sample in loaded if sample.case.id not in ids]
    if not on_host:
        raise DataError(f"No training case could be read:{lines_of(failed)}")
    samples, placement = place_samples(on_host, device, free_host_bytes(), _planned_gigabytes(plan))
    course, length = _course(run, options, on_host)
    precision = choose_precision(plan.training.precision, device)
    slow = slow_convolution(device, precision, configuration.dimensions)
    notes += [_computing(network, plan, configuration, device, precision), placement]
    notes += warn_of_cases(on_host, held_out, plan.labels.names, bool(validation))
    notes += [*(note for note in (slow, length) if note), *note_on_rate(plan.training)]
    setup = Setup(plan, configuration, course, device, precision, run.files, ranks)
    split = {"train": [case.id for case in training], "val": [case.id for case in validation]}
    also_scored = on_host if held_out and plan.training.train_scores else ()
    probe = DiceProbe(plan, configuration, device, held_out or on_host, also_scored)
    return Job(
        *(run, setup, network, samples, held_out, split, probe, notes, failed, contents),
        start=start,
        encoder_weights=encoder_weights,
        previous=previous,
    )


def _first_network(
    run: Run, request: Request, partly_labelled: bool, mapped: bool, device: torch.device
) -> torch.nn.Module:
    """Return the network with random weights, after a rehearsal of its first step: before hours of preprocessing.

    Raises:
        MedsegError: the plan, the network or the device does not allow such a step.
    """
    plan, configuration = run.plan, run.plan.configuration(run.configuration)
    check_schemes(configuration, run.configuration)
    check_factory(run.record, run.files, request.factory)
    torch.manual_seed(plan.training.seed)
    with memory_errors(_DEVICE_IS_FULL):
        network = make_network(plan, configuration, request.factory).to(device)
        rehearse(network, plan, configuration, partly_labelled, mapped)
    return network


def _computing(
    network: torch.nn.Module, plan: Plan, configuration: Configuration, device: torch.device, precision: torch.dtype
) -> str:
    """Return in a line what is trained, where, in which precision, and what memory a step keeps."""
    threads = f" ({counted(torch.get_num_threads(), 'thread')})" if device.type == "cpu" else ""
    patch = " x ".join(map(str, configuration.patch_voxels))
    return (
        f"trains on {device}{threads} in {precision_name(precision)}: {configuration.network.name}, "
        f"{count_parameters(network):,} parameters, patch {patch}, batch {configuration.batch_size}"
        f"{_step_memory(network, plan, configuration)}"
    )


def _step_memory(network: torch.nn.Module, plan: Plan, configuration: Configuration) -> str:
    """Return a phrase on the memory that a step keeps; nothing for networks that are not medseg's own."""
    if not isinstance(network, UNet):
        return ""
    shape = (configuration.batch_size, input_channels(plan, configuration), *configuration.patch_voxels)
    scales = supervision_scales(network, configuration.dimensions, bool(plan.training.deep_supervision))
    drawn = on_meta(partial(make_network, plan, configuration))
    kept = training_bytes(drawn, shape, len(scales), plan.training.optimizer)
    return f", {kept / 1e9:.2g} GB for a step in fp32"


def _planned_gigabytes(plan: Plan) -> float:
    """Return the device memory, in GB, that the plan's network was chosen for."""
    return plan.request.memory_gb or PLANNERS.get(plan.request.planner, PLANNERS["default"]).memory_gb


def _course(run: Run, options: TrainOptions, training: Sequence[Sample]) -> tuple[Course, str | None]:
    """Return the course of a run, without a budget, and a note where its length follows from epochs."""
    plan = run.plan
    if run.record is not None:
        steps = run.record.steps or plan.training.steps
        return Course.recorded(steps, run.record.schedule or (), bool(run.record.ended_early)), None
    if options.steps is not None:
        return Course.over(options.steps), None
    epochs = options.epochs or plan.training.epochs
    if epochs is None or options.budget_seconds is not None:  # a budget chooses another number
        return Course.over(plan.training.steps), None
    steps, note = steps_of_epochs(epochs, training, plan.configuration(run.configuration))
    return Course.over(steps), note


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
