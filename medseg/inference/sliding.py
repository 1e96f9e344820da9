"""The sliding window: a preprocessed volume to logits on its grid, averaged over tiles, mirrored copies and folds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import torch

from medseg.core.progress import Callback, silent
from medseg.inference.forward import torch_forward
from medseg.inference.memory import MemoryPlan, tiles_at_once
from medseg.inference.resources import Resources
from medseg.inference.views import View, Views, tolerance
from medseg.inference.window_pass import Sweep
from medseg.networks.device import evaluating
from medseg.plans.schema import Configuration
from medseg.plans.sections import Inference


def stream_logits(sweep: Sweep, callback: Callback = silent) -> Iterator[torch.Tensor]:
    """Logits of a volume, as consecutive slabs (outputs, planes, y, x) along its first axis.

    Volumes smaller than a tile are padded with zeros on both sides; 2D configurations see slice after slice.
    Logits are averaged over folds and mirrored copies, and over tiles with Gaussian weights. No slab shares memory
    with another, and in memory are the planes that tiles still lie on, however large the volume is.

    Args:
        sweep: the volume and the networks.
        callback: told of every batch of tiles; may raise `Cancelled`.

    Raises:
        MedsegError: there is not enough memory for a single tile.
    """
    share = 1 / (len(sweep.members) * len(sweep.views.flips))

    def mean(view: View, logits: torch.Tensor) -> list[tuple[View, torch.Tensor, float]]:
        return [(view, logits, share)]

    return sweep.slabs(mean, callback)


def predict_logits(
    networks: Sequence[torch.nn.Module],
    image: torch.Tensor,
    configuration: Configuration,
    inference: Inference,
    precision: torch.dtype,
) -> torch.Tensor:
    """All logits (outputs, z, y, x) float32 of a volume at once, computed by torch; see `stream_logits`.

    The networks may be in training; they are evaluated, and left as they were.
    """
    device = next(networks[0].parameters()).device
    plan = MemoryPlan(tiles_at_once(configuration, inference, device), False, torch.float32, False)
    members = [torch_forward(network, precision) for network in networks]
    views = Views.of(image.shape[1:], configuration, inference)
    sweep = Sweep(members, image, views, Resources(plan, device), tolerance(inference))
    whole: torch.Tensor | None = None
    done = 0
    with ExitStack() as stack:
        for network in networks:
            stack.enter_context(evaluating(network))
        for slab in stream_logits(sweep):
            if whole is None:
                whole = torch.empty((len(slab), *image.shape[1:]), device=slab.device)
            whole[:, done : done + slab.shape[1]] = slab
            done += slab.shape[1]
    assert whole is not None
    return whole
