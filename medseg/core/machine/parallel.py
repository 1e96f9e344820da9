"""Spread case-by-case work over threads, and let reading, computing and writing overlap.

Threads suffice: reading, inflating, numpy and torch release the interpreter lock, and nothing has to be imported again
or pickled. `map_cases` also takes another `concurrent.futures.Executor`; `medseg.engines` brings work to a cluster.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from itertools import islice
from typing import Any, Generic, TypeVar, cast

from medseg.core.errors import Cancelled, MedsegError
from medseg.core.machine.host_memory import MEMORY_ADVICE

T = TypeVar("T")
R = TypeVar("R")


def cpu_count() -> int:
    """Return how many cores this process may use; an affinity mask counts, not the size of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_cases(
    function: Callable[[T], R], items: Iterable[T], workers: int | None = None, executor: Executor | None = None
) -> Generator[tuple[T, R | MedsegError], None, None]:
    """Apply a function to every item and yield the results in the order of the items.

    Closing the generator waits for the items that are under way, so that nothing is written after that.

    Args:
        function: what is done to an item, in a thread or by the executor.
        items: drawn only as fast as results are taken.
        workers: number of threads; None for one a core. At most `workers` + 2 results wait in memory.
        executor: computes the results instead of threads of this process; it is not shut down.

    Yields:
        (item, result). A `MedsegError` takes the place of the result, so that one bad case never ends a run; any other
        exception is a defect and is raised, and so is `Cancelled`.
    """
    workers = workers or cpu_count()
    pool = ThreadPoolExecutor(workers) if executor is None else nullcontext(executor)
    pending: deque[tuple[T, Future[R]]] = deque()
    with pool as active:
        try:
            for item in items:
                pending.append((item, active.submit(function, item)))
                if len(pending) >= workers + 2:
                    yield _result_of(*pending.popleft())
            while pending:
                yield _result_of(*pending.popleft())
        finally:
            for _, future in pending:
                future.cancel()


def _result_of(item: T, future: Future[Any]) -> tuple[T, Any]:
    """Wait for a result and return it with its item; a problem takes the place of a result."""
    return item, result_or_problem(future.result)


def result_or_problem(compute: Callable[[], R]) -> R | MedsegError:
    """Return what a function returns, or the problem that it raises: a `MedsegError`, or too little memory.

    Args:
        compute: the function. `Cancelled` and any other exception, which is a defect, pass through.
    """
    try:
        return compute()
    except Cancelled:
        raise
    except MedsegError as error:
        return error
    except MemoryError as error:  # which the next item may not need
        return MedsegError(f"There is not enough memory: {error}".rstrip(": ") + ".", MEMORY_ADVICE)


class SharedIterator(Iterator[T]):
    """An iterator that several threads may draw from, each item once.

    Attributes:
        closed: whether `close` was called; items that were drawn before need not be finished then.
    """

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)
        self._lock = threading.Lock()
        self.closed = False

    def __next__(self) -> T:
        with self._lock:
            return next(self._items)

    def close(self) -> None:
        """End the iteration for all threads."""
        with self._lock:
            self._items, self.closed = iter(()), True


def read_ahead(
    function: Callable[[T], R], items: Iterable[T], size: Callable[[T], int], most_bytes: int, ahead: int = 2
) -> Generator[tuple[T, R | MedsegError], None, None]:
    """Apply a function to every item in one thread that works ahead of the caller, as far as memory allows.

    Args:
        function: the function to apply to an item.
        items: worked on one after the other, in this order.
        size: returns about how many bytes an item's result will take.
        most_bytes: limit on the results that wait, together with the one that the caller has; a single result may be
            larger.
        ahead: how many results may wait.

    Yields:
        (item, result), as `map_cases` does.
    """
    source = iter(items)
    upcoming = list(islice(source, 1))  # the next item, or nothing at the end
    pending: deque[tuple[T, int, Future[R]]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        try:
            while upcoming or pending:
                while upcoming and len(pending) <= ahead:
                    item_bytes = size(upcoming[0])
                    if pending and sum(entry[1] for entry in pending) + item_bytes > most_bytes:
                        break
                    pending.append((upcoming[0], item_bytes, pool.submit(function, upcoming[0])))
                    upcoming = list(islice(source, 1))
                yield _result_of(
                    *pending.popleft()[::2]
                )  # in one expression, so that no name here keeps the result alive
        finally:
            for _, _, future in pending:
                future.cancel()


class WriteBehind:
    """A thread that calls functions in the background, such as writing results; its context waits for it at the end.

    Args:
        most_bytes: limit on the memory that waiting work holds; `submit` waits until the new work fits.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="behind")
        self._pending: deque[tuple[int, Future[Any]]] = deque()

    def __enter__(self) -> WriteBehind:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def submit(self, function: Callable[[], R], size: int) -> Future[R]:
        """Queue a function, which the thread calls after those that were submitted before.

        This waits until the memory of all submitted functions, the new one included, is within the limit.

        Args:
            function: the function to call.
            size: bytes of memory that it holds until it has returned.

        Returns:
            The future with its result.
        """
        while self._pending and sum(entry[0] for entry in self._pending) + size > self._most_bytes:
            wait([self._pending.popleft()[1]])
        future = self._pool.submit(function)
        self._pending.append((size, future))
        return future


class BackgroundResult(Generic[R]):
    """A value that a thread of its own computes from now on, such as the hashes of large files.

    The thread is a daemon: a process that ends early does not wait for it, as it would for an executor.
    """

    def __init__(self, compute: Callable[[], R]) -> None:
        self._outcome: R | BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(compute,), daemon=True)
        self._thread.start()

    def result(self) -> R:
        """Wait for the value and return it, or raise what computing it raised."""
        self._thread.join()
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return cast(R, self._outcome)

    def _run(self, compute: Callable[[], R]) -> None:
        try:
            self._outcome = compute()
        except BaseException as error:  # raised by `result`, in the caller's thread
            self._outcome = error
