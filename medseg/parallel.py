"""The one way in which case-by-case work is spread.

Threads by default: reading, inflating, numpy and torch release the interpreter lock, and nothing has to be
imported again or pickled. Another `concurrent.futures.Executor` (a cluster's) can be handed in.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, TypeVar

from medseg.errors import Cancelled, MedsegError

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
