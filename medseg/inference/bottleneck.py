"""Measure the activations of a network's deepest layer on a scan: scans unlike the training scans differ there first.

The layer is the one with the smallest grid, of those the widest; the scan is seen through the tile in its middle.
"""

from __future__ import annotations

from contextlib import suppress
from math import prod
from typing import Any
from weakref import WeakKeyDictionary

import torch

from medseg.inference.tiles import Views
from medseg.networks.device import autocast, evaluating, to_device
from medseg.plans.schema import Configuration
from medseg.plans.sections.inference import Inference
from medseg.preprocessing.volume import Volume

_DIGITS = 5
_MOST_CHANNELS = 512


_deepest_of: WeakKeyDictionary[torch.nn.Module, torch.nn.Module] = WeakKeyDictionary()
"""{network: its deepest layer}, once it was looked for: after that nothing behind it is computed."""


def deepest_channels(
    network: torch.nn.Module, volume: Volume, configuration: Configuration, inference: Inference, precision: torch.dtype
) -> tuple[float, ...]:
    """Return the mean of each channel of the deepest layer over the tile in the middle of a scan.

    No other thread may use the network meanwhile.

    Args:
        network: of one fold.
        volume: the prepared scan.
        configuration: of the network.
        inference: says how tiles lie.
        precision: in which convolutions are computed.

    Returns:
        Up to 512 numbers; none for a network in which no layer is coarser than its tile.
    """
    views = Views.of(volume.image.shape[1:], configuration, inference)
    middle = len(views.tiles) // 2
    tiles = views.cut(torch.from_numpy(volume.image), views.batch(middle * len(views.flips), 1))
    device = next(network.parameters()).device
    known = _deepest_of.get(network)
    deepest = _Deepest(prod(tiles.shape[2:]), tiles.ndim, stops=known is not None)
    modules = [known] if known is not None else [one for one in network.modules() if not [*one.children()]]
    handles = [module.register_forward_hook(deepest.see) for module in modules]
    try:
        with suppress(_DeepestReached), evaluating(network), torch.inference_mode(), autocast(device, precision):
            network(to_device(tiles, device))
    finally:
        for handle in handles:
            handle.remove()
    if deepest.module is not None:
        _deepest_of[network] = deepest.module
    return tuple(float(f"{value:.{_DIGITS}g}") for value in deepest.means[:_MOST_CHANNELS])


class _DeepestReached(Exception):
    """Ends the forward pass, as nothing after the deepest layer is needed."""


class _Deepest:
    """A hook on all layers that keeps the channel means of the deepest layer; of equally deep ones, of the last.

    Args:
        voxels: of the tile, than which the layer has to be coarser.
        axes: of an answer, batch and channels among them.
        stops: whether nothing is to be computed after the first answer.

    Attributes:
        module: the layer.
    """

    def __init__(self, voxels: int, axes: int, stops: bool) -> None:
        self._best, self._axes, self._stops = (voxels - 1, 0), axes, stops
        self._means: torch.Tensor | None = None
        self.module: torch.nn.Module | None = None

    @property
    def means(self) -> list[float]:
        """Of the layer's channels; asked for once the pass is over, as a GPU is waited for."""
        return [] if self._means is None else self._means.cpu().tolist()

    def see(self, module: torch.nn.Module, inputs: Any, answer: Any) -> None:
        if not isinstance(answer, torch.Tensor) or answer.ndim != self._axes:
            return
        voxels = prod(answer.shape[2:])
        # a grid of a single voxel is a mean over all of the tile, as in gates of channels, and no place in the network
        if voxels > 1 and (voxels, -answer.shape[1]) <= self._best:
            self._best, self.module = (voxels, -answer.shape[1]), module
            self._means = answer[0].float().mean(dim=tuple(range(1, self._axes - 1)))
        if self._stops:
            raise _DeepestReached
