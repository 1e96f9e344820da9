"""The one way in which case-by-case work is spread.

Threads by default: reading, inflating, numpy and torch release the interpreter lock, and nothing has to be
imported again or pickled. Another `concurrent.futures.Executor` (a cluster's) can be handed in.
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

T = TypeVar("T")
R = TypeVar("R")


def cpu_count() -> int:
    """Cores that this process may use (a container's limit counts, not the machine's size)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_cases(
    function: Callable[[T], R], items: Iterable[T], workers: int | None = None, executor: Executor | None = None
) -> Iterator[tuple[T, R | MedsegError]]:
    """Apply `function` to every item and yield (item, result) in order.

    A `MedsegError` of one item is yielded in place of its result, so that one bad case never ends a run;
    anything else is a defect and is raised. At most `workers` + 2 results wait in memory.
    """
    workers = workers or cpu_count()
    pool = ThreadPoolExecutor(workers) if executor is None else nullcontext(executor)
    waiting: deque[tuple[T, Future[R]]] = deque()
    with pool as active:
        try:
            for item in items:
                waiting.append((item, active.submit(function, item)))
                if len(waiting) >= workers + 2:
                    yield _settle(*waiting.popleft())
            while waiting:
                yield _settle(*waiting.popleft())
        finally:
            for _, future in waiting:
                future.cancel()


def _settle(item: T, future: Future[Any]) -> tuple[T, Any]:
    try:
        return item, future.result()
    except Cancelled:
        raise
    except MedsegError as error:
        return item, error


class Shared(Iterator[T]):
    """An iterator that several threads may draw from.

    Attributes:
        closed: whether `close` was called; what was drawn before is then not wanted any more either.
    """

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)
        self._lock = threading.Lock()
        self.closed = False

    def __next__(self) -> T:
        with self._lock:
            return next(self._items)

    def close(self) -> None:
        """Give out no more items."""
        with self._lock:
            self._items, self.closed = iter(()), True


def read_ahead(
    function: Callable[[T], R], items: Iterable[T], size: Callable[[T], int], most_bytes: int, ahead: int = 2
) -> Generator[tuple[T, R | MedsegError], None, None]:
    """`map_cases` in one thread that works ahead of the caller, as far as memory allows.

    Args:
        function: what is done to an item.
        items: one after the other.
        size: bytes that an item's result will take, about.
        most_bytes: of the results that wait and the one that the caller has; a single one may be larger.
        ahead: how many results may wait.
    """
    source = iter(items)
    upcoming = list(islice(source, 1))
    waiting: deque[tuple[T, int, Future[R]]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        try:
            while upcoming or waiting:
                while upcoming and len(waiting) <= ahead:
                    bytes_ = size(upcoming[0])
                    if waiting and sum(one[1] for one in waiting) + bytes_ > most_bytes:
                        break
                    waiting.append((upcoming[0], bytes_, pool.submit(function, upcoming[0])))
                    upcoming = list(islice(source, 1))
                yield _settle(*waiting.popleft()[::2])  # nothing here holds on to the result
        finally:
            for _, _, future in waiting:
                future.cancel()


class Behind:
    """One thread that works behind the caller; handing in waits while too much lies there."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="behind")
        self._waiting: deque[tuple[int, Future[Any]]] = deque()

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def submit(self, function: Callable[[], R], size: int) -> Future[R]:
        """Do `function` later; it holds on to `size` bytes until then."""
        while self._waiting and sum(one[0] for one in self._waiting) + size > self._most_bytes:
            wait([self._waiting.popleft()[1]])
        future = self._pool.submit(function)
        self._waiting.append((size, future))
        return future


class Later(Generic[R]):
    """A value that a thread works out meanwhile, such as the hashes of large files; no process waits for it to end."""

    def __init__(self, make: Callable[[], R]) -> None:
        self._found: R | BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(make,), daemon=True)
        self._thread.start()

    def result(self) -> R:
        """The value; waits for it, and raises what making it raised."""
        self._thread.join()
        if isinstance(self._found, BaseException):
            raise self._found
        return cast(R, self._found)

    def _run(self, make: Callable[[], R]) -> None:
        try:
            self._found = make()
        except BaseException as error:  # raised where the value is asked for
            self._found = error
