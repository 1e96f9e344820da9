"""A loss that is no longer a number, or absurdly large: which case and patch caused it, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

import torch

from medseg.core.errors import MedsegError
from medseg.training.data.batches import Batch, Origin

_ABSURD = 1000.0
"""Multiple of the loss of the first step (at least 1) that a healthy run never comes near."""


class Diverged(MedsegError):
    """A run whose loss or weights are no longer numbers; its last checkpoint is from before."""


class Culprit(NamedTuple):
    """A sample that spoils the loss.

    Attributes:
        origin: where it was taken from.
        why: what is wrong with it.
    """

    origin: Origin
    why: str


def is_absurd(loss: float, first: float) -> bool:
    """Return whether a mean loss is not a number, or so large that the run is lost.

    Args:
        loss: mean of the last steps.
        first: loss of the first step.
    """
    return not isfinite(loss) or loss > _ABSURD * max(1.0, first)


def worst_step(losses: Sequence[float]) -> int:
    """Return the index of the first loss that is not a number, else of the largest one."""
    odd = [index for index, loss in enumerate(losses) if not isfinite(loss)]
    return odd[0] if odd else max(range(len(losses)), key=losses.__getitem__)


def culprits(batch: Batch, losses: Sequence[float] | None) -> list[Culprit]:
    """Return the samples of a batch that spoil its loss.

    Args:
        batch: all samples of a step.
        losses: the losses of each sample alone; None where they could not be computed.
    """
    faults = []
    for image, origin, loss in zip(batch.image, batch.origins, losses or [0.0] * len(batch.origins), strict=True):
        if not bool(image.isfinite().all()):
            faults.append(Culprit(origin, "its intensities are not all numbers"))
        elif not isfinite(loss):
            faults.append(Culprit(origin, f"its loss is {loss}, its intensities are {_range(image)}"))
    return faults


def diverged(what: str, step: int, kept: str, retries: str, suspects: Sequence[str] = ()) -> Diverged:
    """Return the error that ends a run whose numbers are no longer numbers.

    Args:
        what: is wrong, such as `loss is nan`.
        step: after which it was noticed.
        kept: which checkpoint there is, as a sentence.
        retries: what `retries` returned.
        suspects: samples and what is odd about them, a line each.
    """
    lines = [f"The {what} after step {step}.", *suspects, kept]
    return Diverged("\n  ".join(lines), retries)


def retries(resume: str, learning_rate: float, precision: torch.dtype) -> str:
    """Return advice on what to try after a run has diverged, with the commands.

    Args:
        resume: the command that continues the run.
        learning_rate: of the run; a tenth of it is advised.
        precision: of the run; full precision is advised where it is another one.
    """
    hint = (
        f"Look at these scans for odd intensities (`medseg check`); when they are repaired, `{resume}` continues. "
        f"At a lower rate: `{resume} --set training.learning_rate={learning_rate / 10:g}`."
    )
    if precision != torch.float32:
        hint += f" In full precision: `{resume} --set training.precision=fp32`."
    return hint


def describe(batch: Batch, losses: Sequence[float] | None) -> list[str]:
    """Return lines that name the samples that are at fault, or all of the batch where none was.

    Args:
        batch: all samples of a step.
        losses: the losses of each sample alone; None where they could not be computed.
    """
    faults = culprits(batch, losses)
    if faults:
        return [f"{_where(culprit.origin)}: {culprit.why}" for culprit in faults]
    which = "The batch" if losses is None else "No sample does it alone; the batch"
    return [f"{which} was made of:", *(f"  {_where(origin)}" for origin in batch.origins)]


def _where(origin: Origin) -> str:
    start, shape = (", ".join(map(str, values)) for values in (origin.start_zyx, origin.shape_zyx))
    return f"{origin.case}, patch of ({shape}) voxels from ({start}) of the preprocessed volume"


def _range(image: torch.Tensor) -> str:
    return f"{float(image.min()):.4g} to {float(image.max()):.4g}"
