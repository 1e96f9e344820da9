"""`medseg networks`: list the networks, with the size of each in a plan, and draw the parts of one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from medseg.commands.models.options import NetworksOptions
from medseg.core.errors import MedsegError, PlanError
from medseg.core.progress import Callback, silent, track
from medseg.models.model import input_channels, make_network
from medseg.models.workspace import Workspace
from medseg.networks.anatomy import Stage, count_parameters, on_meta, stages, training_bytes
from medseg.networks.device import first_line
from medseg.networks.table import NETWORKS, check_name, supervision_scales
from medseg.planning.planner import plan_from_fingerprint
from medseg.plans.file import choose_configuration, load_plan
from medseg.plans.network_rules import CLASS_NAMES, ENCODER_CLASSES, UNETS
from medseg.plans.problems import validation_message
from medseg.plans.schema import Configuration, Plan

_CLASSES = {name: class_name for class_name, name in {**CLASS_NAMES, **ENCODER_CLASSES}.items()}
_OF_ONE_NETWORK = ("arguments", "encoder", "weights", "upsampling")
"""Keys of the plan's section `network` that hold for the network that it names, and mean nothing to another."""
_EXAMPLE = {
    2: {"spacings": [(1.0, 1.0, 1.0)], "shapes_after_crop": [(1, 256, 256)]},
    3: {"spacings": [(1.0, 1.0, 1.0)], "shapes_after_crop": [(96, 96, 96)]},
}
"""Dimensions -> images whose plan a network is drawn in where no plan is given."""


@dataclass(frozen=True)
class NetworkEntry:
    """A network that a plan may name.

    Attributes:
        name: its name in the plan.
        class_name: name of its class in MONAI or segmentation-models-pytorch, which a plan may have, too; else empty.
        dimensions: of the images that it takes: 2, 3 or both.
        deep_supervision: whether it answers on several levels, for `training.deep_supervision`.
        no_onnx: why `medseg export` cannot write it; empty if it can.
        paper: authors, year and address.
        parameters: number of its weights in the plan; None without a plan, or if it does not take it.
        training_bytes: memory of a training step with the plan's patch and batch (`networks.anatomy`); likewise.
        problem: why it does not take the plan; empty if it does, or without a plan.
    """

    name: str
    class_name: str
    dimensions: tuple[int, ...]
    deep_supervision: bool
    no_onnx: str
    paper: str
    parameters: int | None = None
    training_bytes: int | None = None
    problem: str = ""


@dataclass(frozen=True)
class Drawing:
    """A drawing of a network: its parts with their shapes and weights.

    Attributes:
        network: its name.
        input: shape of its image (channel, ...).
        batch_size: patches in a training step.
        stages: its parts in the order in which they compute.
        answers: the shapes of its answers (output, ...), the full resolution first.
        parameters: number of its weights.
        training_bytes: memory of a training step (`networks.anatomy.training_bytes`).
    """

    network: str
    input: tuple[int, ...]
    batch_size: int
    stages: tuple[Stage, ...]
    answers: tuple[tuple[int, ...], ...]
    parameters: int
    training_bytes: int


@dataclass(frozen=True)
class NetworkList:
    """The result of `list_networks`.

    Attributes:
        networks: the networks, in the order of the table.
        plan: the plan that they were tried in, or drawn for; None where there is none.
        configuration: name of the plan's configuration; empty without a plan.
        drawing: what the network consists of, if that was asked for.
    """

    networks: tuple[NetworkEntry, ...]
    plan: Plan | None = None
    configuration: str = ""
    drawing: Drawing | None = None


def list_networks(
    name: str | None = None,
    workspace: str | Path = ".",
    options: NetworksOptions | None = None,
    callback: Callback = silent,
) -> NetworkList:
    """Return the networks that a plan may name; with a plan, their size in it, or why they do not take it.

    Args:
        name: a network, or its class, to be looked at alone; None for all of them.
        workspace: folder with `plans/`.
        options: everything else.
        callback: is called after each network.

    Raises:
        MedsegError: there is no such network or plan; or the network that is to be drawn does not take the plan.
    """
    options = options or NetworksOptions()
    name = None if name is None else check_name({**CLASS_NAMES, **ENCODER_CLASSES}.get(name, name))
    entries = [_entry(each) for each in NETWORKS if name in (None, each)]
    if options.draw:
        return _drawn(name, Path(workspace), options)
    if options.plan is None:
        _refuse_without_plan(options)
        return NetworkList(tuple(entries))
    plan, chosen = _read_plan(Path(workspace), options)
    configuration = plan.configuration(chosen)
    tried = [_tried(entry, plan, configuration) for entry in track(entries, "networks", len(entries), callback)]
    return NetworkList(tuple(tried), plan, chosen)


def _entry(name: str) -> NetworkEntry:
    row = NETWORKS[name]
    return NetworkEntry(name, _CLASSES.get(name, ""), row.dimensions, row.deep_supervision, row.no_onnx, row.paper)


def _refuse_without_plan(options: NetworksOptions) -> None:
    """Refuse options that need a plan if no plan is named."""
    given = [flag for flag, value in (("--config", options.configuration), ("--set", options.overrides)) if value]
    if given:
        raise PlanError(f"{given[0]} was given without a plan.", "Name the plan: --plan NAME")


def _read_plan(workspace: Path, options: NetworksOptions) -> tuple[Plan, str]:
    """Return the plan and the name of its configuration."""
    plan = load_plan(Workspace(workspace).plan_path(options.plan), list(options.overrides))
    return plan, choose_configuration(plan, options.configuration)


def _tried(entry: NetworkEntry, plan: Plan, configuration: Configuration) -> NetworkEntry:
    """Return an entry with its size in a plan, or the reason why it does not take that."""
    try:
        drawing = _drawing(plan, with_network(configuration, entry.name), with_stages=False)
    except MedsegError as error:
        return replace(entry, problem=f"{error.message} {error.hint or ''}".strip())
    return replace(entry, parameters=drawing.parameters, training_bytes=drawing.training_bytes)


def with_network(configuration: Configuration, name: str) -> Configuration:
    """Return a configuration that names another network, everything else being as it is.

    That is what `--set configurations.NAME.network.name=...` does, less what the plan says of its own network alone.

    Args:
        configuration: of the plan.
        name: of the network.

    Raises:
        PlanError: the network does not take so many dimensions, this patch, or this batch.
    """
    if name == configuration.network.name:
        return configuration
    values = configuration.model_dump(mode="json")
    values["network"] = {key: value for key, value in values["network"].items() if key not in _OF_ONE_NETWORK}
    values["network"]["name"] = name
    dimensions = NETWORKS[name].dimensions
    if configuration.dimensions not in dimensions:
        raise PlanError(f"it takes {' or '.join(f'{number}D' for number in dimensions)} images")
    if name in UNETS and not configuration.network.features:
        raise PlanError(f"the plan has no stages for it; `medseg plan --network {name}` writes them")
    try:
        return Configuration.model_validate(values)
    except ValueError as error:
        raise PlanError(validation_message(error)) from None


def _drawn(name: str | None, workspace: Path, options: NetworksOptions) -> NetworkList:
    """Return the drawing of a network: of the one that is named, in the plan if one is given; else of the plan's."""
    if name is not None and options.plan is None:
        _refuse_without_plan(options)
        plan, chosen = _example_plan(name)
    else:
        plan, chosen = _read_plan(workspace, options)
    configuration = plan.configuration(chosen)
    network = configuration.network.name if name is None else name
    try:
        configuration = with_network(configuration, network)
    except PlanError as error:
        raise PlanError(f"The network {network} does not take the configuration {chosen}: {error.message}.") from None
    shown = None if name is not None and options.plan is None else plan
    entries = (_entry(network),) if network in NETWORKS else ()
    return NetworkList(entries, shown, chosen if shown else "", _drawing(plan, configuration))


def _example_plan(name: str) -> tuple[Plan, str]:
    """Return nnU-Net's plan for images of one channel and one structure, and the name of its configuration."""
    dimensions = min(NETWORKS[name].dimensions)
    facts = {**_EXAMPLE[dimensions], "cases": 100, "structures": 1, "channels": ["image"]}
    plan = plan_from_fingerprint(facts, "resenc-m" if name == "residual_unet" else "default")
    return plan, "2d" if dimensions == 2 else "3d_fullres"


def _drawing(plan: Plan, configuration: Configuration, with_stages: bool = True) -> Drawing:
    """Return the parts of a network with their shapes and weights.

    Raises:
        MedsegError: it cannot be made, or not be looked at without computing.
    """
    network = on_meta(partial(make_network, plan, configuration))
    shape = (input_channels(plan, configuration), *configuration.patch_voxels)
    scales = supervision_scales(network, configuration.dimensions, bool(plan.training.deep_supervision))
    try:
        memory = training_bytes(network, (configuration.batch_size, *shape), len(scales), plan.training.optimizer)
        parts = stages(network, shape, len(scales)) if with_stages else []
    except Exception as error:  # networks of other libraries and of users raise all kinds of errors
        raise PlanError(
            f"{configuration.network.name} cannot be looked at without computing: {type(error).__name__}: "
            f"{first_line(error)}"
        ) from error
    sizes = [[size // step for size, step in zip(shape[1:], scale, strict=True)] for scale in scales]
    answers = tuple((plan.labels.outputs, *size) for size in sizes)
    return Drawing(
        configuration.network.name,
        shape,
        configuration.batch_size,
        tuple(parts),
        answers,
        count_parameters(network),
        memory,
    )
