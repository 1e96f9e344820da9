"""A service that keeps a model loaded and answers scans from a queue.

    python examples/service.py runs/hippocampus/3d_fullres

reads a request a line from standard input, `{"scan": "case.nii.gz", "labels": "answer.nii.gz"}`, and writes what came
of each to standard output, in the order in which they end. As a part of another program:

    with Service("runs/hippocampus/3d_fullres") as service:
        job = service.submit(medseg.read_image("case.nii.gz"))
        labels = job.answer.result()       # or its error
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue

import medseg


@dataclass
class Job:
    """A request: its scan, its answer once there is one, and a way to give it up."""

    scan: medseg.Image
    progress: Callable[[float], None] | None = None
    answer: Future[medseg.Image] = field(default_factory=Future)
    given_up: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """Ends the job, waiting or in the middle of its scan; its answer is then the error `medseg.Cancelled`.

        `answer.cancel()` works as well, while it waits.
        """
        self.given_up.set()

    def callback(self, event: medseg.Progress) -> None:
        """What the predictor calls after every few tiles: the place to show progress, and to stop."""
        if self.progress is not None:
            self.progress(event.done / max(event.total, 1))
        if self.given_up.is_set():
            raise medseg.Cancelled


class Service:
    """A loaded model, a queue, and threads that take scans from it.

    The threads share one `Predictor`. They take turns at the network; two of them are enough to prepare one scan and
    finish another meanwhile. The queue is bounded, so that scans do not pile up in memory: `submit` waits.
    """

    def __init__(self, model: str | Path, device: str = "auto", threads: int = 2, waiting: int = 4) -> None:
        self.predictor = medseg.Predictor.load(model, device)
        self.predictor.warm_up()  # the first scan then takes no longer than the others
        self._queue: Queue[Job | None] = Queue(waiting)
        self._threads = [threading.Thread(target=self._work) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        """Answer what is in the queue, and end."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def submit(self, scan: medseg.Image, progress: Callable[[float], None] | None = None) -> Job:
        """Put a scan into the queue; waits while it is full."""
        job = Job(scan, progress)
        self._queue.put(job)
        return job

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            if not job.answer.set_running_or_notify_cancel():  # `job.answer.cancel()`, before its turn
                continue
            try:
                job.callback(medseg.Progress("waited", 0, 1))  # it may have been given up in the queue
                job.answer.set_result(self.predictor(job.scan, job.callback))
            except Exception as error:  # told to whoever asked; the next job finds the predictor as it was
                job.answer.set_exception(error)
            del job  # while this thread waits, it keeps no scan


def main(model: str) -> None:
    """Requests as lines on standard input, answers as lines on standard output."""
    printing = threading.Lock()

    def tell(request: dict[str, str], service: Service, answer: Future[medseg.Image]) -> None:
        told: dict[str, object] = dict(request)
        try:
            labels = answer.result()
            medseg.write_label(Path(request["labels"]), labels, like=Path(request["scan"]))
            told["volumes"] = service.predictor.volumes(labels)
        except Exception as error:
            told["error"] = str(error) or type(error).__name__
        with printing:
            print(json.dumps(told), flush=True)

    with Service(model) as service:
        for line in sys.stdin:
            request: dict[str, str] = {}
            try:
                request = {key: str(json.loads(line)[key]) for key in ("scan", "labels")}
                scan = medseg.read_image(request["scan"])
            except (medseg.MedsegError, ValueError, KeyError, TypeError) as error:
                told = (request or {"request": line.strip()}) | {"error": str(error)}
                with printing:
                    print(json.dumps(told), flush=True)
                continue
            job = service.submit(scan)
            job.answer.add_done_callback(lambda answer, request=request: tell(request, service, answer))


if __name__ == "__main__":
    main(sys.argv[1])
