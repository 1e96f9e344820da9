"""Logits of a made-up segmentation, for benchmarks: organ-like structures with irregular borders, fixed seed.

Structures are the cells of a warped power diagram: the body is what lies within some distance of any centre, and
each structure is what lies closest to its own. About a third of the volume is foreground, and every structure is
there. As a network's logits do, they change by one or two per voxel at borders and level off away from them.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

FOREGROUND = 0.35
_WAVES = ((6, 0.05), (20, 0.012), (90, 0.005))  # of the warp: cells across the volume, amplitude as a share of it
_SLOPE = 1.5
_LOWEST = -15.0
_SAMPLED = 4  # every so many-th voxel along each axis measures the foreground


def organ_logits(outputs: int, shape: tuple[int, int, int], seed: int = 1) -> NDArray[np.float16]:
    """(outputs, z, y, x) logits, the background first."""
    rng = np.random.default_rng(seed)
    place = _warped(shape, rng)
    centres = torch.from_numpy(_spread(outputs - 1, rng))
    reach = float(torch.quantile(_distance(place[:, ::_SAMPLED, ::_SAMPLED, ::_SAMPLED], centres), FOREGROUND))
    steepness = _SLOPE * max(shape) / (4 * reach**0.5)  # a voxel is 2 / size wide; squares grow by 2 x reach
    logits = np.empty((outputs, *shape), np.float16)
    for z in range(shape[0]):
        here = place[:, z].flatten(1)
        distance = torch.cat([torch.full((1, here.shape[1]), reach), _distances(here, centres)])
        plane = ((distance.amin(0) - distance) * steepness).clamp_(min=_LOWEST)
        logits[:, z] = plane.reshape(outputs, *shape[1:]).half().numpy()
    return logits


def noise_logits(outputs: int, shape: tuple[int, int, int], seed: int = 1) -> NDArray[np.float16]:
    """(outputs, z, y, x) white noise: no two voxels agree."""
    rng = np.random.default_rng(seed)
    logits = np.empty((outputs, *shape), np.float16)
    for one in logits:
        one[:] = rng.standard_normal(shape, np.float32)
    return logits


def _warped(shape: tuple[int, int, int], rng: np.random.Generator) -> torch.Tensor:
    """(3, z, y, x) places from -1 to 1, moved about by smooth random waves."""
    place = torch.stack(torch.meshgrid(*(torch.linspace(-1, 1, size) for size in shape), indexing="ij"))
    for cells, amplitude in _WAVES:
        wave = torch.from_numpy(rng.standard_normal((1, 3, *[cells] * 3), np.float32))
        place += 2 * amplitude * functional.interpolate(wave, shape, mode="trilinear", align_corners=True)[0]
    return place


def _spread(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Centres (count, 3) within the middle of the volume, apart from each other."""
    centres = rng.uniform(-0.62, 0.62, (1, 3))
    while len(centres) < count:
        candidates = rng.uniform(-0.62, 0.62, (20, 3))
        nearest = ((candidates[:, None] - centres) ** 2).sum(-1).min(1)
        centres = np.concatenate([centres, candidates[nearest.argmax()][None]])
    return centres.astype(np.float32)


def _distances(place: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Squared distances (centre, place)."""
    return (place**2).sum(0) - 2 * centres @ place + (centres**2).sum(1, keepdim=True)


def _distance(place: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Squared distance of each place to the nearest centre."""
    return torch.cat([_distances(part, centres).amin(0) for part in place.flatten(1).split(1 << 16, dim=1)])
