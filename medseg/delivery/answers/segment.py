"""Feed cases to predictors and write what they answer: reading ahead, computing and writing behind overlap.

Each device has a predictor and a worker of its own; all workers draw from one queue of cases. What waits before and
behind a network is limited in bytes, so that large scans do not pile up in memory.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
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
from medseg.core.machine.parallel import SharedIterator, WriteBehind, read_ahead
from medseg.core.progress import Callback, Progress, silent
from medseg.core.wording import in_a_line
from medseg.delivery.answers.answer import Forms, Outcome, write_answer
from medseg.delivery.answers.judge import Judge, assessment_in, doubts
from medseg.delivery.answers.maps import map_files, open_sinks, write_spread
from medseg.delivery.provenance.inputs import hash_inputs
from medseg.delivery.provenance.manifest import describe_grid, describe_resampling
from medseg.inference.predictor import Predictor
from medseg.inference.treatment import scaling_of
from medseg.io.load import load_case_image, size_in_memory
from medseg.preprocessing.volume import Volume

_MOST_BYTES = 1 << 30
"""For each device, of scans that are read and wait, and again of answers that wait to be written."""


def segment(
    predictors: Sequence[Predictor],
    cases: Sequence[Case],
    output: Path,
    callback: Callback = silent,
    stage: str = "predict",
    on_written: Callable[[Outcome], None] = lambda outcome: None,
    forms: Forms | None = None,
) -> Iterator[Outcome]:
    """Segment cases into a folder, and yield the outcome of each once its answer is written.

    Args:
        predictors: one per device.
        cases: what to segment; where there are several devices, the outcomes come in another order.
        output: folder for the answers.
        callback: receives each outcome as a unit of `stage`, for a single device also the share of a scan that is done
            (`share` in its info), and what memory was too short for (`note`); as soon as an answer is written, what
            speaks against it (`doubtful`).
        stage: name of the progress stage.
        on_written: called for each answer right after it is written, in the thread that wrote it.
        forms: in which forms answers are written, and which maps are written beside them.

    Raises:
        MedsegError: only what the callback raises; a case that fails is named in its outcome.
    """
    queue, reporter = SharedIterator(cases), _Reporter(callback, stage, len(cases), on_written)
    on_tiles = reporter.on_tiles if len(predictors) == 1 else partial(reporter.on_tiles_in_thread, queue)
    workers = [
        _Worker(predictor, queue, output, forms or Forms(), reporter.on_written, on_tiles).outcomes()
        for predictor in predictors
    ]
    outcomes = workers[0] if len(workers) == 1 else _merge(workers, queue)
    with closing(outcomes):  # ends the workers at once, and not when the error that ended the loop was dealt with
        reporter.report()
        for outcome in outcomes:
            reporter.failed += outcome.problem is not None
            yield outcome
            reporter.report()


def doubtful(outcome: Outcome) -> dict[str, str]:
    """Return the info of an event on what speaks against an answer: `case` and `warning`; {} where nothing does.

    Args:
        outcome: of the case.
    """
    texts = doubts(outcome.about.get("warnings", ()), assessment_in(outcome.about))
    return {"case": outcome.case.id, "warning": in_a_line(texts)} if texts and outcome.problem is None else {}


class _Reporter:
    """Reports progress to the callback; a case counts as soon as its answer is written."""

    def __init__(self, callback: Callback, stage: str, total: int, on_written: Callable[[Outcome], None]) -> None:
        self.callback, self.stage, self.total, self._on_written = callback, stage, total, on_written
        self.answered = self.failed = 0
        self._waiting: SimpleQueue[dict[str, str]] = SimpleQueue()
        """Texts that other threads have for the callback, each the info of an event of its own."""
        self._lock = threading.Lock()

    def on_written(self, outcome: Outcome) -> None:
        self._on_written(outcome)
        with self._lock:
            self.answered += 1
        if info := doubtful(outcome):
            self._waiting.put(info)

    def report(self, **info: object) -> None:
        while not self._waiting.empty():
            self._send(self._waiting.get())
        self._send(info)

    def _send(self, info: Mapping[str, object]) -> None:
        self.callback(Progress(self.stage, self.answered + self.failed, self.total, dict(info)))

    def on_tiles(self, event: Progress) -> None:
        """Report how much of a scan the network has done."""
        self.report(**event.info, share=event.done / max(event.total, 1))

    def on_tiles_in_thread(self, queue: SharedIterator[Case], event: Progress) -> None:
        """Keep notes for the thread that may call the callback; cancel a scan that is no longer wanted."""
        if "note" in event.info:
            self._waiting.put({"note": event.info["note"]})
        if queue.closed:
            raise Cancelled


@dataclass
class _Scan:
    """A scan that was read.

    Attributes:
        grid: image without voxels of its own (1, z, y, x), for the answer's geometry.
        image: its voxels; None once they are prepared.
        volume: what the network sees of it; None before it is prepared, and once it is computed.
        about: what the manifest says of it.
        beside: files of the answer that were written beside the label map.
    """

    grid: Image
    image: Image | None
    volume: Volume | None
    about: dict[str, Any]
    beside: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class _Worker:
    """Segments cases on one device, drawn from an iterator that all devices share."""

    predictor: Predictor
    cases: SharedIterator[Case]
    output: Path
    forms: Forms
    on_written: Callable[[Outcome], None]
    callback: Callback

    def outcomes(self) -> Generator[Outcome, None, None]:
        """Predict the cases that this device draws, and yield the outcome of each when its answer is written.

        The next scan is read, and earlier answers are written, while the network computes.
        """
        writing: deque[Future[Outcome]] = deque()
        reading = read_ahead(self._read, self.cases, _memory_of, _MOST_BYTES)
        with WriteBehind(_MOST_BYTES) as behind, closing(reading):
            for case, scan in reading:
                if self.cases.closed:
                    break
                try:
                    if isinstance(scan, MedsegError):
                        raise scan
                    answer = self._predict(case, scan)
                except Cancelled:
                    raise
                except MedsegError as error:
                    yield Outcome(case, problem=str(error))
                    continue
                plan = self.predictor.model.plan
                write = partial(write_answer, case, answer, self.output, plan.labels, self.forms, self.on_written)
                write = partial(write, scan.about, plan.data.dimensions, scan.beside)
                writing.append(behind.submit(write, answer.array.nbytes))
                del scan, answer, write  # the next scan may need their memory
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
            return _Scan(grid, image, None, about)
        return _Scan(grid, None, self.predictor.prepare(image), about)

    def _predict(self, case: Case, scan: _Scan) -> Image:
        """Predict labels on the scan's grid, and write the maps; voxels are freed as soon as they are prepared.

        Raises:
            MedsegError: the scan does not suit the model, or memory is short.
        """
        predictor, maps = self.predictor, self.forms.maps
        start = time.monotonic()
        volume = scan.volume or predictor.prepare(scan.image, self.callback)  # type: ignore[arg-type]
        scan.image = scan.volume = None
        if volume.warnings:
            scan.about["warnings"] = list(volume.warnings)
        labels, scaling = predictor.model.plan.labels, scaling_of(predictor.model)
        with ExitStack() as stack:
            sinks = open_sinks(maps, stack, case, scan.grid, volume.geometry, self.output, labels, scaling)
            more, probability = self.forms.instances.probability_sink(volume.geometry, labels, scaling)
            judge = Judge.of(predictor, volume)
            answer = predictor.labels(volume, self.callback, [*sinks, *more], judge.observations)
            if maps.spread:
                write_spread(predictor, volume, case, scan.grid, self.output, self.callback)
        scan.about["network_grid"] = describe_resampling(volume.geometry)
        scan.about["seconds"] = round(time.monotonic() - start, 3)
        image = scan.grid.with_array(answer[None])
        scan.about |= judge.entry(image)
        scan.beside = map_files(maps, case, self.output, labels)
        if self.forms.instances.wanted:
            scan.beside += self.forms.instances.write(case, image, probability(), self.output, labels)
        return image


def _memory_of(case: Case) -> int:
    """Estimate the bytes that a case takes once it is read; 0 if it cannot be read, which reading it will report."""
    try:
        return sum(size_in_memory(path) for path in case.channels)
    except (OSError, MedsegError):
        return 0


def _merge(
    workers: Sequence[Generator[Outcome, None, None]], queue: SharedIterator[Case]
) -> Generator[Outcome, None, None]:
    """Yield the outcomes of several workers as they come, each worker in a thread of its own."""
    arrived: SimpleQueue[Outcome | BaseException | None] = SimpleQueue()

    def run(worker: Generator[Outcome, None, None]) -> None:
        try:
            for outcome in worker:
                arrived.put(outcome)
        except BaseException as error:  # raised in the thread that waits for outcomes
            arrived.put(error)
        arrived.put(None)

    threads = [threading.Thread(target=run, args=(worker,), name=f"device-{n}") for n, worker in enumerate(workers)]
    running = len(threads)
    try:
        for thread in threads:
            thread.start()
        while running:
            outcome = arrived.get()
            if isinstance(outcome, BaseException):
                raise outcome
            if outcome is None:
                running -= 1
            else:
                yield outcome
    finally:
        queue.close()
        for thread in threads:
            thread.join()
