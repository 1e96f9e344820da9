"""Train a fold with several processes of this machine, as torchrun does: this one is the first, and starts the others.

The first process reports and decides as a process alone does; `medseg.training.step.ranks` has the rest. What it starts
is this module as a script, which gets the request on its standard input. As torchrun does, it keeps the store in which
the processes find each other, and ends all once one of them has failed.
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
from medseg.core.progress import Callback, Progress, silent
from medseg.models.workspace import Workspace
from medseg.networks.threads import use_cores
from medseg.training.step.ranks import ProcessLost, Ranks, check_own_device, report_failure

_READY = b"ready\n"
"""What another process writes to its standard output before it joins the others; nothing else comes."""
_ENDED_BY_ANOTHER = 3
"""Exit code of a process that ends because another one failed."""
_ERROR = "medseg error: "
"""What another process writes before its own error; warnings of libraries come before it."""
_END_SECONDS = 10.0
"""That the others have, together, to end by themselves once the first one has."""
_LOOK_SECONDS = 0.2
"""Between two looks at whether another process has ended."""
_LEAVE_SECONDS = 30.0
"""That the first process has to end by itself once another one has failed, as with torchrun."""
_BLOCKED_SECONDS = 300.0
"""After which a process that trains on a GPU waits there for a process that has ended, and can only be ended itself."""


class _OtherFailed(Cancelled):
    """Another process has failed, and this one stops at the next progress that it makes."""


@dataclass
class _Others:
    """The other processes; that of rank 1 is the first.

    Attributes:
        store: in which all find each other; gone once this process no longer trains.
        started: each of them.
        said: what each wrote to its standard error.
        ended: those that have ended by themselves, in that order.
        failed: whether one of them has failed.
        left: whether this process has left the training.
        on_gpu: returns whether this process may wait for something on a GPU, where no error reaches it.
    """

    store: dist.Store | None = None
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    said: list[IO[bytes]] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    failed: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)
    on_gpu: Callable[[], bool] = torch.cuda.is_initialized

    def wait(self) -> None:
        """Wait until they are ready: a program that does not start says why here, before anything is done.

        Raises:
            MedsegError: one has ended.
        """
        for process in self.started:
            assert process.stdout is not None
            if process.stdout.readline() != _READY:
                raise MedsegError(self.problem())

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look after them in a thread of its own for as long as the block lasts."""
        watch = threading.Thread(target=self._watch, daemon=True)
        watch.start()
        try:
            yield
        finally:
            self.left.set()
            watch.join()

    def _watch(self) -> None:
        """Once one of them fails, end what this process may wait for, from what is gentle to what is not."""
        while not self._look():
            if self.left.wait(_LOOK_SECONDS):
                return
        report_failure()  # heard of by those that have not formed a group yet; later, gloo hears of the end by itself
        self.failed.set()  # heard of at the next progress
        if self.left.wait(_LEAVE_SECONDS):
            return
        self.store = None  # ends a wait for what the other one was to write there
        if not self.on_gpu() or self.left.wait(_BLOCKED_SECONDS):
            return
        # What a GPU waits for never comes, and a wait that is broken off would leave sums that are not of all processes
        # in the weights. The last checkpoint is whole.
        sys.stderr.write(f"\n{self.problem()}\n")
        sys.stderr.flush()
        os._exit(2)

    def _look(self) -> bool:
        """Note who has ended since the last time, and return whether one has failed."""
        for number, process in enumerate(self.started):
            if number not in self.ended and process.poll() is not None:
                self.ended.append(number)
        return any(self.started[number].returncode for number in self.ended)

    def end(self) -> None:
        """Wait a little until they have ended by themselves, then kill them."""
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
        """Return why the first of them failed; an error of medseg counts more than what else one wrote."""
        self.end()
        texts = []
        for said in self.said:
            said.seek(0)
            texts.append(said.read().decode(errors="replace").strip())
        others = (number for number in range(len(self.started)) if number not in self.ended)
        for number in (*self.ended, *others):
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
    """Be the first of several processes that train a fold, for as long as the block lasts, in which it is trained.

    Args:
        count: how many processes, this one included; nothing happens for 1.
        plan: the path of the plan.
        workspace: folder with plans, runs and cache.
        options: which fold, and how it is trained: the same in all processes.
        callback: receives progress and notes.

    Yields:
        The callback to train with, which also ends the training once another process has failed.

    Raises:
        PlanError: there are too few devices or samples for as many processes.
        MedsegError: another one failed first.
    """
    if count == 1:
        yield callback
        return
    _check(count, plan, workspace, options, callback)
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    shared |= {"MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}  # none but this is the server
    request = pickle.dumps((plan, workspace, options))
    others = _Others(store)
    del store  # of which `others` is to have the only reference
    with ExitStack() as stack:
        stack.callback(others.end)
        for rank in range(1, count):
            others.said.append(stack.enter_context(tempfile.TemporaryFile()))
            others.started.append(_start(rank, shared, request, others.said[-1]))
        others.wait()
        stack.enter_context(_environment({**shared, "RANK": "0", "LOCAL_RANK": "0"}))
        try:
            with others.watched():
                yield partial(_pass_on, others, callback)
        except (SystemExit, ProcessLost, _OtherFailed):  # how a process ends that another one's failure ends
            raise MedsegError(others.problem()) from None


def _pass_on(others: _Others, callback: Callback, event: Progress) -> None:
    """Pass progress on, unless another process has failed."""
    if others.failed.is_set():
        raise _OtherFailed
    callback(event)


def _check(count: int, plan: Path, workspace: Path, options: TrainOptions, callback: Callback) -> None:
    """Refuse too many processes before any of them is started.

    Raises:
        PlanError: there are too few devices or samples.
    """
    check_own_device(options.device, count - 1)
    if options.continues:  # by the run's own plan, which training reads, and then asks the same
        return
    run = find_run(Request(plan, Workspace(workspace), options, callback, None, Ranks(size=count), time.monotonic()))
    Ranks(size=count).numbers(run.plan.configuration(run.configuration).batch_size)


def _start(rank: int, shared: dict[str, str], request: bytes, said: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start one of the other processes; signals of a terminal reach the first one alone, which tells the others."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        start_new_session=True,
    )
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin:  # one that has ended already is heard of by its silence
        process.stdin.write(request)
    return process


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Let this process have what torchrun would set, and its share of the cores."""
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
    """Be one of the other processes, and return its exit code."""
    plan, workspace, options = pickle.load(sys.stdin.buffer)  # of the process that started this one
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
