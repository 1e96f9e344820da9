"""Work on a Dask cluster: items are sent as workers have room for them, and their results taken in order.

Dask gives the items of a worker that died to others. An item that it gives up, because several workers died with it,
is tried once more by itself before it counts as failed: another item may have taken the workers' memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any, TypeVar

from distributed import Client, KilledWorker

from medseg.core.errors import MedsegError, PlanError
from medseg.core.progress import Callback, Progress
from medseg.core.wording import counted
from medseg.engines.engine import Results
from medseg.engines.on_worker import Unfit
from medseg.engines.sending import GPU, OnEvent, Sending, Task
from medseg.engines.start import Workers

T = TypeVar("T")
R = TypeVar("R")

_LOOK_SECONDS = 1.0
"""Between two looks at which workers there are."""
_CONNECT_SECONDS = 10
_WAITING_PER_THREAD = 2
"""Items that a thread has at a time: the one that it works on, and the next."""


class DaskEngine:
    """The engine of a Dask cluster; a context that is connected to it.

    Args:
        workers: the cluster.
        callback: told of workers that are waited for, or lost.

    Raises:
        PlanError: no scheduler answers at the address.
    """

    elsewhere = True

    def __init__(self, workers: Workers, callback: Callback) -> None:
        self._workers, self._callback = workers, callback
        self._sendings: list[Sending] = []
        self._threads: dict[str, int] = {}
        self._looked_time = 0.0
        self._waited = False

    def __enter__(self) -> DaskEngine:
        workers = self._workers
        try:
            self._client = Client(
                workers.address, security=workers.security, timeout=_CONNECT_SECONDS, set_as_default=False
            )
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise PlanError(
                f"No scheduler of Dask answers at {workers.address}: {' '.join(str(error).split())}",
                "Start one (dask scheduler), or let medseg start workers: --cluster local:2",
            ) from None
        if workers.address.startswith("tcp://"):
            self._say(f"{workers.address} is not encrypted: whoever reaches it can run code on its workers")
        return self

    def __exit__(self, *_: object) -> None:
        for sending in self._sendings:  # of calls that an error ended, and that nobody has closed
            self._cancel(sending)
        self._client.close()

    def map(self, function: Callable[[T], R], items: Iterable[T], gpu: bool = False) -> Results[T, R]:
        """Apply a function to many items: see `Engine.map`.

        Args:
            function: the function to apply to an item.
            items: drawn only as fast as they can be worked on.
            gpu: whether an item waits for a worker with a GPU, if any has one.

        Returns:
            As `Engine.map`.
        """
        return self._results(function, items, _WAITING_PER_THREAD, None, gpu)

    def run(
        self,
        function: Callable[[T, Callback], R],
        items: Iterable[T],
        on_event: Callable[[T, Progress], None],
        gpu: bool = False,
    ) -> Results[T, R]:
        """Apply a function to a few long items, one a thread of a worker: see `Engine.run`.

        Args:
            function: what is done to an item; it reports to a callback.
            items: the items.
            on_event: called in the caller's thread with the events of an item.
            gpu: whether an item waits for a worker with a GPU, if any has one.

        Returns:
            As `Engine.run`.
        """
        return self._results(function, items, 1, on_event, gpu)

    def _results(
        self, function: Callable[..., R], items: Iterable[T], per_thread: int, on_event: OnEvent | None, gpu: bool
    ) -> Results[T, R]:
        """Send items, and yield their results in order."""
        sending = Sending(self._client, function, items, on_event, gpu and self._have_gpus())
        self._sendings.append(sending)
        try:
            while True:
                self._check_workers()
                sending.fill(max(1, per_thread * sum(self._threads.values())))  # one for the first worker to come
                if not sending.waiting:
                    return
                task = sending.waiting[0]
                done = task.future.done()
                sending.wait(0 if done else _LOOK_SECONDS)  # events that came before a result are passed on before it
                if not done:
                    continue
                try:
                    result = self._result(task)
                except KilledWorker:
                    self._send_alone(task, sending)
                    continue
                sending.waiting.popleft()
                yield task.item, result
        finally:
            self._cancel(sending)

    def _result(self, task: Task) -> Any:
        """Return an item's result or problem.

        Raises:
            KilledWorker: the item is to be tried again.
            PlanError: the workers do not suit the command.
            MedsegError: the cluster is gone.
        """
        try:
            result = task.future.result()
        except KilledWorker:
            if not task.alone:
                raise
            return MedsegError(
                "Each worker that was given it died, the last one with nothing else to do: most often for want of "
                "memory.",
                "Give the workers more memory, or leave it out.",
            )
        except CancelledError:
            raise self._gone() from None
        except ModuleNotFoundError as error:
            raise PlanError(
                f"A worker of {self._workers.name} cannot import {error.name}.",
                "Install medseg, with the same extras, where the workers run.",
            ) from None
        if isinstance(result, Unfit):
            raise PlanError(result.message, result.hint)
        return result

    def _send_alone(self, task: Task, sending: Sending) -> None:
        """Send an item again when nothing else is under way."""
        while not all(other.future.done() for other in sending.waiting):
            self._check_workers()
            sending.wait(_LOOK_SECONDS)
        task.future, task.alone = sending.send(task.item, task.number), True

    def _cancel(self, sending: Sending) -> None:
        """Cancel the items that were sent; a worker stops its item at the next progress event, or ends a short one."""
        futures = [task.future for task in sending.waiting]
        sending.waiting.clear()
        if futures and self._client.status == "running":
            with suppress(OSError, CancelledError):
                self._client.cancel(futures, force=True)

    def _check_workers(self) -> None:
        """Check from time to time which workers there are; report changes, and have lost workers replaced."""
        now = time.monotonic()
        if now - self._looked_time < _LOOK_SECONDS:
            return
        self._looked_time = now
        if self._client.status not in ("running", "connecting"):
            raise self._gone()
        try:
            threads = dict(self._client.nthreads())
        except OSError:
            raise self._gone() from None
        lost = len(self._threads.keys() - threads.keys())
        waited, self._threads = self._waited, threads
        if lost:
            self._say(f"{self._workers.name}: {counted(lost, 'worker')} lost; what they worked on is done again")
        if len(threads) < (self._workers.count or 0):
            self._workers.replace_lost()
        self._waited = not threads
        if self._waited and not waited:
            self._say(f"waiting for workers of {self._workers.name}")

    def _have_gpus(self) -> bool:
        """Return whether workers say that they have GPUs; where none does, work is not divided by them."""
        workers: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        return any(worker.get("resources", {}).get(GPU) for worker in workers.values())

    def _say(self, note: str) -> None:
        there = len(self._threads)
        self._callback(Progress("workers", there, max(there, self._workers.count or 1), {"note": note}))

    def _gone(self) -> MedsegError:
        return MedsegError(
            f"The scheduler of {self._workers.name} is gone; what is finished is on disk.",
            "Start the cluster, and give the same command again; `medseg predict` with --continue.",
        )
