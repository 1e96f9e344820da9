"""A volume that comes slab by slab, cut into windows that hold all that the next new planes read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from medseg.preprocessing.interpolate import Reads, Resize

_DTYPES = (torch.float16, torch.bfloat16, torch.float32)


@dataclass(frozen=True)
class Window:
    """Some planes of the network's grid, and the new planes that can be made of them.

    Attributes:
        logits: (outputs, planes, y, x), float16, bfloat16 or float32.
        first: the number of its first plane.
        planes: the new planes.
    """

    logits: torch.Tensor
    first: int
    planes: range


def windows(slabs: Iterable[torch.Tensor], resize: Resize) -> Iterator[Window]:
    """Consecutive slabs (outputs, planes, y, x) of a volume as windows; together they give every new plane once.

    A slab is let go before the next is asked for, but for a copy of its last plane where the next new plane reads
    that. Only splines that run along the first axis keep the whole volume.

    Raises:
        ValueError: the slabs do not make up the volume.
    """
    checked = _checked(slabs, resize.present)
    if resize.streams:
        yield from _rolling(checked, resize.reads(0))
    else:
        yield Window(_joined(checked, resize.present[0]), 0, range(resize.size[0]))


def _checked(slabs: Iterable[torch.Tensor], present: tuple[int, int, int]) -> Iterator[torch.Tensor]:
    stop = 0
    for slab in slabs:
        stop += slab.shape[1]
        if tuple(slab.shape[2:]) != present[1:] or stop > present[0]:
            raise ValueError(f"a slab {tuple(slab.shape)} that ends at plane {stop} does not fit a grid of {present}")
        if slab.shape[1]:
            yield slab if slab.dtype in _DTYPES else slab.float()
        del slab  # before the next one is made
    if stop != present[0]:
        raise ValueError(f"the slabs end after {stop} of {present[0]} planes")


def _rolling(slabs: Iterator[torch.Tensor], reads: Reads) -> Iterator[Window]:
    done = stop = 0
    kept: torch.Tensor | None = None
    for slab in slabs:
        start, stop = stop, stop + slab.shape[1]
        across, inside, begun = (
            int(np.searchsorted(line, bound))
            for line, bound in ((reads.lower, start), (reads.upper, stop), (reads.lower, stop))
        )
        if kept is not None:
            yield Window(torch.cat([kept, slab[:, :1]], dim=1), start - 1, range(done, across))
        if inside > across:
            yield Window(slab, start, range(across, inside))
        done = inside
        kept = slab[:, -1:].clone() if begun > inside else None
        del slab


def _joined(slabs: Iterator[torch.Tensor], planes: int) -> torch.Tensor:
    whole: torch.Tensor | None = None
    stop = 0
    for slab in slabs:
        start, stop = stop, stop + slab.shape[1]
        if (start, stop) == (0, planes):
            return slab
        if whole is None:
            whole = slab.new_empty((slab.shape[0], planes, *slab.shape[2:]))
        whole[:, start:stop] = slab
        del slab
    assert whole is not None
    return whole
