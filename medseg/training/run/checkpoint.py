"""Checkpoints of a run in training: written whole or not at all, in a thread, and read without running code."""

from __future__ import annotations

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from medseg.core.errors import ModelError
from medseg.core.files import saving
from medseg.networks.device import unpickling_reason

_FIRST = 1 / 6
"""Share of the usual interval after which the first checkpoint is due: a run that is soon killed keeps something."""


class Checkpoints:
    """Writes one checkpoint after the other in a thread: training pauses only while the state is copied.

    Args:
        path: the path of the checkpoint; each replaces the one before.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None
        self._start_time, self._written = time.monotonic(), False

    def due(self, seconds: float) -> bool:
        """Return whether it is time for the next checkpoint, and the last one is written.

        Args:
            seconds: between the starts of two checkpoints; the first one is due sooner.

        Raises:
            MedsegError: the last one could not be written.
        """
        if self._writing is not None and self._writing.done():
            self.wait()
        wait = seconds if self._written else seconds * _FIRST
        return self._writing is None and time.monotonic() - self._start_time > wait

    def write(self, state: dict[str, Any]) -> None:
        """Copy the state, and write the copy in the thread.

        Args:
            state: tensors, numbers, text, and lists and dicts of them.

        Raises:
            MedsegError: the checkpoint before, which is waited for, could not be written.
        """
        self.wait()
        self._start_time, self._written = time.monotonic(), True
        self._writing = self._thread.submit(save_checkpoint, self.path, on_host(state))

    def wait(self) -> None:
        """Wait until nothing is being written.

        Raises:
            MedsegError: the checkpoint could not be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def describe_last(self) -> str:
        """Return a sentence on which checkpoint there is, once nothing is being written.

        Raises:
            MedsegError: the checkpoint could not be written or read.
        """
        self.wait()
        if not self.path.exists():
            return "There is no checkpoint yet."
        step = load_checkpoint(self.path, peek=True)["step"]
        return f"The last good checkpoint, of step {step}, is kept: {self.path}"

    def close(self) -> None:
        """End the thread, once the checkpoint that is being written is whole."""
        self._thread.shutdown()


def on_host(state: Any) -> Any:
    """Return a copy that later steps do not change, with its tensors in the host's memory."""
    if isinstance(state, torch.Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        return {key: on_host(value) for key, value in state.items()}
    return [on_host(value) for value in state] if isinstance(state, list | tuple) else state


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint, and have the disk confirm it, so that a power cut leaves the one before.

    Args:
        path: the path of the checkpoint.
        state: in the host's memory.

    Raises:
        MedsegError: it could not be written.
    """
    with saving(path) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:
            if "unexpected pos" not in str(error):  # torch's words for a write that the disk did not take
                raise
            raise OSError("only a part of the file was written: the disk is probably full") from None
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())


def load_checkpoint(path: Path, peek: bool = False) -> dict[str, Any]:
    """Read a checkpoint into the host's memory.

    Args:
        path: the path of the checkpoint.
        peek: leave the tensors in the file, where only the numbers beside them are wanted.

    Returns:
        The state that `save_checkpoint` wrote.

    Raises:
        ModelError: the file is damaged, or holds more than plain values.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=peek)
    except Exception as error:  # torch raises several unrelated types here
        raise ModelError(
            f"The checkpoint {path} cannot be read: {unpickling_reason(error)}",
            "Delete it and train again, or restore it from a copy.",
        ) from None
    return dict(state)
