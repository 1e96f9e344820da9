"""Ctrl-C and SIGTERM: whoever runs medseg, or a scheduler, asks it to end. Both raise `KeyboardInterrupt`."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ECHO_SECONDS = 0.5
_STOPPED = 2
"""Exit code of a command that was stopped."""


class _Heard:
    at = -math.inf


def is_echo() -> bool:
    """Whether the signal that has just come is the last one again.

    torchrun and `timeout` pass on to their processes what these were sent already. A second Ctrl-C comes later.
    """
    now = time.monotonic()
    echo = now - _Heard.at < _ECHO_SECONDS
    if not echo:
        _Heard.at = now
    return echo


@contextmanager
def stoppable() -> Iterator[None]:
    """Let both signals raise `KeyboardInterrupt` in the block, unless they are ignored or handled already.

    In threads other than the main one, where Python allows no handlers, nothing is changed. A process that was stopped
    is not given its handlers back: nothing but its end is to come.
    """
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: handler for number, handler in usual.items() if signal.getsignal(number) == handler}
    if threading.current_thread() is not threading.main_thread():
        before = {}
    for number in before:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if math.isinf(_Heard.at) else _leave)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if not is_echo():
        raise KeyboardInterrupt


def _leave(number: int, frame: FrameType | None) -> None:
    if not is_echo():
        os._exit(_STOPPED)
