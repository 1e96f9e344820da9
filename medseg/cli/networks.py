"""`medseg networks`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from medseg.cli.output.display import console, progress_display
from medseg.cli.output.records import emit, record_result
from medseg.commands.models.options import NetworksOptions
from medseg.core.options import Option

if TYPE_CHECKING:
    from rich.table import Table

    from medseg.commands.models.networks import Drawing, NetworkEntry, NetworkList

_LONGEST_NAME = 30
"""Longer names of modules are cut in their middle, so that a drawing fits a terminal of 80 columns."""
_MEMORY = (
    "memory: what a training step in fp32 keeps (weights, gradients, the optimizer's state, one batch and what the "
    "backward pass needs of it); with bf16 or fp16 about half. Workspaces of libraries come on top."
)


def command(
    *,
    network: Annotated[str | None, Option(positional=True)] = None,
    options: NetworksOptions,
    workspace: Path = Path("."),
) -> None:
    """List the networks that a plan may name; with --plan their size in it, with --draw one of them stage by stage.

    Nothing is trained, and no memory is needed: networks are made without values.

    Exit code: 0, or 2 if there is no such network or plan, or the network to be drawn does not take the plan.

    Args:
        network: Look at this network alone, by its name or that of its class.
        options: The plan, and whether to draw.
        workspace: Folder with plans/.

    Examples:
        medseg networks
        medseg networks --plan liver --config 3d_fullres
        medseg networks --draw erfnet
        medseg networks --draw --plan liver
    """
    from medseg.commands.models.networks import list_networks

    with progress_display() as show:
        result = list_networks(network, workspace, options, show)
    for entry in result.networks:
        emit("network", **_record(entry))
    plan = None if result.plan is None else result.plan.name
    record_result(plan=plan, configuration=result.configuration or None, networks=len(result.networks))
    if result.drawing is not None:
        _print_drawing(result, result.drawing)
    elif result.plan is None:
        _print_all(result.networks)
    else:
        _print_tried(result)


def _record(entry: NetworkEntry) -> dict[str, object]:
    return {
        "name": entry.name,
        "class_name": entry.class_name or None,
        "dimensions": entry.dimensions,
        "deep_supervision": entry.deep_supervision,
        "no_onnx": entry.no_onnx or None,
        "paper": entry.paper or None,
        "parameters": entry.parameters,
        "training_bytes": entry.training_bytes,
        "problem": entry.problem or None,
    }


def _print_all(networks: Sequence[NetworkEntry]) -> None:
    """Print two lines for each network: what it is, and its paper."""
    heading = f"{'network':<22}{'or':<19}{'images':<8}{'answers':<9}{'ONNX':<4}"
    console.print(heading, style="bold")
    for entry in networks:
        images = ", ".join(f"{number}D" for number in entry.dimensions)
        levels = "several" if entry.deep_supervision else "one"
        line = f"{entry.name:<22}{entry.class_name:<19}{images:<8}{levels:<9}{'no' if entry.no_onnx else 'yes':<4}"
        console.print(line, markup=False, soft_wrap=True)
        for text in filter(None, (entry.paper, entry.no_onnx and f"no ONNX: {entry.no_onnx}")):
            console.print(f"  {text}", markup=False, soft_wrap=True, style="dim")
    console.print(
        "\nSeveral answers: training.deep_supervision applies the loss to all of them. medseg plan --network NAME "
        "plans with one; medseg networks --plan PLAN says how large each is in a plan; --draw NAME shows one.",
        markup=False,
    )


def _print_tried(result: NetworkList) -> None:
    """Print the size of the networks that take the plan, and the reasons of those that do not."""
    assert result.plan is not None
    configuration = result.plan.configuration(result.configuration)
    patch = " x ".join(map(str, configuration.patch_voxels))
    console.print(
        f"{result.plan.name}, {result.configuration}: patch {patch}, batch {configuration.batch_size}; "
        f"its network is {configuration.network.name}",
        markup=False,
    )
    table = _table("network", "parameters", "memory (GB)", "answers")
    for entry in result.networks:
        if entry.parameters is not None and entry.training_bytes is not None:
            name = entry.name + " (the plan's)" * (entry.name == configuration.network.name)
            levels = "several" if entry.deep_supervision else "one"
            table.add_row(name, f"{entry.parameters:,}", f"{entry.training_bytes / 1e9:.2f}", levels)
    if table.row_count:
        console.print(table)
        console.print(_MEMORY, markup=False)
    reasons: dict[str, list[str]] = {}
    for entry in result.networks:
        if entry.problem:
            reasons.setdefault(entry.problem, []).append(entry.name)
    if reasons:
        console.print("\nThese do not take the plan as it is:", style="bold")
    for reason, names in reasons.items():
        console.print(f"  {', '.join(names)}: {reason}", markup=False)


def _print_drawing(result: NetworkList, drawing: Drawing) -> None:
    """Print a network stage by stage."""
    if result.plan is None:
        where = "in nnU-Net's plan for such images; --plan draws it in yours"
    else:
        where = f"in {result.plan.name}, {result.configuration}"
    console.print(f"{drawing.network}, image {_times(drawing.input)}, {where}", markup=False)
    table = _table("stage", "module", "answer", "parameters")
    for stage in drawing.stages:
        size = {"shape": stage.shape, "parameters": stage.parameters}
        emit("stage", name=stage.name, module=stage.kind, count=stage.count, **size)
        kind = f"{stage.count} x {stage.kind}" if stage.count > 1 else stage.kind
        table.add_row(_short(stage.name), kind, _times(stage.shape) or "not used", f"{stage.parameters:,}")
    console.print(table)
    answers = ", ".join(map(_times, drawing.answers))
    record_result(parameters=drawing.parameters, training_bytes=drawing.training_bytes, answers=drawing.answers)
    console.print(
        f"{drawing.parameters:,} parameters; answers {answers}; memory with a batch of {drawing.batch_size}: "
        f"{drawing.training_bytes / 1e9:.2f} GB",
        markup=False,
    )
    axes = ", ".join("zyx"[-len(drawing.input) + 1 :])
    console.print(f"answer: of one image, (channels, {axes}). {_MEMORY}", markup=False)


def _table(first: str, *others: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, overflow="fold")
    for heading in others:
        numbers = heading.startswith(("parameters", "memory", "answer")) and heading != "answers"
        table.add_column(heading, justify="right" if numbers else "left", no_wrap=numbers)
    return table


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _short(name: str) -> str:
    """Return the name of a module; of a long one, its first and its last part.

    >>> _short("encoder.3"), _short("1.submodule.1.submodule.1.submodule.1.upconv")
    ('encoder.3', '1 .. upconv')
    """
    if len(name) <= _LONGEST_NAME:
        return name
    first, _, last = name.partition(" ... ")
    parts = (first.split(".")[0], (last or first).split(".")[-1])
    return " .. ".join(parts)
