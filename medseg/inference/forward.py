"""A network as a function of tiles: what the sliding window calls, whoever computes it."""

from __future__ import annotations

import torch

from medseg.inference.window_pass import Forward
from medseg.networks.device import autocast


def torch_forward(network: torch.nn.Module, precision: torch.dtype) -> Forward:
    """Torch computes, where the network's parameters are."""
    device = next(network.parameters()).device

    def forward(tiles: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), autocast(device, precision):
            logits: torch.Tensor = network(tiles.to(device, non_blocking=True))[0]
        return logits

    return forward
