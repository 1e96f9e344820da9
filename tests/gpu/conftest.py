"""A GPU that computes nothing: tensors know their shape, type and device, and that is all (torch's `FakeTensorMode`).

Under it a tensor on `cuda` needs no GPU, only a build of torch with CUDA. What it shows: that every operation takes
what it is given, that no tensors of two devices meet, and that nothing asks the device for a number, which on a real
GPU would wait for it. What it cannot show: values, times, memory, streams and graphs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.autograd.function import BackwardCFunction
from torch.utils._device import _device_constructors

from medseg.networks.device import first_line
from medseg.training.data import intensity, transfer

CUDA = torch.device("cuda")
IN_PLACE = ("_fused_sgd_", "_fused_adam_", "_fused_adamw_", "_amp_foreach_non_finite_check_and_unscale_")
"""Operations that torch has no shapes for, as they change tensors in place and return nothing."""


@cache
def _declare_in_place() -> torch.library.Library:
    library = torch.library.Library("aten", "IMPL")
    for name in IN_PLACE:
        for overload in getattr(torch.ops.aten, name).overloads():
            schema = f"{name}.{overload}".removesuffix(".default")
            with suppress(RuntimeError):  # torch has it after all
                library.impl(schema, lambda *tensors, **options: None, "Meta")
    with suppress(RuntimeError):
        library.impl("_amp_update_scale_", lambda scale, *others: scale, "Meta")
    return library


def _zeros(node: Any, about: Any) -> torch.Tensor | None:
    """The gradient of an output that nothing used, as autograd hands it to a function of one's own; else None."""
    if not isinstance(node, BackwardCFunction):
        return None
    return torch.zeros(tuple(about.shape), dtype=about.dtype, device=about.device)


def backward(loss: torch.Tensor) -> None:
    """What `torch.autograd.backward` does, node by node: torch's own engine asks the driver for streams first."""
    assert loss.grad_fn is not None
    users: Counter[Any] = Counter()
    waiting, seen = [loss.grad_fn], {loss.grad_fn}
    while waiting:
        for node, _ in waiting.pop().next_functions:
            if node is None:
                continue
            users[node] += 1
            if node not in seen:
                seen.add(node)
                waiting.append(node)
    gradients: dict[Any, dict[int, torch.Tensor]] = {loss.grad_fn: {0: torch.ones_like(loss)}}
    ready = [loss.grad_fn]
    while ready:
        node = ready.pop()
        known = gradients.pop(node, {})
        if hasattr(node, "variable"):  # a weight
            weight, added = node.variable, known[0]
            assert (added.shape, added.dtype, added.device) == (weight.shape, weight.dtype, weight.device)
            weight.grad = added if weight.grad is None else weight.grad + added
            continue
        outputs = enumerate(node._input_metadata)
        inputs = [known.get(number, _zeros(node, about)) for number, about in outputs] if known else []
        answers = (node.apply if isinstance(node, BackwardCFunction) else node)(*inputs) if inputs else ()
        answers = answers if isinstance(answers, tuple) else (answers,)
        answers = (*answers, *[None] * (len(node.next_functions) - len(answers)))
        for (following, number), answer in zip(node.next_functions, answers, strict=False):
            if following is None:
                continue
            if answer is not None:
                sums = gradients.setdefault(following, {})
                sums[number] = sums[number] + answer if number in sums else answer
            users[following] -= 1
            if users[following] == 0:
                ready.append(following)


@cache
def _why_not() -> str | None:
    """Return why this torch has no fake GPU; None where layers of the networks and their gradients go through it."""
    if not torch.backends.cuda.is_built():
        return "this torch is built without CUDA"
    try:
        with FakeTensorMode():
            layers = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 3, device=CUDA), torch.nn.InstanceNorm3d(2, device=CUDA))
            with torch.autocast("cuda", torch.bfloat16):
                answer = layers(torch.empty(1, 1, 8, 8, 8, device=CUDA))
            backward(answer.float().sum())
            answer.to("cpu")
    except Exception as error:  # whatever it is that torch lacks
        return f"without a driver, torch {torch.__version__} has no fake tensors that serve: {first_line(error)}"
    return None


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """The device, for as long as the test runs; modules and tensors have to be made in the test."""
    if why_not := _why_not():
        pytest.skip(why_not)
    _declare_in_place()
    _device_constructors()  # remembers `torch.arange` and others at its first use, which must not be a replaced one
    mode = FakeTensorMode()
    from_numpy, generator, arange = torch.from_numpy, torch.Generator, torch.arange

    def to_numpy(tensor: FakeTensor, **options: Any) -> NDArray:
        """Zeros of the right shape, for what has been copied to the host and will not be asked for its values."""
        if tensor.device.type != "cpu":
            raise TypeError(f"can't convert {tensor.device} device type tensor to numpy")
        return np.zeros(tensor.shape, str(tensor.dtype).removeprefix("torch."))

    def known_range(*limits: int, **options: Any) -> torch.Tensor:
        """A range that knows its values where it is made on the host: MONAI makes numbers of axes so."""
        tensor = arange(*limits, **options)
        if not options and tensor.device.type == "cpu" and all(isinstance(limit, int) for limit in limits):
            tensor.known = list(range(*limits))
        return tensor

    def to_list(tensor: FakeTensor) -> Any:
        values = to_numpy(tensor)
        return getattr(tensor, "known", None) or values.tolist()

    def pack(arrays: Any, pinned: bool) -> torch.Tensor:
        return torch.empty(transfer._starts(arrays)[-1], dtype=torch.uint8)

    def to(module: torch.nn.Module, device: torch.device) -> torch.nn.Module:
        """A module that is there already: torch swaps tensors in modules, which it does not with these."""
        assert {parameter.device.type for parameter in module.parameters()} == {device.type}
        return module

    def without_graph(loss: torch.Tensor) -> None:
        with torch.no_grad():
            backward(loss)

    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **options: True)
    monkeypatch.setattr(torch.nn.Module, "to", to)
    monkeypatch.setattr(torch, "arange", known_range)
    monkeypatch.setattr(torch.autograd, "backward", without_graph)
    monkeypatch.setattr(FakeTensorMode, "__deepcopy__", lambda mode, memo: mode, raising=False)  # of averaged weights
    monkeypatch.setattr(FakeTensor, "numpy", to_numpy, raising=False)
    monkeypatch.setattr(FakeTensor, "tolist", to_list, raising=False)
    monkeypatch.setattr(torch, "from_numpy", lambda array: mode.from_tensor(from_numpy(array)))
    monkeypatch.setattr(transfer, "pack", pack)
    # without a driver there is no generator on the device; what it would make is noise
    monkeypatch.setattr(intensity.torch, "Generator", lambda device: generator())
    with mode:
        yield CUDA
