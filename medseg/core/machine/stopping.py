"""Let Ctrl-C (SIGINT), SIGTERM and SIGHUP raise `KeyboardInterrupt`.

Users and schedulers ask a process to end with the first two; the third says that its terminal was closed.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))  # not on Windows
_ECHO_SECONDS = 0.5
"""A signal that comes this soon after another is a copy of it; nobody presses Ctrl-C twice that fast on purpose."""
_EXIT_CODE_CTRL_C = 130
"""What shells give a command that Ctrl-C ended (128 + SIGINT): scripts that call it stop too."""
_EXIT_CODE_STOPPED = 2


class _LastSignal:
    """Which signal came last that was not an echo, and when, on the monotonic clock in seconds."""

    number: int = signal.SIGINT
    time = -math.inf


def exit_code_stopped() -> int:
    """Return the exit code of a command that was asked to stop: 130 for Ctrl-C, else 2."""
    return _EXIT_CODE_CTRL_C if _LastSignal.number == signal.SIGINT else _EXIT_CODE_STOPPED


def is_echo(number: int) -> bool:
    """Return whether the signal that has just come is a copy of the one before.

    Args:
        number: the number of the signal.

    A terminal sends Ctrl-C to all processes of a command, and torchrun and `timeout` pass on what they receive, so that
    a process gets one request twice. A second request of a user comes later.
    """
    now = time.monotonic()
    echo = now - _LastSignal.time < _ECHO_SECONDS
    if not echo:
        _LastSignal.time, _LastSignal.number = now, number
    return echo


@contextmanager
def stoppable() -> Iterator[None]:
    """Let the signals raise `KeyboardInterrupt` in the block, unless they are ignored or handled already.

    In threads other than the main one, where Python allows no handlers, nothing changes. After a signal the previous
    handlers are not restored, as the process only has to clean up and end: a further signal ends it at once.
    """
    defaults = dict.fromkeys(SIGNALS, signal.SIG_DFL) | {signal.SIGINT: signal.default_int_handler}
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
    if not is_echo(number):
        raise KeyboardInterrupt


def _exit_at_once(number: int, frame: FrameType | None) -> None:
    """End the process without any further clean-up, which a second request asks for."""
    if not is_echo(number):
        os._exit(exit_code_stopped())
