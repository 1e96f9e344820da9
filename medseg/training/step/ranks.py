"""Several processes that train one model, as torchrun starts them: who makes which samples, who writes, what is summed.

Every process holds the whole network and makes its samples of each batch. The sums of the loss and the gradients are
added up over all of them, so that all take the same step, that of one process with the whole batch.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from medseg.core.errors import MedsegError, PlanError
from medseg.core.wording import counted

T = TypeVar("T")

_PATIENCE = timedelta(days=7)
"""How long processes wait for the first one, which preprocesses and validates."""
_MEETING = timedelta(minutes=30)
"""How long the processes of all machines may take to start."""
_FAILED = "medseg_failed"
_SILENCE_SECONDS = 2.0
_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "ncclRemoteError", "NCCL error")


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; as it is, a process alone.

    Attributes:
        rank: its number; the first one (0) writes all files and says everything.
        size: how many there are.
        local_rank: its number on this machine, which is that of its GPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def numbers(self, batch_size: int) -> range:
        """Which samples of a batch this process makes: neighbours, as evenly as it goes.

        Raises:
            PlanError: there are fewer than processes.
        """
        if batch_size < self.size:
            raise PlanError(
                f"The batch has {counted(batch_size, 'sample')} and there are {self.size} processes, "
                "each of which needs one.",
                f"Start torchrun with --nproc-per-node {batch_size} or less, or raise the configuration's batch_size.",
            )
        start, stop = (batch_size * number // self.size for number in (self.rank, self.rank + 1))
        return range(start, stop)

    def total(self, sums: torch.Tensor) -> torch.Tensor:
        """The sum over all processes of a tensor that each has its part of.

        The gradient goes to every part as it is: each process computes the same loss from the total.
        """
        return sums if self.size == 1 else _Total.apply(sums)  # type: ignore[no-untyped-call]

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Add up the gradients of all processes: what `total` makes of the loss needs the sum, not the mean."""
        gradients = [one.grad for one in parameters if one.grad is not None]
        if self.size == 1 or not gradients:
            return
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        parts = flat.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [part.view_as(own) for part, own in zip(parts, gradients, strict=True)])

    def spread(self, network: torch.nn.Module) -> None:
        """Give every process the first one's weights."""
        if self.size > 1:
            for tensor in network.state_dict().values():
                dist.broadcast(tensor, src=0)

    def shared(self, make: Callable[[], T]) -> T:
        """What the first process makes, in every process; the others wait for it.

        Args:
            make: answers with plain values (numbers, text, None, and lists and dicts of them).
        """
        if self.size == 1:
            return make()
        made: Any = make() if self.first else None
        content = torch.frombuffer(bytearray(json.dumps(made).encode()), dtype=torch.uint8)
        length = torch.tensor([len(content)])
        dist.broadcast(length, src=0)
        content = content if self.first else torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(content, src=0)
        answer: T = made if self.first else json.loads(bytes(content.tolist()))
        return answer

    def first_says(self, value: T) -> T:
        """The first process's value, in every process."""
        return self.shared(lambda: value)

    @contextmanager
    def first_before(self) -> Iterator[None]:
        """Let the first process do what is in the block before the others: these find the files that it wrote."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def wait(self) -> None:
        """Until all processes have come here."""
        if self.size > 1:
            dist.all_reduce(torch.zeros(1))


ALONE = Ranks()


def rank_from_environment() -> int:
    """The number that torchrun gave to this process; 0 for a process alone."""
    return int(os.environ.get("RANK", "0")) if int(os.environ.get("WORLD_SIZE", "1")) > 1 else 0


@contextmanager
def joined(device: str = "auto") -> Iterator[tuple[Ranks, str]]:
    """This process among those that torchrun started, as long as the block lasts, and the device that is its own.

    Where one of them fails the others end as well, silently: the first that failed says why.

    Raises:
        PlanError: there are too few devices.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        yield ALONE, device
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    try:
        store, rank, size = next(dist.rendezvous("env://", timeout=_MEETING))
    except (RuntimeError, ValueError) as error:
        raise MedsegError(
            f"The processes that train together did not find each other: {str(error).splitlines()[0]}",
            "Start them with torchrun, which says to each where the first one is.",
        ) from None
    try:
        own = own_device(device, local)
        backend = "cpu:gloo,cuda:nccl" if own.startswith("cuda") else "gloo"
        # of the messages of both backends, those in the host's memory are what processes wait for each other with
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE)
        ranks = Ranks(rank, size, local)
        yield ranks, own
        ranks.wait()
    except BaseException as error:
        if isinstance(error, SystemExit):
            raise
        if _first_to_fail(store):
            told = lost_another(error)
            if told is None:
                raise
            raise told from None
        with suppress(KeyboardInterrupt):  # which torchrun sends on when it ends the others
            time.sleep(_SILENCE_SECONDS)  # it ends all when one has ended: the first is still to say what went wrong
        raise SystemExit(2) from None
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _first_to_fail(store: dist.Store) -> bool:
    """Whether no other process has said what went wrong; where they cannot be asked any more, one has."""
    try:
        return store.add(_FAILED, 1) == 1
    except RuntimeError:
        return False


def lost_another(error: BaseException) -> MedsegError | None:
    """What to say where another process ended without a word, as it does when the system kills it."""
    if not isinstance(error, RuntimeError) or not any(words in str(error) for words in _LOST):
        return None
    return MedsegError(
        "Another of the processes that train together has ended without saying why; torchrun tells which, and how.",
        "Often there was not enough memory. Go on from the last checkpoint with --resume.",
    )


def own_device(name: str, local: int) -> str:
    """The device of one of several processes on a machine.

    Raises:
        PlanError: there are too few, or `name` is one for all.
    """
    kind = name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cpu":
        return kind
    if kind != "cuda":
        raise PlanError(
            f"--device {name} was given to several processes.", "Leave --device out, or say cpu: each takes its own."
        )
    there = torch.cuda.device_count()
    if local >= there:
        raise PlanError(
            f"torchrun started process {local + 1} of this machine, which has {there} CUDA devices.",
            f"Start it with --nproc-per-node {there}." if there else "Say --device cpu.",
        )
    torch.cuda.set_device(local)
    return f"cuda:{local}"


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sums: torch.Tensor) -> torch.Tensor:
        total = sums.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient
