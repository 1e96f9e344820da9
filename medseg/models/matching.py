"""Weights of one network in another: blocks by their place, input channels and structures by name.

A block is taken whole or not at all, and within a stage only behind blocks that were taken. Stages are counted from
the full resolution, so that networks of different depth share their finer stages.

A channel that the source does not have starts with weights of zero: the network begins by answering as the source
did, and learns to use the channel from the first step on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from medseg.core.labels import Labels
from medseg.networks.unet import UNet
from medseg.plans.schema import Configuration, Plan

_HEADS = "heads"


@dataclass(frozen=True)
class Side:
    """A network, and what its channels and outputs mean."""

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
            "previous " + "+".join(name for name, own in members if value in own)
            for value in self.plan.labels.values[1:]
        ]


@dataclass(frozen=True)
class Part:
    """A part of a network: how many of its weights were taken from the source, and what there is to say."""

    name: str
    taken: int
    weights: int
    detail: str = ""

    @property
    def amount(self) -> str:
        """How much of it was taken, in a word."""
        if self.taken in (0, self.weights):
            return "all" if self.taken else "none"
        return f"{self.taken / self.weights:.0%}"


Block = dict[str, torch.Tensor]


def channel_pairs(mine: Sequence[str], theirs: Sequence[str]) -> dict[int, int]:
    """Numbers of channels with the same name, upper and lower case being one: of mine -> of theirs."""
    own, others = ([name.strip().casefold() for name in names] for names in (mine, theirs))
    if own == others:  # some names may be there twice
        return {number: number for number in range(len(own))}
    return {number: others.index(name) for number, name in enumerate(own) if name in others}


@torch.no_grad()
def take_weights(mine: Side, theirs: Side) -> list[Part]:
    """Copy into `mine.network` what fits of `theirs.network`, in place; what does not fit stays as it is."""
    if isinstance(mine.network, UNet) and isinstance(theirs.network, UNet):
        return _take_unet(mine, theirs, mine.network, theirs.network)
    return _take_layers(mine.network, theirs.network)


def _take_unet(mine: Side, theirs: Side, network: UNet, source: UNet) -> list[Part]:
    own, others = _stages(network), _stages(source)
    first = next(iter(others))
    weight, said, new = _channel_weights(others[first][0]["conv.weight"], theirs.channels, mine.channels)
    others[first][0] = {**others[first][0], "conv.weight": weight}
    strides = [side.configuration.network.strides for side in (mine, theirs)]
    parts = []
    for name, blocks in own.items():
        part = _take_stage(name, blocks, others.get(name, []), "" if name != first else said)
        if name == first and part.taken:
            part = replace(part, taken=part.taken - new)
        kind, _, number = name.partition(" ")
        if kind == "encoder" and part.taken and strides[0][int(number)] != strides[1][int(number)]:
            here, there = (_times(one[int(number)]) for one in strides)
            part = replace(part, detail=_join(part.detail, f"its stride was {there}, here {here}"))
        parts.append(part)
    whole = {part.name for part in parts if part.taken == part.weights}
    levels = [number for number in range(len(network.heads)) if f"decoder {number}" in whole]
    return [*parts, _take_heads(_heads(network), _heads(source), levels, mine.plan.labels, theirs.plan.labels)]


def _stages(network: UNet) -> dict[str, list[Block]]:
    """Blocks of each stage, by its number from the full resolution; a decoder stage begins with its upsampling."""
    stages: dict[str, list[torch.nn.Module]] = {} if network.stem is None else {"stem": [network.stem]}
    for number, stage in enumerate(network.encoder):
        stages[f"encoder {number}"] = list(stage.children())
    for number, (up, decode) in enumerate(zip(network.up, network.decoder, strict=True)):
        stages[f"decoder {len(network.up) - 1 - number}"] = [up, *decode.children()]
    return {name: [dict(module.named_parameters()) for module in blocks] for name, blocks in stages.items()}


def _heads(network: UNet) -> dict[int, Block]:
    """The head of each decoder stage, by the stage's number from the full resolution."""
    last = len(network.heads) - 1
    return {last - number: dict(head.named_parameters()) for number, head in enumerate(network.heads)}


def _take_stage(name: str, mine: Sequence[Block], theirs: Sequence[Block], said: str = "") -> Part:
    """Copy blocks from the first on, as far as they fit."""
    taken, why = 0, "" if theirs else "the source has none"
    for number, block in enumerate(mine):
        if not theirs or number == len(theirs):
            why = why or f"the source has {len(theirs)} of {len(mine)} blocks"
            break
        why = _misfit(block, theirs[number])
        if why:
            break
        for key, value in block.items():
            value.copy_(theirs[number][key])
        taken += _size(block)
    if not why and len(theirs) > len(mine):
        why = f"the source's further blocks are left out: {len(theirs) - len(mine)}"
    return Part(name, taken, sum(map(_size, mine)), _join(said if taken else "", why))


def _misfit(mine: Block, theirs: Block) -> str:
    """Why a block cannot be taken, in words; empty where it can."""
    if mine.keys() != theirs.keys():
        return "its layers are of another kind"
    for key, value in mine.items():
        here, there = value.shape, theirs[key].shape
        if len(here) != len(there):
            return f"it is {len(there) - 2}D"
        if here[2:] != there[2:]:
            return f"its kernel is {_times(there[2:])}, here {_times(here[2:])}"
        if here != there:
            return f"its features are {_times(there[:2])}, here {_times(here[:2])}"
    return ""


def _channel_weights(weight: torch.Tensor, theirs: list[str], mine: list[str]) -> tuple[torch.Tensor, str, int]:
    """The first convolution's weights (features, channels, ...) for other channels, what was done, how many are new."""
    found = channel_pairs(mine, theirs)
    if len(found) == len(mine) == len(theirs) and all(here == there for here, there in found.items()):
        return weight, "", 0
    if found:
        empty = torch.zeros_like(weight[:, :1])
        columns = [weight[:, found[here], None] if here in found else empty for here in range(len(mine))]
        new = [name for here, name in enumerate(mine) if here not in found]
        left = [name for there, name in enumerate(theirs) if there not in found.values()]
        said = "channels: " + ", ".join(mine[here] for here in found) + " taken"
        said += f"; {', '.join(new)} new, from zero" if new else ""
        said += f"; {', '.join(left)} left out" if left else ""
        return torch.cat(columns, 1), said, len(new) * empty.numel()
    if len(theirs) == len(mine):
        pairs = ", ".join(f"{here} from {there}" for here, there in zip(mine, theirs, strict=True))
        return weight, f"no channel has the same name; in order: {pairs}", 0
    repeated = [1, len(mine)] + [1] * (weight.ndim - 2)
    return weight.mean(1, keepdim=True).repeat(repeated), "no channel has the same name; all start as the mean", 0


def _take_heads(
    mine: dict[int, Block], theirs: dict[int, Block], levels: Sequence[int], own: Labels, others: Labels
) -> Part:
    """Copy the outputs of structures with the same names, on decoder stages that were taken whole."""
    weights = sum(map(_size, mine.values()))
    shared = [name for name in own.names if name in others.names]
    new = [name for name in own.names if name not in others.names]
    left = [name for name in others.names if name not in own.names]
    if not shared or not levels:
        return Part(_HEADS, 0, weights, "no structure has the same name" if levels else "no decoder stage was taken")
    taken = 0
    for level in levels:
        for key, value in mine[level].items():
            background, structures = _apart(theirs[level][key], others)
            if own.activation == "softmax":
                value[0] = background
                taken += value[0].numel()
            for name in shared:
                row = structures[others.names.index(name)]
                place = own.names.index(name) + (own.activation == "softmax")
                value[place] = row if own.activation == "softmax" else row - background
                taken += row.numel()
    said = f"structures: {', '.join(shared)} taken" + (f"; {', '.join(new)} new" if new else "")
    return Part(_HEADS, taken, weights, said + (f"; {', '.join(left)} left out" if left else ""))


def _apart(outputs: torch.Tensor, labels: Labels) -> tuple[torch.Tensor, torch.Tensor]:
    """The background's output and those of the structures; with sigmoid the background is at zero."""
    if labels.activation == "softmax":
        return outputs[0], outputs[1:]
    return torch.zeros_like(outputs[0]), outputs


def _take_layers(mine: torch.nn.Module, theirs: torch.nn.Module) -> list[Part]:
    """Of networks that are not medseg's U-Nets: layers of the same name and shapes, a row for each top part."""
    there = {name: dict(layer.named_parameters(recurse=False)) for name, layer in theirs.named_modules()}
    found: dict[str, list[int]] = {}
    for name, layer in mine.named_modules():
        block = dict(layer.named_parameters(recurse=False))
        if not block:
            continue
        counts = found.setdefault(".".join(name.split(".")[:2]) or "network", [0, 0])
        counts[1] += _size(block)
        if name in there and not _misfit(block, there[name]):
            counts[0] += _size(block)
            for key, value in block.items():
                value.copy_(there[name][key])
    return [Part(name, taken, weights) for name, (taken, weights) in found.items()]


def _size(block: Block) -> int:
    return sum(value.numel() for value in block.values())


def _times(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def _join(*said: str) -> str:
    return "; ".join(one for one in said if one)
