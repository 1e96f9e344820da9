"""Who computes a model's networks: torch, OpenVINO on a processor, or what measures fastest on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec

import torch

from medseg.core.errors import PlanError
from medseg.inference.forward import torch_forward
from medseg.inference.window_pass import Forward
from medseg.networks.device import first_line
from medseg.networks.unet import UNet
from medseg.plans.sections import Inference


def choose_backend(name: str, networks: Sequence[torch.nn.Module], device: torch.device) -> str:
    """`torch` or `openvino`: what the plan says or, for `auto`, OpenVINO for medseg's own networks on a CPU.

    Other networks have to be traced for it, which takes seconds and not always succeeds, so it has to be asked for.

    Raises:
        PlanError: OpenVINO is asked for, and is not there or not for this device.
    """
    there = find_spec("openvino") is not None
    if name == "auto":
        own = all(isinstance(network, UNet) for network in networks)
        return "openvino" if device.type == "cpu" and there and own else "torch"
    if name == "openvino" and device.type != "cpu":
        raise PlanError(
            f"inference.backend is openvino, which computes on the CPU; the device is {device}.", "Add --device cpu."
        )
    if name == "openvino" and not there:
        raise PlanError("inference.backend is openvino, which is not installed.", "pip install 'medseg[openvino]'")
    return name


def make_members(
    networks: Sequence[torch.nn.Module],
    inference: Inference,
    shape: Sequence[int],
    tile_batch: int,
    precision: torch.dtype,
    say: Callable[[str], None],
) -> list[Forward]:
    """The networks as functions of tiles.

    Args:
        networks: one a fold, on the device to compute on.
        inference: which backend is wanted.
        shape: of a tile (channel, ...).
        tile_batch: how many usually come at once.
        precision: of convolutions.
        say: is told, in a sentence, what could not be done.

    Raises:
        PlanError: the backend that the plan insists on is not there, or cannot take the networks.
    """
    device = next(networks[0].parameters()).device
    backend = choose_backend(inference.backend, networks, device)
    if backend == "openvino":
        from medseg.inference.openvino_network import openvino_forward

        try:
            return [openvino_forward(network, shape[0], shape[1:], precision) for network in networks]
        except Exception as error:  # tracing and converting raise unrelated types
            problem = f"OpenVINO cannot compute this network: {first_line(error)}"
            if inference.backend == "openvino":
                raise PlanError(problem, "Leave it to torch: --set inference.backend=torch") from None
            say(f"{problem}; torch computes it.")
    if device.type == "cuda":
        return _on_gpu(networks, torch.zeros(tile_batch, *shape, device=device), precision)
    return [torch_forward(network, precision) for network in networks]


def _on_gpu(networks: Sequence[torch.nn.Module], example: torch.Tensor, precision: torch.dtype) -> list[Forward]:
    """All networks in the way that is fastest for the first."""
    from medseg.inference.gpu import fastest, gpu_candidates

    name, first = fastest(gpu_candidates(networks[0], example, precision), example)
    return [first, *(gpu_candidates(network, example, precision)[name]() for network in networks[1:])]
