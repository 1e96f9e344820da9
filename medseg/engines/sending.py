"""Items on their way to the workers of a Dask cluster, and what comes back of them."""

from __future__ import annotations

import os
import pickle
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Client, Future

from medseg.core.progress import Progress
from medseg.engines.on_worker import Context, event_of, work_on

GPU = "GPU"
"""The resource of a worker that has a GPU: `dask worker ADDRESS --resources GPU=1`."""
OnEvent = Callable[[Any, Progress], None]


@dataclass(eq=False)
class Task:
    """An item that was sent to a worker, and its result to come.

    Attributes:
        item: the item.
        number: its number, from 0.
        future: the future of its result.
        alone: whether it was tried again by itself.
    """

    item: Any
    number: int
    future: Future
    alone: bool = False


class Sending:
    """Sends the items of one call to a cluster.

    Args:
        client: connected to it.
        function: the function to apply to an item.
        items: drawn as they are sent.
        on_event: called with the events of an item; None for functions that report none.
        gpu: whether an item waits for a worker with a GPU.

    Attributes:
        waiting: items that were sent and whose results were not taken, in their order.
        exhausted: whether all items were drawn.
    """

    def __init__(
        self, client: Client, function: Callable, items: Iterable[Any], on_event: OnEvent | None, gpu: bool
    ) -> None:
        self.waiting: deque[Task] = deque()
        self.exhausted = False
        self._client, self._function, self._source, self._on_event = client, function, iter(items), on_event
        self._resources = {GPU: 1} if gpu else None
        self._arrived: SimpleQueue[Any] = SimpleQueue()
        self._reporting: list[Any] = []  # every item of a function that reports, by its number
        self._topic = None if on_event is None else f"medseg-{uuid.uuid4().hex}"
        self._sent = 0
        if self._topic is not None:
            client.subscribe_topic(self._topic, lambda event: self._arrived.put(event[1]))

    def fill(self, room: int) -> None:
        """Send items until a given number is under way.

        Args:
            room: how many items the workers should have.
        """
        under_way = sum(not task.future.done() for task in self.waiting)
        while under_way < room and not self.exhausted:
            try:
                item = next(self._source)
            except StopIteration:
                self.exhausted = True
                return
            self.waiting.append(Task(item, self._sent, self.send(item, self._sent)))
            if self._on_event is not None:
                self._reporting.append(item)
            self._sent += 1
            under_way += 1

    def send(self, item: Any, number: int) -> Future:
        """Send an item, and return the future of its result.

        Args:
            item: the item.
            number: its number, from 0.
        """
        packed = pickle.dumps((self._function, item))  # by reference: no code travels
        future = self._client.submit(
            work_on,
            packed,
            Context(os.getcwd(), self._topic, number),
            key=f"medseg-{uuid.uuid4().hex}",
            pure=False,
            resources=self._resources,
        )
        future.add_done_callback(lambda _: self._arrived.put(None))
        return future

    def wait(self, seconds: float) -> None:
        """Wait until something arrives, and pass events on.

        Args:
            seconds: how long to wait at most.
        """
        with suppress(Empty):
            message = self._arrived.get(timeout=seconds)
            while True:
                if message is not None and self._on_event is not None:
                    self._on_event(self._reporting[message["number"]], event_of(message))
                message = self._arrived.get_nowait()
