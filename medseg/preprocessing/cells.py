"""Which structure each voxel of the scan's grid gets, exactly, without interpolating where the answer is known.

Each new voxel is a convex combination of the network's voxels that it reads, up to eight. Where these agree on the
structure that wins (of regions: on the last one that is positive), it wins in the combination too: its logit is
the largest, or positive, in every term of the sum, and every earlier or later one that must lose, loses in every
term. Where they differ, a structure may win that wins in none of them, so there all outputs are interpolated: along
z, then y, then x, in float32. The compiled way for large volumes on a CPU does the same operations in the same
order, so that both give the same answer.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from math import ceil, prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.core.labels import Labels
from medseg.preprocessing.interpolate import Reads, Resize, pick_along
from medseg.preprocessing.windows import Window

MIXED = -1
"""Stands where the voxels that are read do not agree."""

_MOST_VALUES = 1 << 24
"""Logits that are interpolated in one piece."""

_MOST_VOXELS = 1 << 22
"""New voxels that are answered in one piece."""

_WORTH_COMPILING = 1 << 24
"""Logits on the larger of the two grids from which on loading the compiled loops pays."""

Put = Callable[[range, NDArray[np.integer]], None]
"""Takes the answers (planes, y, x) at some new planes; from any thread."""


def answer_window(window: Window, resize: Resize, labels: Labels, put: Put) -> None:
    """Hand over what `labels.choose` says of the new planes of a window, some at a time; of a convex resize only."""
    most = max(1, _MOST_VOXELS // (resize.size[1] * resize.size[2]))
    large = len(window.logits) * max(prod(resize.present), prod(resize.size)) >= _WORTH_COMPILING
    choose = _compiled() if large and window.logits.device.type == "cpu" else None
    if choose is None:
        for planes in _parts(window.planes, most):
            chosen = choose_planes(window, planes, resize, labels)
            put(planes, (chosen.byte() if len(labels.decisions) <= 256 else chosen).cpu().numpy())
        return
    threads = torch.get_num_threads()
    parts = _parts(window.planes, min(most, ceil(len(window.planes) / (2 * threads))))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda planes: put(planes, choose(window, planes, resize, labels)), parts))


@cache
def _compiled() -> Callable[[Window, range, Resize, Labels], NDArray[np.int16]] | None:
    """The compiled loops; None where numba is not installed, or not for this version of numpy."""
    try:
        from medseg.preprocessing.cells_numba import choose_planes
    except ImportError:
        return None
    return choose_planes


def _parts(planes: range, size: int) -> list[range]:
    return [planes[start : start + size] for start in range(0, len(planes), size)]


def choose_planes(window: Window, planes: range, resize: Resize, labels: Labels) -> torch.Tensor:
    """(planes, y, x) int16: what `labels.choose` says of some new planes of a window, on the window's device.

    Only for a convex resize.
    """
    reads = [resize.reads(0).part(planes, window.first), resize.reads(1), resize.reads(2)]
    low, high = int(reads[0].lower[0]), int(reads[0].upper[-1])
    known = torch.stack([labels.choose(window.logits[:, plane].float()).short() for plane in range(low, high + 1)])
    reads[0] = reads[0].part(range(len(planes)), low)
    for dimension, line in enumerate(reads):
        known = _agreed(known, dimension, line)
    places = (known == MIXED).nonzero()
    logits = window.logits[:, low : high + 1]
    for some in places.split(max(1, _MOST_VALUES // len(logits))):
        known[some.unbind(1)] = labels.choose(_interpolated(logits, some, reads)).short()
    return known


def _agreed(known: torch.Tensor, dimension: int, reads: Reads) -> torch.Tensor:
    lower = pick_along(known, dimension, reads.lower)
    if not reads.interpolates:
        return lower
    return lower.masked_fill_(lower != pick_along(known, dimension, reads.upper), MIXED)


def _interpolated(logits: torch.Tensor, places: torch.Tensor, reads: list[Reads]) -> torch.Tensor:
    """(outputs, places) float32 logits at new voxels (place, 3)."""
    lines = [
        tuple(torch.from_numpy(part).to(logits.device)[place] for part in (line.lower, line.upper, line.share))
        for line, place in zip(reads, places.unbind(1), strict=True)
    ]

    def read(dimension: int, *chosen: torch.Tensor) -> torch.Tensor:
        if dimension < 0:
            index: tuple[Any, ...] = (slice(None), *chosen)
            return logits[index].float()
        lower, upper, share = lines[dimension]
        value = read(dimension - 1, lower, *chosen)
        if not reads[dimension].interpolates:
            return value
        return value.mul_(1 - share).add_(read(dimension - 1, upper, *chosen).mul_(share))

    return read(2)
