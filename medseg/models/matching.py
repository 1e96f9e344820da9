"""Copy the weights of one network into another: blocks by their position, input channels and structures by name.

A block is taken whole or not at all, and within a stage only if all blocks before it were taken. Stages are counted
from the full resolution, so that networks of different depth share their finer stages.

A channel that the source does not have starts with weights of zero: the network begins by answering as the source
did, and learns to use the channel from the first step on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import torch

from medseg.core.labels import Labels
from medseg.networks.unet import UNet
from medseg.plans.schema import Configuration, Plan

_HEADS = "heads"


@dataclass(frozen=True)
class Side:
    """A network, and what its channels and outputs mean.

    Attributes:
        network: takes weights (the target) or gives them (the source).
        plan: names its channels and structures.
        configuration: the configuration of the network.
    """

    network: torch.nn.Module
    plan: Plan
    configuration: Configuration

    @property
    def channels(self) -> list[str]:
        """Names of the network's input channels; in a cascade's second stage also those of the answer before it."""
        names = list(self.plan.data.channels)
        if self.configuration.previous_stage is None:
            return names
        members = self.plan.labels.members.items()
        return names + [
            "previous " + "+".join(name for name, values in members if value in values)
            for value in self.plan.labels.values[1:]
        ]


@dataclass(frozen=True)
class Part:
    """A part of a network, and how much of it was taken from the source.

    Attributes:
        name: the name of the part, such as `encoder 2`.
        taken: number of its weights that were taken.
        weights: number of all its weights.
        detail: why not all were taken, or what was done to them.
    """

    name: str
    taken: int
    weights: int
    detail: str = ""

    @property
    def amount(self) -> str:
        """How much of it was taken, in a word: all, none, or a percentage."""
        if self.taken in (0, self.weights):
            return "all" if self.taken else "none"
        return f"{self.taken / self.weights:.0%}"


def share_taken(parts: Iterable[Part]) -> float:
    """Return the share of the weights of some parts that were taken, 0 to 1."""
    parts = list(parts)
    return sum(part.taken for part in parts) / max(sum(part.weights for part in parts), 1)


class TakenWeights:
    """What records of weights that were taken have in common; they are dataclasses with `parts`."""

    parts: Sequence[Part]

    @property
    def share(self) -> float:
        """Share of the weights of all parts that were taken, 0 to 1."""
        return share_taken(self.parts)

    def record(self) -> dict[str, Any]:
        """Return the entry for a run's record."""
        return {**asdict(cast(Any, self)), "share": round(self.share, 4)}


Block = dict[str, torch.Tensor]
"""The parameters of a block of layers, by name."""


def channel_pairs(target: Sequence[str], source: Sequence[str]) -> dict[int, int]:
    """Return {number of a target channel: number of the source channel with the same name}, ignoring case.

    >>> channel_pairs(["T1", "FLAIR"], ["flair", "T2"])
    {1: 0}
    """
    targets, sources = ([name.strip().casefold() for name in names] for names in (target, source))
    if targets == sources:  # pairs by number, as a name may occur twice
        return {number: number for number in range(len(targets))}
    return {number: sources.index(name) for number, name in enumerate(targets) if name in sources}


@torch.no_grad()
def take_weights(target: Side, source: Side) -> list[Part]:
    """Copy the weights that fit from the source into the target's network, in place; other weights stay as they are.

    Args:
        target: its network is changed.
        source: the trained network.

    Returns:
        How much of each part of the target was taken.
    """
    if isinstance(target.network, UNet) and isinstance(source.network, UNet):
        return _take_unet(target, source, target.network, source.network)
    return _take_layers(target.network, source.network)


def _take_unet(target: Side, source: Side, network: UNet, source_network: UNet) -> list[Part]:
    target_stages, source_stages = _stages(network), _stages(source_network)
    first = next(iter(source_stages))
    weight, detail, new = _channel_weights(source_stages[first][0]["conv.weight"], source.channels, target.channels)
    source_stages[first][0] = {**source_stages[first][0], "conv.weight": weight}
    strides, source_strides = (side.configuration.network.strides for side in (target, source))
    parts = []
    for name, blocks in target_stages.items():
        part = _take_stage(name, blocks, source_stages.get(name, []), detail if name == first else "")
        if name == first and part.taken:
            part = replace(part, taken=part.taken - new)
        kind, _, number = name.partition(" ")
        if kind == "encoder" and part.taken and strides[int(number)] != source_strides[int(number)]:
            here, there = _times(strides[int(number)]), _times(source_strides[int(number)])
            part = replace(part, detail=_join(part.detail, f"its stride was {there}, here {here}"))
        parts.append(part)
    complete = {part.name for part in parts if part.taken == part.weights}
    levels = [number for number in range(len(network.heads)) if f"decoder {number}" in complete]
    heads = _take_heads(_heads(network), _heads(source_network), levels, target.plan.labels, source.plan.labels)
    return [*parts, heads]


def _stages(network: UNet) -> dict[str, list[Block]]:
    """Return the blocks of each stage, by its number from the full resolution; decoders begin with their upsampling."""
    stages: dict[str, list[torch.nn.Module]] = {} if network.stem is None else {"stem": [network.stem]}
    for number, stage in enumerate(network.encoder):
        stages[f"encoder {number}"] = list(stage.children())
    for number, (up, decode) in enumerate(zip(network.up, network.decoder, strict=True)):
        stages[f"decoder {len(network.up) - 1 - number}"] = [up, *decode.children()]
    return {name: [dict(module.named_parameters()) for module in blocks] for name, blocks in stages.items()}


def _heads(network: UNet) -> dict[int, Block]:
    """Return the head of each decoder stage, by the stage's number from the full resolution."""
    last = len(network.heads) - 1
    return {last - number: dict(head.named_parameters()) for number, head in enumerate(network.heads)}


def _take_stage(name: str, target: Sequence[Block], source: Sequence[Block], detail: str) -> Part:
    """Copy blocks in order until one does not fit; `detail` is noted if any was copied."""
    taken, why = 0, "" if source else "the source has none"
    for number, block in enumerate(target):
        if not source or number == len(source):
            why = why or f"the source has {len(source)} of {len(target)} blocks"
            break
        why = _misfit(block, source[number])
        if why:
            break
        for key, value in block.items():
            value.copy_(source[number][key])
        taken += _size(block)
    if not why and len(source) > len(target):
        why = f"the source's further blocks are left out: {len(source) - len(target)}"
    return Part(name, taken, sum(map(_size, target)), _join(detail if taken else "", why))


def _misfit(target: Block, source: Block) -> str:
    """Say why a block cannot be taken; empty if it can."""
    if target.keys() != source.keys():
        return "its layers are of another kind"
    for key, value in target.items():
        here, there = value.shape, source[key].shape
        if len(here) != len(there):
            return f"it is {len(there) - 2}D"
        if here[2:] != there[2:]:
            return f"its kernel is {_times(there[2:])}, here {_times(here[2:])}"
        if here != there:
            return f"its features are {_times(there[:2])}, here {_times(here[:2])}"
    return ""


def _channel_weights(weight: torch.Tensor, source: list[str], target: list[str]) -> tuple[torch.Tensor, str, int]:
    """Adapt the first convolution's weights (features, channels, ...) to the target's channels.

    Returns the weights, what was done, and how many weights are new.
    """
    pairs = channel_pairs(target, source)
    if len(pairs) == len(target) == len(source) and all(here == there for here, there in pairs.items()):
        return weight, "", 0
    if pairs:
        zero = torch.zeros_like(weight[:, :1])
        columns = [weight[:, pairs[here], None] if here in pairs else zero for here in range(len(target))]
        new = [name for here, name in enumerate(target) if here not in pairs]
        unused = [name for there, name in enumerate(source) if there not in pairs.values()]
        detail = "channels: " + ", ".join(target[here] for here in pairs) + " taken"
        detail += f"; {', '.join(new)} new, from zero" if new else ""
        detail += f"; {', '.join(unused)} left out" if unused else ""
        return torch.cat(columns, 1), detail, len(new) * zero.numel()
    if len(source) == len(target):
        shown = ", ".join(f"{here} from {there}" for here, there in zip(target, source, strict=True))
        return weight, f"no channel has the same name; in order: {shown}", 0
    repeated = [1, len(target)] + [1] * (weight.ndim - 2)
    return weight.mean(1, keepdim=True).repeat(repeated), "no channel has the same name; all start as the mean", 0


def _take_heads(
    target: dict[int, Block],
    source: dict[int, Block],
    levels: Sequence[int],
    labels: Labels,
    source_labels: Labels,
) -> Part:
    """Copy the outputs of structures with the same names, on decoder stages that were taken whole."""
    weights = sum(map(_size, target.values()))
    shared = [name for name in labels.names if name in source_labels.names]
    new = [name for name in labels.names if name not in source_labels.names]
    unused = [name for name in source_labels.names if name not in labels.names]
    if not shared or not levels:
        return Part(_HEADS, 0, weights, "no structure has the same name" if levels else "no decoder stage was taken")
    softmax = labels.activation == "softmax"
    taken = 0
    for level in levels:
        for key, value in target[level].items():
            # with sigmoid there is no background output: it is as if its logit were 0
            outputs = source[level][key]
            first, structures = torch.zeros_like(outputs[0]), outputs
            if source_labels.activation == "softmax":
                first, structures = outputs[0], outputs[1:]
            # without a background, the first output stands for what lies beyond an image: it is none for a background
            background = torch.zeros_like(first) if source_labels.background is None else first
            if softmax and (labels.background is None) == (source_labels.background is None):
                value[0] = first
                taken += value[0].numel()
            for name in shared:
                row = structures[source_labels.names.index(name)]
                value[labels.names.index(name) + softmax] = row if softmax else row - background
                taken += row.numel()
    detail = f"structures: {', '.join(shared)} taken" + (f"; {', '.join(new)} new" if new else "")
    return Part(_HEADS, taken, weights, detail + (f"; {', '.join(unused)} left out" if unused else ""))


def _take_layers(target: torch.nn.Module, source: torch.nn.Module) -> list[Part]:
    """Copy layers of the same name and shapes, for other networks than medseg's U-Nets; a part is a top module.

    Statistics of batch normalization come with the weights of their layer: neither means anything without the other.
    """
    source_layers = {name: dict(layer.named_parameters(recurse=False)) for name, layer in source.named_modules()}
    source_buffers = dict(source.named_buffers())
    counts: dict[str, list[int]] = {}  # {part: [weights taken, all weights]}
    for name, layer in target.named_modules():
        block = dict(layer.named_parameters(recurse=False))
        if not block:
            continue
        part = counts.setdefault(".".join(name.split(".")[:2]) or "network", [0, 0])
        part[1] += _size(block)
        if name in source_layers and not _misfit(block, source_layers[name]):
            part[0] += _size(block)
            for key, value in block.items():
                value.copy_(source_layers[name][key])
            for key, value in layer.named_buffers(recurse=False):
                source_value = source_buffers.get(f"{name}.{key}".lstrip("."))
                if source_value is not None and source_value.shape == value.shape:
                    value.copy_(source_value)
    return [Part(name, taken, weights) for name, (taken, weights) in counts.items()]


def _size(block: Block) -> int:
    return sum(value.numel() for value in block.values())


def _times(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def _join(*sentences: str) -> str:
    return "; ".join(sentence for sentence in sentences if sentence)
