"""Train a fold with several processes on this machine: this process is rank 0 and starts the workers, as torchrun does.

Rank 0 reports and decides, as a single process does; `medseg.training.step.ranks` has the rest. A worker is this module
run as a script; it reads what to train from its standard input. Rank 0 also keeps the store in which the processes find
each other, and ends all of them if one fails.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

import torch
import torch.distributed as dist

from medseg.commands.train.options import TrainOptions
from medseg.commands.train.run import Request, find_run
from medseg.commands.train.train import train
from medseg.core.errors import Cancelled, MedsegError
from medseg.core.machine.tuning import tune_for_training
from medseg.core.progress import Callback, Progress, silent
from medseg.models.workspace import Workspace
from medseg.networks.threads import use_cores
from medseg.training.step.ranks import ProcessLost, Ranks, check_own_device, report_failure

_READY = b"ready\n"
"""What a worker writes to its standard output before it joins the group; it writes nothing else there."""
_ENDED_BY_ANOTHER = 3
"""Exit code of a worker that ends because another process failed."""
_ERROR = "medseg error: "
"""What a worker writes to its standard error before its own error, after any warnings of libraries."""
_END_SECONDS = 10.0
"""Time for all workers together to end by themselves after rank 0 has ended; then they are killed."""
_LOOK_SECONDS = 0.2
"""Interval at which rank 0 checks whether a worker has ended."""
_LEAVE_SECONDS = 30.0
"""Time for rank 0 to end by itself after a worker has failed, as with torchrun."""
_BLOCKED_SECONDS = 300.0
"""Further time for rank 0 on a GPU, where it may wait for the failed worker without an error; then it is ended."""


class _WorkerFailed(Cancelled):
    """Stops the training of rank 0 at its next progress event, because a worker has failed."""


@dataclass
class _Workers:
    """The worker processes of ranks 1 to N-1.

    Attributes:
        store: the store in which all processes find each other; None once this process no longer trains.
        started: the processes, rank 1 first.
        stderr_files: the files that hold what each worker wrote to its standard error.
        ended: indices into `started` of the workers that have ended by themselves, in that order.
        failed: set when a worker has failed.
        training_over: set when this process has left the training.
        on_gpu: returns whether this process may be waiting for something on a GPU, where no error reaches it.
    """

    store: dist.Store | None = None
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    stderr_files: list[IO[bytes]] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    failed: threading.Event = field(default_factory=threading.Event)
    training_over: threading.Event = field(default_factory=threading.Event)
    on_gpu: Callable[[], bool] = torch.cuda.is_initialized

    def wait(self) -> None:
        """Wait until all workers are ready, so that one that cannot start is reported before any work is done.

        Raises:
            MedsegError: a worker has ended.
        """
        for process in self.started:
            assert process.stdout is not None
            if process.stdout.readline() != _READY:
                raise MedsegError(self.problem())

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch the workers in a background thread while the block runs."""
        watch = threading.Thread(target=self._watch, daemon=True)
        watch.start()
        try:
            yield
        finally:
            self.training_over.set()
            watch.join()

    def _watch(self) -> None:
        """After a worker fails, stop this process: first by a flag, then by closing the store, last by `os._exit`."""
        while not self._look():
            if self.training_over.wait(_LOOK_SECONDS):
                return
        report_failure()  # seen by processes that have not formed a group yet; later gloo notices the end by itself
        self.failed.set()  # seen at the next progress event
        if self.training_over.wait(_LEAVE_SECONDS):
            return
        self.store = None  # ends a wait for what the failed worker was to write there
        if not self.on_gpu() or self.training_over.wait(_BLOCKED_SECONDS):
            return
        # A GPU waits for ever here. To break off its wait would leave incomplete sums in the weights, so that this
        # process ends without a further step; the last checkpoint is whole.
        sys.stderr.write(f"\n{self.problem()}\n")
        sys.stderr.flush()
        os._exit(2)

    def _look(self) -> bool:
        """Update `ended`, and return whether any worker has failed."""
        for number, process in enumerate(self.started):
            if number not in self.ended and process.poll() is not None:
                self.ended.append(number)
        return any(self.started[number].returncode for number in self.ended)

    def end(self) -> None:
        """Give the workers `_END_SECONDS` to end by themselves, then kill those that are left."""
        self.store = None
        until = time.monotonic() + _END_SECONDS
        self._look()
        while len(self.ended) < len(self.started) and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS / 4)
            self._look()
        for process in self.started:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def problem(self) -> str:
        """Return why the first worker failed; an error of medseg takes precedence over other text on standard error."""
        self.end()
        texts = []
        for file in self.stderr_files:
            file.seek(0)
            texts.append(file.read().decode(errors="replace").strip())
        killed = (number for number in range(len(self.started)) if number not in self.ended)
        for number in (*self.ended, *killed):
            _, error, text = texts[number].rpartition(_ERROR)
            if error:
                return text
        for number in self.ended:
            code = self.started[number].returncode
            if code in (0, _ENDED_BY_ANOTHER):
                continue
            if code < 0:
                return (
                    f"Process {number + 2} of {len(self.started) + 1} that train together was ended by "
                    f"{signal.Signals(-code).name}.\nOften there was not enough memory; the same command goes on from "
                    "the last checkpoint."
                )
            if texts[number]:
                return texts[number]
        return "Another of the processes that train together has ended without saying why."


@contextmanager
def several_processes(
    count: int, plan: Path, workspace: Path, options: TrainOptions, callback: Callback = silent
) -> Iterator[Callback]:
    """Start the workers that train a fold together with this process, which trains it as rank 0 within the block.

    Args:
        count: number of processes, this one included; with 1 no worker is started.
        plan: the path of the plan.
        workspace: folder with plans, runs and cache.
        options: which fold, and how it is trained: the same in all processes.
        callback: receives progress and notes.

    Yields:
        The callback to train with, which also stops the training after a worker has failed.

    Raises:
        PlanError: there are too few devices or samples for as many processes.
        MedsegError: a worker failed first.
    """
    if count == 1:
        yield callback
        return
    _check(count, plan, workspace, options, callback)
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    shared |= {"MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}  # none but this is the server
    request = pickle.dumps((plan, workspace, options))
    workers = _Workers(store)
    del store  # `workers` holds the only reference, so that it can close the store
    with ExitStack() as stack:
        stack.callback(workers.end)
        for rank in range(1, count):
            workers.stderr_files.append(stack.enter_context(tempfile.TemporaryFile()))
            workers.started.append(_start(rank, shared, request, workers.stderr_files[-1]))
        workers.wait()
        stack.enter_context(_environment({**shared, "RANK": "0", "LOCAL_RANK": "0"}))
        try:
            with workers.watched():
                yield partial(_pass_on, workers, callback)
        except (SystemExit, ProcessLost, _WorkerFailed):  # raised here because a worker failed
            raise MedsegError(workers.problem()) from None


def _pass_on(workers: _Workers, callback: Callback, event: Progress) -> None:
    """Pass progress on, or stop the training if a worker has failed."""
    if workers.failed.is_set():
        raise _WorkerFailed
    callback(event)


def _check(count: int, plan: Path, workspace: Path, options: TrainOptions, callback: Callback) -> None:
    """Refuse more processes than there are devices or samples, before any is started.

    Raises:
        PlanError: there are too few devices or samples.
    """
    check_own_device(options.device, count - 1)
    if options.continues:  # by the run's own plan, which training reads, and then asks the same
        return
    run = find_run(Request(plan, Workspace(workspace), options, callback, None, Ranks(size=count), time.monotonic()))
    Ranks(size=count).numbers(run.plan.configuration(run.configuration).batch_size)


def _start(rank: int, shared: dict[str, str], request: bytes, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a worker in a session of its own: Ctrl-C then reaches rank 0 alone, which stops the workers."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
    )
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin:  # one that has ended already is noticed in `wait`
        process.stdin.write(request)
    return process


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set the environment variables that torchrun would set, and use this process's share of the cores."""
    before, threads = {name: os.environ.get(name) for name in values}, torch.get_num_threads()
    os.environ.update(values)
    use_cores()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def main() -> int:
    """Run a worker: train what standard input says, and return the exit code."""
    plan, workspace, options = pickle.load(sys.stdin.buffer)  # from rank 0, which started this process
    tune_for_training()
    use_cores()
    os.write(1, _READY)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 1)
    try:
        train(plan, workspace, options)
    except MedsegError as error:
        sys.stderr.write(f"{_ERROR}{error}\n")
        return 2
    except SystemExit:
        return _ENDED_BY_ANOTHER
    return 0


if __name__ == "__main__":
    sys.exit(main())
