"""Let Ctrl-C (SIGINT) and SIGTERM, by which users and schedulers ask a process to end, raise `KeyboardInterrupt`."""

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
"""A signal that comes this soon after another is a copy of it; nobody presses Ctrl-C twice that fast on purpose."""
_EXIT_CODE_STOPPED = 2


class _LastSignal:
    """When the last signal that was not an echo came, on the monotonic clock in seconds."""

    time = -math.inf


def is_echo() -> bool:
    """Return whether the signal that has just come is a copy of the one before.

    A terminal sends Ctrl-C to all processes of a command, and torchrun and `timeout` pass on what they receive, so that
    a process gets one request twice. A second request of a user comes later.
    """
    now = time.monotonic()
    echo = now - _LastSignal.time < _ECHO_SECONDS
    if not echo:
        _LastSignal.time = now
    return echo


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGINT and SIGTERM raise `KeyboardInterrupt` in the block, unless they are ignored or handled already.

    In threads other than the main one, where Python allows no handlers, nothing changes. After a signal the previous
    handlers are not restored, as the process only has to clean up and end: a further signal ends it at once.
    """
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    replaced = {number: handler for number, handler in defaults.items() if signal.getsignal(number) == handler}
    if threading.current_thread() is not threading.main_thread():
        replaced = {}
    for number in replaced:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler if math.isinf(_LastSignal.time) else _exit_at_once)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise `KeyboardInterrupt`, once for each request."""
    if not is_echo():
        raise KeyboardInterrupt


def _exit_at_once(number: int, frame: FrameType | None) -> None:
    """End the process without any further clean-up, which a second request asks for."""
    if not is_echo():
        os._exit(_EXIT_CODE_STOPPED)
