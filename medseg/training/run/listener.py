"""The base of observers of a run in training (pictures, a page, logs of other programs); it does nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from medseg.training.data.batches import Batch

LossOf = Callable[[Batch], float]
"""Returns the loss of the network to predict with, on a batch, without training on it."""


class RunListener:
    """Receives what the first process of a run logs. It changes nothing of the training: no weights, no random numbers.

    What it raises ends the run; a listener handles the errors of its own files.
    """

    def begin(self, step: int, records: Sequence[Mapping[str, Any]]) -> None:
        """Receive where the run begins in this session.

        Args:
            step: number of steps that are done.
            records: the records of earlier sessions, as `read_log` returns them.
        """

    def trained(self, step: int, figures: Mapping[str, float]) -> None:
        """Receive a record of kind "train".

        Args:
            step: number of steps that are done.
            figures: loss, learning rate and so on.
        """

    def validated(self, step: int, dice: Mapping[str, float | None], loss_of: LossOf) -> dict[str, Any]:
        """Receive a validation, and return further figures for its record in the log.

        Args:
            step: number of steps that are done.
            dice: {structure: mean Dice}.
            loss_of: measures the loss of the network that was validated.
        """
        return {}

    def end(self, finished: bool) -> None:
        """Finish what was begun; the loop has ended, with or without an error.

        Args:
            finished: whether all steps are done.
        """


NOBODY = RunListener()
