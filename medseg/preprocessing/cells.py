"""Decide the structure of each voxel of the scan's grid, exactly, interpolating only where neighbours disagree.

Each new voxel is a convex combination of up to eight voxels of the network's grid. Where these agree on the structure
that wins, it wins in the combination too: its logit is the largest in every term of the sum, so it is the largest in
the sum. (Of regions the last one with a positive logit wins: it is positive in every term, and every later one is not.)
Where they disagree, even a structure may win that wins in none of them. Only there all outputs are interpolated: along
z, then y, then x, in float32.

`cells_numba` does the same in compiled loops for large volumes on a CPU, with the same operations in the same order:
answers differ at most where two logits are equal up to rounding. It is a module of its own because importing numba
takes half a second, and because it may not be there for the newest numpy.
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
"""Stands in place of an answer where the voxels that are read disagree."""

_MOST_VALUES = 1 << 24
"""Logits that are interpolated at once: 64 MB of float32."""

_MOST_VOXELS = 1 << 22
"""New voxels that are answered at once."""

_WORTH_COMPILING = 1 << 24
"""Number of logits on the larger of the two grids above which loading the compiled loops pays."""

Put = Callable[[range, NDArray[np.integer]], None]
"""Called with the numbers of some new planes and the answers (planes, y, x) there, from any thread."""


def answer_window(window: Window, resize: Resize, labels: Labels, put: Put) -> None:
    """Pass on the answers of `labels.choose` at the new planes of a window, some planes at a time.

    Args:
        window: planes of the network's grid, and which new planes to make of them.
        resize: from the network's grid to the new one; it has to be convex.
        labels: say which structure wins.
        put: receives the answers.
    """
    planes_at_once = max(1, _MOST_VOXELS // (resize.size[1] * resize.size[2]))
    large = len(window.logits) * max(prod(resize.present), prod(resize.size)) >= _WORTH_COMPILING
    choose = _compiled() if large and window.logits.device.type == "cpu" else None
    if choose is None:
        for planes in _parts(window.planes, planes_at_once):
            chosen = choose_planes(window, planes, resize, labels)
            put(planes, (chosen.byte() if len(labels.decisions) <= 256 else chosen).cpu().numpy())
        return
    threads = torch.get_num_threads()
    parts = _parts(window.planes, min(planes_at_once, ceil(len(window.planes) / (2 * threads))))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda planes: put(planes, choose(window, planes, resize, labels)), parts))


@cache
def _compiled() -> Callable[[Window, range, Resize, Labels], NDArray[np.int16]] | None:
    """Return the compiled loops; None if numba is not installed, or does not support this version of numpy."""
    try:
        from medseg.preprocessing.cells_numba import choose_planes
    except ImportError:
        return None
    return choose_planes


def _parts(planes: range, size: int) -> list[range]:
    return [planes[start : start + size] for start in range(0, len(planes), size)]


def choose_planes(window: Window, planes: range, resize: Resize, labels: Labels) -> torch.Tensor:
    """Return the answers of `labels.choose` at some new planes, (planes, y, x) int16 on the window's device.

    Args:
        window: planes of the network's grid.
        planes: numbers of the new planes.
        resize: from the network's grid to the new one; it has to be convex.
        labels: say which structure wins.
    """
    reads = [resize.reads(0).part(planes, window.first), resize.reads(1), resize.reads(2)]
    low, high = int(reads[0].lower[0]), int(reads[0].upper[-1])
    known = torch.stack([labels.choose(window.logits[:, plane].float()).short() for plane in range(low, high + 1)])
    reads[0] = reads[0].part(range(len(planes)), low)
    for dimension, line in enumerate(reads):
        known = _agreed(known, dimension, line)
    mixed = (known == MIXED).nonzero()
    logits = window.logits[:, low : high + 1]
    for voxels in mixed.split(max(1, _MOST_VALUES // len(logits))):
        known[voxels.unbind(1)] = labels.choose(_interpolated(logits, voxels, reads)).short()
    return known


def _agreed(known: torch.Tensor, dimension: int, reads: Reads) -> torch.Tensor:
    """Return the answers at new voxels along a dimension where both voxels that are read agree, else `MIXED`."""
    lower = pick_along(known, dimension, reads.lower)
    if not reads.interpolates:
        return lower
    return lower.masked_fill_(lower != pick_along(known, dimension, reads.upper), MIXED)


def _interpolated(logits: torch.Tensor, voxels: torch.Tensor, reads: list[Reads]) -> torch.Tensor:
    """Return float32 logits (outputs, voxels) at new voxels (voxel, 3), interpolated along z, then y, then x."""
    lines = [
        tuple(torch.from_numpy(part).to(logits.device)[index] for part in (line.lower, line.upper, line.share))
        for line, index in zip(reads, voxels.unbind(1), strict=True)
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
