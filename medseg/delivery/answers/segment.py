"""Cases through a model: reading ahead, the network, and writing behind overlap, in one process.

Each device has a predictor and a line of its own; all lines draw from one queue of cases. What waits before and behind
a network is bounded in bytes, so that large scans do not pile up.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from medseg.core.case import Case
from medseg.core.errors import Cancelled, MedsegError
from medseg.core.image import Image
from medseg.core.parallel import SharedIterator, WriteBehind, read_ahead
from medseg.core.progress import Callback, Progress, silent
from medseg.delivery.answers.answer import Forms, Outcome, write_answer
from medseg.delivery.answers.maps import map_sinks, write_spread
from medseg.delivery.provenance.inputs import hash_inputs
from medseg.delivery.provenance.manifest import describe_grid, describe_resampling
from medseg.inference.predictor import Predictor
from medseg.io.load import load_case_image, size_in_memory
from medseg.networks.device import memory_errors
from medseg.preprocessing.restore import restore
from medseg.preprocessing.volume import Volume

_MOST_BYTES = 1 << 30
"""Of scans that are read and wait, and of answers that wait to be written, on each device."""
_ADVICE = "Close other programs, crop the scan, or take a machine with more memory."

Written = Callable[[Outcome], None]


def segment(
    predictors: Sequence[Predictor],
    cases: Sequence[Case],
    output: Path,
    callback: Callback = silent,
    stage: str = "predict",
    written: Written = lambda outcome: None,
    forms: Forms | None = None,
) -> Iterator[Outcome]:
    """Segment cases into a folder, and yield what came of each once its answer is written.

    Args:
        predictors: one a device.
        cases: what to segment; where there are several devices, the outcomes come in another order.
        output: where the answers go.
        callback: told of each outcome as a unit of `stage`, with one device also of the share of a scan that is done
            (`share` in its info) and of what memory was too short for (`note`).
        written: called for each answer right after it is written, in the thread that wrote it.
        forms: as what answers are written, and what is written beside them.

    Raises:
        MedsegError: only what the callback raises; a case that fails is named in its outcome.
    """
    queue, meter = SharedIterator(cases), _Meter(callback, stage, len(cases), written)
    tiles = meter.tiles if len(predictors) == 1 else partial(meter.watch, queue)
    lines = [_Line(one, queue, output, forms or Forms(), meter.written, tiles).run() for one in predictors]
    outcomes = lines[0] if len(lines) == 1 else _together(lines, queue)
    with closing(outcomes):  # at once, and not when the error that ends it has been dealt with
        meter.report()
        for outcome in outcomes:
            meter.failed += outcome.problem is not None
            yield outcome
            meter.report()


class _Meter:
    """What the callback is told; answers count as soon as they are written."""

    def __init__(self, callback: Callback, stage: str, total: int, written: Written) -> None:
        self.callback, self.stage, self.total, self._written = callback, stage, total, written
        self.answered = self.failed = 0
        self._notes: SimpleQueue[str] = SimpleQueue()
        self._lock = threading.Lock()

    def written(self, outcome: Outcome) -> None:
        self._written(outcome)
        with self._lock:
            self.answered += 1

    def report(self, **info: object) -> None:
        if not self._notes.empty():
            info["note"] = self._notes.get()
        self.callback(Progress(self.stage, self.answered + self.failed, self.total, info))

    def tiles(self, event: Progress) -> None:
        """Pass on how far the network is with a scan."""
        self.report(**event.info, share=event.done / max(event.total, 1))

    def watch(self, queue: SharedIterator[Case], event: Progress) -> None:
        """In a device's thread: keep what memory was too short for, and end what is not wanted any more."""
        if "note" in event.info:
            self._notes.put(event.info["note"])
        if queue.closed:
            raise Cancelled


@dataclass
class _Scan:
    """A scan that was read: its grid and, as long as they are needed, its voxels or what the network sees of them.

    `about` is what the manifest is to say of it.
    """

    grid: Image
    image: Image | None
    volume: Volume | None = None
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Line:
    """One device, and what it does with the cases that it draws."""

    predictor: Predictor
    cases: SharedIterator[Case]
    output: Path
    forms: Forms
    written: Written
    callback: Callback

    def run(self) -> Generator[Outcome, None, None]:
        writing: deque[Future[Outcome]] = deque()
        reading = read_ahead(self._read, self.cases, _bytes_of, _MOST_BYTES)
        with WriteBehind(_MOST_BYTES) as behind, closing(reading):
            for case, scan in reading:
                if self.cases.closed:
                    break
                try:
                    answer = self._answer(case, scan)
                except Cancelled:
                    raise
                except MedsegError as error:
                    yield Outcome(case, problem=str(error))
                    continue
                labels = self.predictor.model.plan.labels
                about = scan.about if isinstance(scan, _Scan) else {}
                write = partial(write_answer, case, answer, self.output, labels, self.forms, self.written, about)
                writing.append(behind.submit(write, answer.array.nbytes))
                del scan, answer, write
                while writing and writing[0].done():
                    yield writing.popleft().result()
            while writing:
                yield writing.popleft().result()

    def _read(self, case: Case) -> _Scan:
        """Read a scan; where the network does not need the processor, prepare it as well."""
        data = self.predictor.model.plan.data
        image = load_case_image(case, len(data.channels), data.reading)
        grid = image.with_array(np.broadcast_to(np.uint8(0), (1, *image.shape_zyx)))
        about: dict[str, Any] = {"inputs": hash_inputs(case), "grid": describe_grid(image)}
        more = {"notes": list(image.notes), "read": dict(image.record), "attributes": case.attributes}
        about |= {key: value for key, value in more.items() if value}
        if self.predictor.device.type == "cpu" or self.predictor.model.previous is not None:
            return _Scan(grid, image, about=about)
        return _Scan(grid, None, self.predictor.prepare(image), about)

    def _answer(self, case: Case, scan: _Scan | MedsegError) -> Image:
        """Labels on the scan's grid; its voxels are let go as soon as they are prepared.

        Raises:
            MedsegError: the scan could not be read, does not suit the model, or memory is short.
        """
        if isinstance(scan, MedsegError):
            raise scan
        predictor, labels, grid = self.predictor, self.predictor.model.plan.labels, scan.grid
        began = time.monotonic()
        with memory_errors(_ADVICE), ExitStack() as stack:
            volume = scan.volume or predictor.prepare(scan.image, self.callback)  # type: ignore[arg-type]
            scan.image = scan.volume = None
            sinks = map_sinks(self.forms.maps, stack, case, grid, volume.geometry, self.output, labels)
            slabs = predictor.logits(volume, self.callback)
            answer = restore(slabs, volume.geometry, labels, predictor.configuration, sinks)
            if self.forms.maps.spread:
                write_spread(predictor, volume, case, grid, self.output, self.callback)
        scan.about["network_grid"] = describe_resampling(volume.geometry)
        scan.about["seconds"] = round(time.monotonic() - began, 3)
        return grid.with_array(answer[None])


def _bytes_of(case: Case) -> int:
    """About what a case takes in memory once it is read; nothing, if it cannot be."""
    try:
        return sum(size_in_memory(path) for path in case.channels)
    except (OSError, MedsegError):
        return 0


def _together(
    lines: Sequence[Generator[Outcome, None, None]], queue: SharedIterator[Case]
) -> Generator[Outcome, None, None]:
    """The outcomes of several lines as they come, each line in a thread of its own."""
    arrived: SimpleQueue[Outcome | BaseException | None] = SimpleQueue()

    def run(line: Generator[Outcome, None, None]) -> None:
        try:
            for outcome in line:
                arrived.put(outcome)
        except BaseException as error:  # raised where the outcomes are waited for
            arrived.put(error)
        arrived.put(None)

    threads = [threading.Thread(target=run, args=(line,), name=f"device-{n}") for n, line in enumerate(lines)]
    running = len(threads)
    try:
        for thread in threads:
            thread.start()
        while running:
            found = arrived.get()
            if isinstance(found, BaseException):
                raise found
            if found is None:
                running -= 1
            else:
                yield found
    finally:
        queue.close()
        for thread in threads:
            thread.join()
