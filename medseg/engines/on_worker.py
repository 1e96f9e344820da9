"""Work on one item in a process of a cluster, in the folder of the command; problems are returned, not raised."""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from medseg import __version__
from medseg.core.errors import Cancelled, MedsegError
from medseg.core.machine.parallel import result_or_problem
from medseg.core.progress import Progress

_EVENT_SECONDS = 0.5
"""Between two events of an item that are sent; notes are sent at once."""
_once_lock = threading.Lock()
_PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class Context:
    """The facts on the command that sent an item, which a worker needs.

    Attributes:
        folder: the command's working folder, from which relative paths start.
        topic: the name under which the events of the command's items are sent; None for items that report none.
        number: the item's number, in the events.
        version: the version of medseg that the command runs.
    """

    folder: str
    topic: str | None = None
    number: int = 0
    version: str = __version__


@dataclass(frozen=True)
class Unfit:
    """The reason why a worker cannot work for a command; it would hold for every item, so that the command ends.

    Attributes:
        message: what was seen and what was expected.
        hint: what to do.
    """

    message: str
    hint: str


def work_on(packed: bytes, context: Context) -> Any:
    """Apply a function to an item; this is the function that is sent to a cluster.

    Args:
        packed: the function and the item, pickled.
        context: of the command.

    Returns:
        The result, the `MedsegError` in its place, or `Unfit`.
    """
    if context.version != __version__:
        return Unfit(
            f"A worker ({_where()}) has medseg {__version__}, and this command {context.version}.",
            "Install one version on all machines: results would be of two.",
        )
    try:
        with _working_directory(context.folder):
            function, item = pickle.loads(packed)
            if context.topic is None:
                return result_or_problem(lambda: function(item))
            reporter = _Reporter(context.topic, context.number)
            return result_or_problem(lambda: function(item, reporter))
    except _WrongFolder as error:
        return Unfit(error.message, error.hint or "")


class _WrongFolder(MedsegError):
    """The worker cannot work in the command's folder."""


@contextmanager
def _working_directory(folder: str) -> Iterator[None]:
    """Change the working directory to a folder while the block runs, so that relative paths start there."""
    before = os.getcwd()
    if os.path.realpath(before) == os.path.realpath(folder):
        yield
        return
    if threads_of_worker() > 1:  # which all share the folder of the process, and may work for several commands
        raise _WrongFolder(
            f"A worker ({_where()}) has several threads and runs in {before}, not in {folder}, from which this "
            "command's paths start.",
            "Start the workers with --nthreads 1, or in that folder.",
        )
    try:
        os.chdir(folder)
    except OSError as error:
        raise _WrongFolder(
            f"A worker ({_where()}) cannot enter {folder}, where this command runs: {error.strerror}.",
            "The command and its workers need a shared file system, on which it lies under the same path.",
        ) from None
    try:
        yield
    finally:
        os.chdir(before)


class _Reporter:
    """A callback that sends the events of an item to the command, and notices when that no longer wants the item."""

    def __init__(self, topic: str, number: int) -> None:
        from distributed import get_worker

        self._worker: Any = get_worker()
        self._key = self._worker.get_current_task()
        self._topic, self._number = topic, number
        self._sent_time = 0.0

    def __call__(self, event: Progress) -> None:
        """Send an event.

        Args:
            event: values that are not plain are left out of its info.

        Raises:
            Cancelled: the command was stopped, or is gone.
        """
        task = self._worker.state.tasks.get(self._key)
        if task is None or task.state == "cancelled":
            raise Cancelled
        now = time.monotonic()
        finished = event.done == event.total
        said = not {"note", "warning"}.isdisjoint(event.info)
        if not said and not finished and now - self._sent_time < _EVENT_SECONDS:
            return
        self._sent_time = now
        info = {name: value for name, value in event.info.items() if isinstance(value, _PLAIN)}
        message = {"number": self._number, "stage": event.stage, "done": event.done, "total": event.total}
        self._worker.log_event(self._topic, {**message, "info": info})


def event_of(message: dict[str, Any]) -> Progress:
    """Return the progress event that a message of a worker describes."""
    return Progress(message["stage"], message["done"], message["total"], message["info"])


def threads_of_worker() -> int:
    """Return how many items the worker that runs this may work on at the same time; 1 outside of a cluster."""
    worker = _worker()
    return 1 if worker is None else int(worker.state.nthreads)


def worker_number() -> int:
    """Return the number at the end of the name of the worker that runs this; 0 where it has none.

    The workers of `local:4` are numbered from 0 on, so that each can take a GPU of its own.
    """
    worker = _worker()
    name = "" if worker is None else str(worker.name)
    digits = name[len(name.rstrip("0123456789")) :]
    return int(digits) if digits and "://" not in name else 0


def once_in_process(cache: dict[str, Any], key: str, make: Callable[[], Any]) -> Any:
    """Return the value that was made for a key in this process; only the value of the last key is kept.

    Args:
        cache: holds the value; one for each kind of value.
        key: names everything that the value depends on.
        make: makes it, while other threads wait.
    """
    with _once_lock:
        if key not in cache:
            cache.clear()  # before another one is made: two models may not fit into memory
            cache[key] = make()
        return cache[key]


def _where() -> str:
    worker = _worker()
    return "this process" if worker is None else f"{worker.name} at {worker.address}"


def _worker() -> Any:
    """Return the Dask worker that runs this thread; None outside of a cluster."""
    from distributed import get_worker

    try:
        return get_worker()
    except ValueError:
        return None
