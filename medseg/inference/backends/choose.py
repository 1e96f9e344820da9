"""Choose the backend of a model's networks: torch, OpenVINO on a processor, or whatever measures fastest on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec

import torch

from medseg.core.errors import PlanError
from medseg.core.installing import pip_install
from medseg.models.quantization import Quantization
from medseg.networks.device import autocast, first_line, to_device
from medseg.networks.unet import UNet
from medseg.plans.sections.inference import Inference

Forward = Callable[[torch.Tensor], torch.Tensor]
"""A network as a function, whoever computes it: tiles (tile, channel, ...) float32, on any device, to logits
(tile, outputs, ...) of any floating type. The next call by the same thread may overwrite the answer; a call by another
thread never does."""


def torch_forward(network: torch.nn.Module, precision: torch.dtype) -> Forward:
    """Return a network as a function of tiles, computed by torch on the device of the network's parameters.

    Args:
        network: answers with a list of tensors, the full resolution first.
        precision: in which convolutions are computed.
    """
    device = next(network.parameters()).device

    def forward(tiles: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), autocast(device, precision):
            logits: torch.Tensor = network(to_device(tiles, device))[0]
            # a copy: networks of other libraries may answer with one tensor again and again (torch.compile with CUDA
            # graphs does), which another thread's call would overwrite while this thread still reads it
            return logits.clone()

    return forward


def release_graphs(members: Sequence[Forward]) -> None:
    """Give back the memory of the CUDA graphs among some functions, which then run without; no call may be under way.

    Args:
        members: what `make_members` returned.
    """
    for member in members:
        release = getattr(member, "release", None)  # `gpu_backend.Graphed`, which only a GPU needs
        if release is not None:
            release()


def choose_backend(name: str, networks: Sequence[torch.nn.Module], device: torch.device) -> str:
    """Return `torch` or `openvino`: as planned or, for `auto`, OpenVINO for medseg's own networks on a CPU.

    Other networks must be traced for OpenVINO, which takes seconds and does not always succeed; so it must be asked
    for.

    Args:
        name: `inference.backend` of the plan.
        networks: one per fold.
        device: the networks' device.

    Raises:
        PlanError: OpenVINO is asked for, but is not installed or does not compute on this device.
    """
    installed = find_spec("openvino") is not None
    if name == "auto":
        suits = device.type == "cpu" and installed and all(isinstance(network, UNet) for network in networks)
        return "openvino" if suits else "torch"
    if name == "openvino" and device.type != "cpu":
        raise PlanError(
            f"inference.backend is openvino, which computes on the CPU; the device is {device}.", "Add --device cpu."
        )
    if name == "openvino" and not installed:
        raise PlanError("inference.backend is openvino, which is not installed.", pip_install("openvino"))
    return name


def make_members(
    networks: Sequence[torch.nn.Module],
    inference: Inference,
    shape: Sequence[int],
    tile_batch: int,
    precision: torch.dtype,
    on_note: Callable[[str], None],
    quantizations: Sequence[Quantization | None] = (),
) -> tuple[str, list[Forward]]:
    """Return the name of the backend, and each network as a function of tiles.

    Args:
        networks: one per fold, on the device to compute on.
        inference: says which backend is wanted.
        shape: the shape of a tile (channel, y, x) or (channel, z, y, x).
        tile_batch: how many tiles usually come at once; on a GPU what is made takes the memory of so many.
        precision: in which convolutions are computed.
        on_note: called with a sentence for everything that could not be done as asked.
        quantizations: how each network is computed in 8 bits; for the precision int8 alone, in which only OpenVINO
            computes.

    Returns:
        `openvino`, `torch`, or `torch: ` and the way that measured fastest on a GPU; and a function for each network.

    Raises:
        PlanError: the backend that the plan insists on is not there, or cannot compute the networks.
    """
    device = next(networks[0].parameters()).device
    int8 = precision == torch.int8
    if int8 or choose_backend(inference.backend, networks, device) == "openvino":
        # imported here, as OpenVINO is not installed everywhere
        from medseg.inference.backends.openvino_backend import openvino_forward

        how = quantizations if int8 else [None] * len(networks)
        try:
            return "openvino", [
                openvino_forward(network, shape[0], shape[1:], precision, each)
                for network, each in zip(networks, how, strict=True)
            ]
        except Exception as error:  # tracing and converting raise unrelated types
            problem = f"OpenVINO cannot compute this network: {first_line(error)}"
            if int8:
                raise PlanError(problem, "Compute in another precision: --set inference.precision=auto") from None
            if inference.backend == "openvino":
                raise PlanError(problem, "Leave it to torch: --set inference.backend=torch") from None
            on_note(f"{problem}; torch computes it.")
    if device.type == "cuda":
        from medseg.inference.backends.gpu_backend import gpu_members

        kind, members = gpu_members(networks, torch.zeros(tile_batch, *shape, device=device), precision)
        return f"torch: {kind}", members
    return "torch", [torch_forward(network, precision) for network in networks]
