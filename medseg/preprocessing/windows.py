"""A volume that comes slab by slab, cut into windows that hold everything that the next new planes read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from medseg.preprocessing.interpolate import Reads, Resize

_DTYPES = (torch.float16, torch.bfloat16, torch.float32)


@dataclass(frozen=True)
class Window:
    """Some planes of the network's grid, and the new planes that can be made from them.

    Attributes:
        logits: (outputs, planes, y, x), float16, bfloat16 or float32.
        first: number of its first plane on the network's grid.
        planes: numbers of the new planes.
    """

    logits: torch.Tensor
    first: int
    planes: range


def windows(slabs: Iterable[torch.Tensor], resize: Resize) -> Iterator[Window]:
    """Yield windows that together give every new plane once.

    A slab is released before the next one is requested, except a copy of its last plane if the next new plane reads
    it. Only splines of order 2 and more along the first axis need the whole volume.

    Args:
        slabs: consecutive blocks (outputs, planes, y, x) along the first axis of the network's grid.
        resize: from the network's grid to the new one.

    Raises:
        ValueError: the slabs do not make up the volume.
    """
    checked = _checked(slabs, resize.present)
    if resize.streams:
        yield from _rolling(checked, resize.reads(0))
    else:
        yield Window(_joined(checked, resize.present[0]), 0, range(resize.size[0]))


def _checked(slabs: Iterable[torch.Tensor], present: tuple[int, int, int]) -> Iterator[torch.Tensor]:
    """Yield the slabs that are not empty, in a type that is computed with, and refuse those that do not fit."""
    stop = 0
    for slab in slabs:
        stop += slab.shape[1]
        if tuple(slab.shape[2:]) != present[1:] or stop > present[0]:
            raise ValueError(f"a slab {tuple(slab.shape)} that ends at plane {stop} does not fit a grid of {present}")
        if slab.shape[1]:
            yield slab if slab.dtype in _DTYPES else slab.float()
        del slab  # the loop would hold it while the next one is made
    if stop != present[0]:
        raise ValueError(f"the slabs end after {stop} of {present[0]} planes")


def _rolling(slabs: Iterator[torch.Tensor], reads: Reads) -> Iterator[Window]:
    """Yield a window for each slab, and one for the new planes between it and the slab before."""
    done = stop = 0
    last_plane: torch.Tensor | None = None
    for slab in slabs:
        start, stop = stop, stop + slab.shape[1]
        # `lower` and `upper` do not fall, so the new planes that read from a plane on are all behind some number:
        first_inside = int(np.searchsorted(reads.lower, start))  # the first that reads nothing before this slab,
        first_beyond = int(np.searchsorted(reads.upper, stop))  # that reads something after it,
        first_after = int(np.searchsorted(reads.lower, stop))  # and that reads nothing of it
        if last_plane is not None:
            yield Window(torch.cat([last_plane, slab[:, :1]], dim=1), start - 1, range(done, first_inside))
        if first_beyond > first_inside:
            yield Window(slab, start, range(first_inside, first_beyond))
        done = first_beyond
        last_plane = slab[:, -1:].clone() if first_after > first_beyond else None
        del slab


def _joined(slabs: Iterator[torch.Tensor], planes: int) -> torch.Tensor:
    """Return the volume (outputs, planes, y, x) that the slabs make up."""
    volume: torch.Tensor | None = None
    stop = 0
    for slab in slabs:
        start, stop = stop, stop + slab.shape[1]
        if (start, stop) == (0, planes):
            return slab
        if volume is None:
            volume = slab.new_empty((slab.shape[0], planes, *slab.shape[2:]))
        volume[:, start:stop] = slab
        del slab
    assert volume is not None
    return volume
