"""The resources of a prediction while it runs: what memory turns out to be too short for is given up step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from medseg.core.errors import MedsegError
from medseg.inference.memory import MemoryPlan
from medseg.inference.rolling import RollingMean
from medseg.networks.device import first_line, is_out_of_memory

T = TypeVar("T")

HOST = torch.device("cpu")
_FEW_TILES = 2
_ADVICE = "Close other programs, crop the scan, or take a machine with more memory."


class Resources:
    """Where things are kept and how many tiles go through a network at once; both shrink when memory runs out.

    Args:
        plan: what to begin with.
        device: of the networks.

    Attributes:
        notes: what was given up, a sentence each.
        ran_short: whether memory was not enough for what was planned.
        say: is told of each new note.
    """

    def __init__(self, plan: MemoryPlan, device: torch.device) -> None:
        self.tile_batch = plan.tile_batch
        self.device = device
        self.sums_on = HOST if plan.sums_on_host else device
        self.image_on = HOST if plan.image_on_host else device
        self.sums_dtype = plan.sums_dtype
        self.means: RollingMean | None = None
        self.notes = list(plan.notes)
        self.ran_short = False
        self.say: Callable[[str], None] = lambda note: None

    def attempt(self, work: Callable[[], T]) -> T:
        """The result of `work`, which is asked again with less each time that there is not enough memory for it.

        Raises:
            MedsegError: there is nothing left to give up.
        """
        while True:
            try:
                return work()
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = first_line(error)
            # outside of the handler, whose traceback keeps the memory of what failed
            self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        """Smaller batches, then sums in the host's memory, then single tiles."""
        self.ran_short = True
        if self.tile_batch > _FEW_TILES or (self.tile_batch > 1 and self.sums_on == HOST):
            self.tile_batch //= 2
            self._note(f"Not enough memory: now {self.tile_batch} of the tiles at once ({reason}).")
        elif self.sums_on != HOST:
            self.sums_on = HOST
            if self.means is not None:
                self.means.to(HOST)
            self._note(f"Not enough memory on the device: sums are now kept in the host's ({reason}).")
        else:
            raise MedsegError(f"There is not enough memory for a single tile: {reason}", _ADVICE)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self.say(text)
