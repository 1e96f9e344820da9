"""The parts of a network, and the memory that training it needs: found on torch's meta device, without computing.

`medseg networks` prints both. Tensors on the meta device have shapes but no values, so that a network of any size is
looked at in a moment, on any machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import torch
from torch import nn

_LEAST_SHARE = 0.02
"""Modules with fewer of the network's weights than this are not taken apart, whatever is in them."""
_UNIT = re.compile("Block|Bottleneck|InvertedResidual")
"""What the classes of modules are called that stay whole, although some have a stride in their middle."""
_OPTIMIZER_VALUES = {"sgd": 1, "muon": 1, "adam": 2, "adamw": 2}
"""Values that an optimizer keeps for each weight; Muon keeps 2 for the few that it leaves to AdamW."""


@dataclass(frozen=True)
class Stage:
    """A part of a network, or several equal ones in a row.

    Attributes:
        name: dotted name of the module; of several, of the first and the last.
        kind: its class.
        shape: of its answer for one image: (channel, ...), or (token, feature); empty if it answers no tensor.
        parameters: number of its weights, of all of them together.
        count: how many modules it stands for.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    count: int = 1


@dataclass
class _Call:
    """The first call of a module: its place in the order of calls, and the shape of its answer without the batch."""

    order: int
    shape: tuple[int, ...] = ()


def on_meta(make: Callable[[], nn.Module]) -> nn.Module:
    """Return a network on the meta device, in evaluation mode.

    Args:
        make: makes it. Some networks look at values while they are made; these are made on the CPU and brought over.

    Raises:
        MedsegError: it cannot be made.
    """
    try:
        with torch.device("meta"):
            return make().eval()
    except Exception:  # whatever is wrong with the network itself is raised again by the next line
        return make().to("meta").eval()


def count_parameters(network: nn.Module) -> int:
    """Return the number of a network's weights; a weight that two modules share counts once.

    >>> count_parameters(nn.Linear(3, 2))
    8
    """
    return sum(parameter.numel() for parameter in network.parameters())


def training_bytes(network: nn.Module, shape: Sequence[int], levels: int, optimizer: str) -> int:
    """Return the bytes that a training step in fp32 keeps: its peak without the workspaces of libraries.

    These are weights, gradients, what the optimizer keeps for each weight, the batch, and every value that autograd
    saves in the forward pass for the backward pass, each tensor once.

    Args:
        network: on the meta device.
        shape: of a batch (batch, channel, ...).
        levels: how many answers the loss looks at.
        optimizer: the plan's `training.optimizer`.
    """
    saved: dict[int, torch.UntypedStorage] = {}
    weights = {parameter.untyped_storage()._cdata for parameter in network.parameters()}

    def save(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            saved[storage._cdata] = storage  # which also keeps the address from being used again
        return tensor

    image = torch.empty(*shape, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        answers = network.train()(image, levels)
    network.eval()
    values = [*saved.values(), *(answer.untyped_storage() for answer in answers), image.untyped_storage()]
    kept = {storage._cdata: storage.nbytes() for storage in values}
    return sum(kept.values()) + 4 * count_parameters(network) * (2 + _OPTIMIZER_VALUES[optimizer])


def stages(network: nn.Module, shape: Sequence[int], levels: int) -> list[Stage]:
    """Return the parts of a network in the order in which they compute.

    A module whose parts all answer on one grid is a stage; others are taken apart. Equal ones in a row become one line.
    The numbers of weights add up to that of the network.

    Args:
        network: on the meta device.
        shape: of one image (channel, ...).
        levels: how many answers to ask for.
    """
    calls = _calls(network, shape, levels)
    parts = _Parts(calls, len(shape), _LEAST_SHARE * count_parameters(network))
    parts.take_apart(network, "")
    rows = _without_prefix([stage for _, stage in sorted(parts.rows, key=lambda row: row[0])])
    return _merged(_without_idle(rows))


def _calls(network: nn.Module, shape: Sequence[int], levels: int) -> dict[int, _Call]:
    """Return {id of a module: its first call} for one image."""
    calls: dict[int, _Call] = {}
    handles = []

    def begin(module: nn.Module, inputs: Any) -> None:
        calls.setdefault(id(module), _Call(len(calls)))

    def end(module: nn.Module, inputs: Any, answer: Any) -> None:
        calls[id(module)].shape = calls[id(module)].shape or _shape_of(answer)

    for module in network.modules():
        handles += [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]
    try:
        with torch.no_grad():
            network(torch.empty(1, *shape, device="meta"), levels)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _shape_of(answer: Any) -> tuple[int, ...]:
    """Return the shape of an answer without its batch; of several, that of the last, which is the deepest."""
    if isinstance(answer, torch.Tensor):
        return tuple(answer.shape[1:])
    tensors = [part for part in answer if isinstance(part, torch.Tensor)] if isinstance(answer, list | tuple) else []
    return tuple(tensors[-1].shape[1:]) if tensors else ()


class _Parts:
    """The rows of `stages` while a network is taken apart.

    Args:
        calls: of `_calls`.
        axes: number of axes of an image, its channels among them.
        least: modules with fewer weights are not taken apart.

    Attributes:
        rows: (place in the order of calls, stage).
    """

    def __init__(self, calls: dict[int, _Call], axes: int, least: float) -> None:
        self.calls = calls
        self.axes = axes
        self.least = least
        self.rows: list[tuple[float, Stage]] = []
        self._counted: set[int] = set()  # ids of modules and weights that have a row: some stand in two places

    def take_apart(self, module: nn.Module, name: str) -> None:
        """Add the rows of a module."""
        if id(module) in self._counted:
            return
        call = self.calls.get(id(module))
        called_inside = any(id(part) in self.calls for part in module.modules() if part is not module)
        if called_inside and (name == "" or call is None or self._has_stages(module)):
            self._counted.add(id(module))
            self._add(module, name, "weights of its own", call, module.parameters(recurse=False))
            for child, part in module.named_children():
                self.take_apart(part, f"{name}.{child}".lstrip("."))
        else:
            self._add(module, name, _kind(module), call, module.parameters())
            self._counted |= {id(part) for part in module.modules()}

    def _has_stages(self, module: nn.Module) -> bool:
        """Return whether the parts of a module answer on several grids, and it is worth to look at them."""
        size = sum(parameter.numel() for parameter in module.parameters())
        if size < self.least or _UNIT.search(type(module).__name__) or _is_transformer(module):
            return False
        shapes = [self.calls[id(part)].shape for part in module.modules() if id(part) in self.calls]
        # means over all of a grid, as in gates of channels, are no stages
        grids = {shape[1:] for shape in shapes if len(shape) == self.axes and prod(shape[1:]) > 1}
        return len(grids) > 1

    def _add(self, module: nn.Module, name: str, kind: str, call: _Call | None, weights: Any) -> None:
        """Add a row, for weights that have none yet; not for a module that has no weights and was not called."""
        new = [weight for weight in weights if id(weight) not in self._counted]
        self._counted |= {id(weight) for weight in new}
        size = sum(weight.numel() for weight in new)
        only_weights = kind == "weights of its own"
        if size or (call is not None and not only_weights):
            order = len(self.calls) if call is None else call.order
            shape = call.shape if call is not None and not only_weights else ()
            self.rows.append((order, Stage(name, kind, shape, size)))


def _kind(module: nn.Module) -> str:
    """Return the class of a module; of a sequence of equal ones, theirs with their number.

    >>> _kind(nn.ReLU()), _kind(nn.Sequential(nn.ReLU(), nn.ReLU()))
    ('ReLU', '2 x ReLU')
    """
    inside = {type(part).__name__ for part in module.children()}
    if isinstance(module, nn.Sequential) and len(inside) == 1:
        return f"{len(module)} x {inside.pop()}" if len(module) > 1 else inside.pop()
    return type(module).__name__


def _is_transformer(module: nn.Module) -> bool:
    """Return whether a module works on tokens: it has layer norm, and no convolution that sees a neighbour."""
    convolutions = [part for part in module.modules() if isinstance(part, nn.Conv2d | nn.Conv3d)]
    return any(isinstance(part, nn.LayerNorm) for part in module.modules()) and not any(
        max(part.kernel_size) > 1 for part in convolutions
    )


def _without_prefix(rows: list[Stage]) -> list[Stage]:
    """Cut from the names what all have in common: the module that wraps a network of another library."""
    while rows and len({row.name.partition(".")[0] for row in rows}) == 1 and all("." in row.name for row in rows):
        rows = [replace(row, name=row.name.partition(".")[2]) for row in rows]
    return rows


def _without_idle(rows: list[Stage]) -> list[Stage]:
    """Leave out parts without weights that keep the shape, such as activations and dropout between stages."""
    kept: list[Stage] = []
    for row in rows:
        if row.parameters or (row.shape and (not kept or row.shape != kept[-1].shape)):
            kept.append(row)
    return kept


def _merged(rows: list[Stage]) -> list[Stage]:
    """Make one line of equal modules in a row."""
    groups: list[list[Stage]] = []
    for row in rows:
        same = partial(replace, row, name="")
        if groups and replace(groups[-1][0], name="") == same():
            groups[-1].append(row)
        else:
            groups.append([row])
    return [
        group[0]
        if len(group) == 1
        else replace(
            group[0],
            name=f"{group[0].name} ... {group[-1].name}",
            parameters=sum(row.parameters for row in group),
            count=len(group),
        )
        for group in groups
    ]
