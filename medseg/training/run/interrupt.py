"""Ctrl-C, SIGTERM and SIGHUP while training: never in the middle of a step, which would leave an inconsistent state."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from medseg.core.machine.stopping import SIGNALS, is_echo


class Interrupts:
    """Turns these signals into `KeyboardInterrupt`: at once or, within `held`, at the end of that block.

    A second signal interrupts at once in any case. In threads other than the main one, where Python allows no handlers,
    nothing is changed.

    Args:
        heeded: False to ignore them: of several processes the first one ends the run, after a step of all.
    """

    def __init__(self, heeded: bool = True) -> None:
        self._heeded = heeded
        self._before: dict[signal.Signals, Any] = {}
        self._held = False
        self._waiting = False

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            # nohup has SIGHUP ignored, so that a command outlives its terminal
            heard = (n for n in SIGNALS if n == signal.SIGINT or signal.getsignal(n) != signal.SIG_IGN)
            self._before = {number: signal.signal(number, self._handle) for number in heard}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            if handler is not None:  # else it was set outside of Python, which cannot restore it
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Delay signals until the end of the block."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._waiting:
            self._waiting = False
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._heeded or is_echo(number):
            return
        if self._held and not self._waiting:
            self._waiting = True
        else:
            raise KeyboardInterrupt
