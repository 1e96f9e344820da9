"""Engines, which apply a function to many items (cases, folds) and return each with its result or its problem.

Whichever engine does the work, results come in the order of the items, one bad item never ends the run, and closing
the generator ends what was not begun. `ThisProcess` is here; `medseg.engines.dask_engine` has the one of clusters, and
`medseg.engines.open` chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol, TypeVar

from medseg.core.errors import Cancelled, MedsegError, Stopped
from medseg.core.machine.parallel import map_cases
from medseg.core.progress import Callback, Progress

T = TypeVar("T")
R = TypeVar("R")

Results = Generator[tuple[T, R | MedsegError], None, None]
"""(item, result) in the order of the items; a `MedsegError` takes the place of a result."""


class Engine(Protocol):
    """The protocol of engines: each applies functions to items.

    The functions are top-level functions of medseg, or `functools.partial` of one, and they, the items and the results
    can be pickled.
    """

    @property
    def elsewhere(self) -> bool:
        """Whether other processes do the work, which share nothing with this one but files."""

    def map(self, function: Callable[[T], R], items: Iterable[T], gpu: bool = False) -> Results[T, R]:
        """Apply a function to many items, each of which takes seconds.

        Args:
            function: the function to apply to an item.
            items: drawn only as fast as they can be worked on.
            gpu: whether an item needs a GPU; on a cluster it then waits for a worker that has the resource `GPU`.

        Returns:
            An iterator over (item, result or problem), in the order of the items.
        """

    def run(
        self,
        function: Callable[[T, Callback], R],
        items: Iterable[T],
        on_event: Callable[[T, Progress], None],
        gpu: bool = False,
    ) -> Results[T, R]:
        """Apply a function to a few items, each of which may take hours and reports its progress.

        Args:
            function: what is done to an item; it reports to a callback, which may raise `Cancelled`.
            items: in this process worked on one after another.
            on_event: called in the caller's thread with the events of an item.
            gpu: as in `map`.

        Returns:
            An iterator over (item, result or problem), in the order of the items.
        """


@dataclass(frozen=True)
class ThisProcess:
    """Threads of this process, or an executor such as a pool of processes.

    Attributes:
        workers: number of threads; None for one a core.
        executor: does the work of `map` instead of threads; it is not shut down.
    """

    workers: int | None = None
    executor: Executor | None = None

    elsewhere = False

    def map(self, function: Callable[[T], R], items: Iterable[T], gpu: bool = False) -> Results[T, R]:
        """Apply a function to many items: see `Engine.map`.

        Args:
            function: the function to apply to an item.
            items: drawn only as fast as they can be worked on.
            gpu: without effect here.

        Returns:
            As `Engine.map`.
        """
        return map_cases(function, items, self.workers, self.executor)

    def run(
        self,
        function: Callable[[T, Callback], R],
        items: Iterable[T],
        on_event: Callable[[T, Progress], None],
        gpu: bool = False,
    ) -> Results[T, R]:
        """Apply a function to a few long items, one after another in the caller's thread: see `Engine.run`.

        Args:
            function: what is done to an item; it reports to a callback.
            items: the items.
            on_event: called in the caller's thread with the events of an item.
            gpu: without effect here.

        Returns:
            As `Engine.run`.
        """
        for item in items:
            try:
                result: R | MedsegError = function(item, lambda event, item=item: on_event(item, event))  # type: ignore[misc]
            except (Cancelled, Stopped):
                raise
            except MedsegError as error:
                result = error
            yield item, result


HERE = ThisProcess()
"""This process with a thread for each core: what does the work where nobody asks for anything else."""
