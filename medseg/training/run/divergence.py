"""A loss that is no number any more, or no loss: which case and patch did it, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import NamedTuple

import torch

from medseg.core.errors import MedsegError
from medseg.training.data.batches import Batch, Origin

_ABSURD = 1000.0
"""Times the loss of the first step (at least 1); a healthy run's is never near."""


class Diverged(MedsegError):
    """The numbers of a run are no numbers any more; its last checkpoint is from before."""


class Culprit(NamedTuple):
    """A sample with which the loss is no number, and why."""

    origin: Origin
    why: str


def is_absurd(loss: float, first: float) -> bool:
    """Whether a mean loss is no number, or so large that the run is lost; `first` is that of the first step."""
    return not isfinite(loss) or loss > _ABSURD * max(1.0, first)


def worst_step(losses: Sequence[float]) -> int:
    """Place of the first loss that is no number, else of the largest."""
    odd = [place for place, loss in enumerate(losses) if not isfinite(loss)]
    return odd[0] if odd else max(range(len(losses)), key=losses.__getitem__)


def culprits(batch: Batch, losses: Iterable[float]) -> list[Culprit]:
    """Samples of a batch that spoil its loss.

    Args:
        losses: of each sample alone.
    """
    found = []
    for image, origin, loss in zip(batch.image, batch.origins, losses, strict=True):
        if not bool(image.isfinite().all()):
            found.append(Culprit(origin, "its intensities are not all numbers"))
        elif not isfinite(loss):
            found.append(Culprit(origin, f"its loss is {loss}, its intensities are {_range(image)}"))
    return found


def diverged(what: str, step: int, kept: str, suspects: Sequence[str] = ()) -> Diverged:
    """The error that ends a run whose numbers are no numbers any more.

    Args:
        kept: what is kept of the run, as a sentence.
        suspects: samples and what is odd about them, a line each.
    """
    lines = [f"The {what} after step {step}.", *suspects, kept]
    return Diverged(
        "\n  ".join(lines),
        "Look at these scans for odd intensities (`medseg check`) and go on with `--resume` when they are repaired; or "
        "with a lower rate, `--resume --set training.learning_rate=...`, or `--resume --set training.precision=fp32`.",
    )


def describe(batch: Batch, found: Sequence[Culprit]) -> list[str]:
    """Lines that name the samples that were found, or all of the batch where none was."""
    if found:
        return [f"{_where(one.origin)}: {one.why}" for one in found]
    return ["No sample does it alone; the batch was made of:", *(f"  {_where(one)}" for one in batch.origins)]


def _where(origin: Origin) -> str:
    start, shape = (", ".join(map(str, values)) for values in (origin.start_zyx, origin.shape_zyx))
    return f"{origin.case}, patch of ({shape}) voxels from ({start}) of the preprocessed volume"


def _range(image: torch.Tensor) -> str:
    return f"{float(image.min()):.4g} to {float(image.max()):.4g}"
