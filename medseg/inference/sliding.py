"""The sliding window: a preprocessed volume to logits on its grid, averaged over tiles, flips and folds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch.nn import functional

from medseg.inference.tiles import gaussian_weight, tile_starts
from medseg.networks.device import autocast, evaluating
from medseg.schema import Configuration
from medseg.sections import Inference


def predict_logits(
    networks: Sequence[torch.nn.Module],
    image: torch.Tensor,
    configuration: Configuration,
    inference: Inference,
    precision: torch.dtype,
) -> torch.Tensor:
    """Logits (outputs, z, y, x) float32 of a volume (channel, z, y, x), on the device of the networks.

    Volumes smaller than a tile are padded with zeros on both sides; 2D configurations see slice after slice.
    Logits are averaged over flips, then over tiles with Gaussian weights, then over networks.
    """
    device = next(networks[0].parameters()).device
    tile = tuple(configuration.patch_voxels)
    flips = _flips(configuration.mirror_axes) if inference.mirror else [()]
    padded, inner = _pad(image, tile)
    starts = _starts(padded.shape[1:], tile, inference.step_fraction)
    weight = gaussian_weight(tile, inference.gaussian_sigma_fraction).to(device)
    total: torch.Tensor | None = None
    weights = torch.zeros(padded.shape[1:], device=device)
    per_batch = max(1, inference.tile_batch // len(flips))
    for start in range(0, len(starts), per_batch):
        places = [_place(place, tile) for place in starts[start : start + per_batch]]
        tiles = torch.stack([padded[(slice(None), *place)].reshape(-1, *tile) for place in places]).to(device)
        logits = _tile_logits(networks, tiles, flips, inference.tile_batch, precision)
        if total is None:
            total = torch.zeros((logits.shape[1], *padded.shape[1:]), device=device)
        for place, answer in zip(places, logits, strict=True):
            total[(slice(None), *place)] += (answer * weight).reshape(total[(slice(None), *place)].shape)
            weights[place] += weight.reshape(weights[place].shape)
    assert total is not None
    return total.div_(weights)[(slice(None), *inner)]


def _tile_logits(
    networks: Sequence[torch.nn.Module],
    tiles: torch.Tensor,
    flips: Sequence[tuple[int, ...]],
    batch_size: int,
    precision: torch.dtype,
) -> torch.Tensor:
    """Mean logits (tile, outputs, ...) over flips and networks; `batch_size` flipped tiles go through one at a time."""
    batch = torch.cat([tiles.flip(axes) if axes else tiles for axes in flips])
    total: torch.Tensor | None = None
    for network in networks:
        with evaluating(network), autocast(tiles.device, precision):
            parts = [network(part)[0].float() for part in batch.split(batch_size)]
        answers = torch.cat(parts).chunk(len(flips))
        for axes, answer in zip(flips, answers, strict=True):
            answer = answer.flip(axes) if axes else answer
            total = answer.clone() if total is None else total.add_(answer)
    assert total is not None
    return total / (len(flips) * len(networks))


def _flips(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """All combinations of mirrored axes, as dimensions of a (tile, channel, ...) batch; none comes first."""
    return [
        tuple(axis + 2 for axis in chosen) for count in range(len(axes) + 1) for chosen in combinations(axes, count)
    ]


def _pad(image: torch.Tensor, tile: Sequence[int]) -> tuple[torch.Tensor, tuple[slice, ...]]:
    """The volume padded to at least one tile, and where it lies in there."""
    needed = (1,) * (3 - len(tile)) + tuple(tile)
    edges: list[int] = []
    inner = []
    for size, least in zip(image.shape[1:], needed, strict=True):
        missing = max(0, least - size)
        before = missing // 2
        edges = [before, missing - before, *edges]
        inner.append(slice(before, before + size))
    return functional.pad(image, edges), tuple(inner)


def _starts(shape: Sequence[int], tile: Sequence[int], step_fraction: float) -> list[tuple[int, ...]]:
    """(z, y, x) of every tile's first voxel."""
    if len(tile) == 3:
        return tile_starts(shape, tile, step_fraction)
    return [(z, *place) for z in range(shape[0]) for place in tile_starts(shape[1:], tile, step_fraction)]


def _place(start: Sequence[int], tile: Sequence[int]) -> tuple[slice, ...]:
    size = (1,) * (3 - len(tile)) + tuple(tile)
    return tuple(slice(first, first + length) for first, length in zip(start, size, strict=True))
