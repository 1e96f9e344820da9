"""Train a fold with several processes of this machine, as torchrun does: this one is the first, and starts the others.

The first process reports and decides as a process alone does; `medseg.training.step.ranks` has the rest. What it starts
is this module as a script, which gets the request on its standard input.
"""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import torch

from medseg.commands.train.options import TrainOptions
from medseg.commands.train.train import train
from medseg.core.errors import MedsegError
from medseg.networks.threads import use_cores

_READY = b"ready\n"
"""What another process writes to its standard output before it joins the others; nothing else comes."""
_ENDED_BY_ANOTHER = 3
"""Exit code of a process that ends because another one failed."""
_END_SECONDS = 10.0
"""That the others have to end by themselves once the first one has."""


@dataclass
class _Others:
    """The other processes.

    Attributes:
        started: each of them.
        said: what each wrote to its standard error.
    """

    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    said: list[IO[bytes]] = field(default_factory=list)

    def wait(self) -> None:
        """Wait until they are ready: whoever joins the others waits long for one that has ended before.

        Raises:
            MedsegError: one has ended.
        """
        for process in self.started:
            assert process.stdout is not None
            if process.stdout.readline() != _READY:
                raise MedsegError(self.problem())

    def end(self) -> None:
        """Wait a little until they have ended by themselves, then kill them."""
        for process in self.started:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def problem(self) -> str:
        """Return what one of them said: one that failed by its own error, before others, which may only have warned."""
        self.end()
        texts: list[tuple[int, str]] = []
        for process, said in zip(self.started, self.said, strict=True):
            said.seek(0)
            text = said.read().decode(errors="replace").strip()
            if text:
                texts.append((_rank_of(process.returncode), text))
        if texts:
            return min(texts, key=lambda ranked: ranked[0])[1]
        return "Another of the processes that train together has ended without saying why."


def _rank_of(code: int) -> int:
    """Return how likely a process with an exit code is the one whose failure ended the others: 0 is most likely.

    Codes below 0 are signals, such as that by which `end` ends a process that does not end by itself.

    >>> sorted([0, _ENDED_BY_ANOTHER, -9, 1], key=_rank_of)
    [1, -9, 0, 3]
    """
    if code in (0, _ENDED_BY_ANOTHER):
        return 2
    return 0 if code > 0 else 1


@contextmanager
def several_processes(count: int, plan: Path, workspace: Path, options: TrainOptions) -> Iterator[None]:
    """Be the first of several processes that train a fold, for as long as the block lasts, in which it is trained.

    Args:
        count: how many processes, this one included; nothing happens for 1.
        plan: the path of the plan.
        workspace: folder with plans, runs and cache.
        options: which fold, and how it is trained: the same in all processes.

    Raises:
        MedsegError: another one failed first.
    """
    if count == 1:
        yield
        return
    shared = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    shared["MASTER_PORT"] = str(_free_port())
    request = pickle.dumps((plan, workspace, options))
    others = _Others()
    with ExitStack() as stack:
        stack.callback(others.end)
        for rank in range(1, count):
            others.said.append(stack.enter_context(tempfile.TemporaryFile()))
            others.started.append(_start(rank, shared, request, others.said[-1]))
        others.wait()
        stack.enter_context(_environment({**shared, "RANK": "0", "LOCAL_RANK": "0"}))
        try:
            yield
        except SystemExit:  # how a process ends that another one's failure ends
            raise MedsegError(others.problem()) from None


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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
        sys.stderr.write(f"{error}\n")
        return 2
    except SystemExit:
        return _ENDED_BY_ANOTHER
    return 0


if __name__ == "__main__":
    sys.exit(main())
