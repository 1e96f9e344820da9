"""Several processes that train one model, as torchrun starts them: which samples each makes, what is added up.

Every process holds the whole network and makes its part of each batch. The sums of the loss and the gradients are added
up over all processes, so that all take the same step: that of one process with the whole batch.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from medseg.core.errors import MedsegError, PlanError
from medseg.core.wording import counted
from medseg.training.step.together import FAILED, ProcessLost, add_up, lost, one_has_failed, send_from_first

T = TypeVar("T")

_WAIT = timedelta(days=7)
"""How long processes wait for the first one, which preprocesses and validates."""
_START_WAIT = timedelta(minutes=30)
"""How long the processes of all machines may take to start, to find each other, and to form a group."""
_ARRIVED = "medseg_arrived"
"""Key under which processes count how many of them have a device and are about to form a group."""
_POLL_SECONDS = 0.05
_SILENCE_SECONDS = 2.0
"""That the others wait before they end: torchrun then ends all, and the first one to fail is still to say why."""
_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "ncclRemoteError", "NCCL error")


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; the defaults are those of a process alone.

    Attributes:
        rank: number of the process; the first one (0) writes all files and prints everything.
        size: number of processes.
        local_rank: number of the process on its machine, which is that of its GPU.
        store: what all processes read and write, where failed ones are counted; None for a process alone.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    store: dist.Store | None = field(default=None, repr=False, compare=False)

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def numbers(self, batch_size: int) -> range:
        """Return which samples of a batch this process makes: a range, as evenly divided as possible.

        Raises:
            PlanError: there are fewer samples than processes.
        """
        if batch_size < self.size:
            raise PlanError(
                f"The batch has {counted(batch_size, 'sample')} and there are {self.size} processes, "
                "each of which needs one.",
                f"Start {batch_size} or fewer (torchrun --nproc-per-node {batch_size}, medseg crossval --processes "
                f"{batch_size}), or raise the configuration's batch_size.",
            )
        start, stop = (batch_size * number // self.size for number in (self.rank, self.rank + 1))
        return range(start, stop)

    def total(self, sums: torch.Tensor) -> torch.Tensor:
        """Return the sum over all processes of a tensor of which each has a part.

        The gradient is passed on as it is: each process computes the same loss from the total.
        """
        return sums if self.size == 1 else _Total.apply(sums, self.store)  # type: ignore[no-untyped-call]

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Add up the gradients of all processes: a loss that is computed from a `total` needs the sum, not the mean."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.size == 1 or not gradients:
            return
        # Once, after the backward pass, not in pieces during it: 31 million weights are 124 MB, a hundredth of a second
        # or two between GPUs beside a step of tenths (reckoned, not measured), and pieces would have to come in one
        # order in all processes, whatever part of the network their batches use.
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        add_up(flat, self.store)
        parts = flat.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(
            gradients, [part.view_as(gradient) for part, gradient in zip(parts, gradients, strict=True)]
        )

    def spread(self, network: torch.nn.Module) -> None:
        """Give every process the weights of the first one."""
        if self.size > 1:
            for tensor in network.state_dict().values():
                send_from_first(tensor, self.store)

    def shared(self, make: Callable[[], T]) -> T:
        """Return in every process what the first one makes; the others wait for it.

        Args:
            make: returns plain values (numbers, text, None, and lists and dicts of them).
        """
        if self.size == 1:
            return make()
        made: Any = make() if self.first else None
        content = torch.frombuffer(bytearray(json.dumps(made).encode()), dtype=torch.uint8)
        length = torch.tensor([len(content)])
        send_from_first(length, self.store)
        content = content if self.first else torch.empty(int(length), dtype=torch.uint8)
        send_from_first(content, self.store)
        answer: T = made if self.first else json.loads(bytes(content.tolist()))
        return answer

    def first_says(self, value: T) -> T:
        """Return the first process's value in every process."""
        return self.shared(lambda: value)

    @contextmanager
    def first_before(self) -> Iterator[None]:
        """Run the block in the first process before the others, which then find the files that it wrote."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.size > 1:
            add_up(torch.zeros(1), self.store)


ALONE = Ranks()


def rank_from_environment() -> int:
    """Return the number that torchrun gave to this process; 0 for a process alone."""
    return int(os.environ.get("RANK", "0")) if int(os.environ.get("WORLD_SIZE", "1")) > 1 else 0


@contextmanager
def joined(device: str = "auto") -> Iterator[tuple[Ranks, str]]:
    """Join the processes that torchrun started, for as long as the block lasts.

    Where one of them fails the others end as well, silently: the first that failed says why.

    Args:
        device: the device that was asked for.

    Yields:
        This process among the others, and its device.

    Raises:
        PlanError: there are too few devices.
        MedsegError: the processes did not find each other, or another one was killed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        yield ALONE, device
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    try:
        store, rank, size = next(dist.rendezvous("env://", timeout=_START_WAIT))
    except (RuntimeError, ValueError) as error:
        raise MedsegError(
            f"The processes that train together did not find each other: {str(error).splitlines()[0]}",
            "Start them with torchrun, which says to each where the first one is.",
        ) from None
    try:
        device = own_device(device, local)
        # gloo sends what is in the host's memory, with which processes wait for each other; NCCL sends gradients
        backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
        _wait_for_all(store, size)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_START_WAIT)
        dist.distributed_c10d._set_pg_timeout(_WAIT)
        ranks = Ranks(rank, size, local, store)
        yield ranks, device
        ranks.wait()
    except BaseException as error:
        if isinstance(error, SystemExit):
            raise
        if _first_to_fail(store):
            problem = lost_another(error)
            if problem is None:
                raise
            raise problem from None
        with suppress(KeyboardInterrupt):  # which torchrun passes on when it ends the others
            time.sleep(_SILENCE_SECONDS)
        raise SystemExit(2) from None
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _wait_for_all(store: dist.Store, size: int) -> None:
    """Wait until every process is about to form the group: forming it waits for those that have ended, too.

    Raises:
        MedsegError: one of them has failed, or does not come.
    """
    number = store.add(_ARRIVED, 1)
    last = -(-number // size) * size  # of this call: a script may train several times, with one store for all
    until = time.monotonic() + _START_WAIT.total_seconds()
    while (arrived := store.add(_ARRIVED, 0)) < last:
        if one_has_failed(store):
            raise MedsegError("Another of the processes that train together has failed.")  # and says why itself
        if time.monotonic() > until:
            minutes = _START_WAIT.total_seconds() / 60
            raise MedsegError(
                f"Of {size} processes that train together, {last - arrived} did not start within {minutes:g} minutes.",
                "Look at what they wrote, and whether the system has ended them; then start again.",
            )
        time.sleep(_POLL_SECONDS)


def report_failure() -> None:
    """Report a failed process on its behalf, so that no other process waits for it."""
    with suppress(RuntimeError, ValueError):  # the store is gone, which says the same
        store, _, _ = next(dist.rendezvous("env://", timeout=_START_WAIT))
        store.add(FAILED, 1)


def _first_to_fail(store: dist.Store) -> bool:
    """Return whether no other process has failed before; if they cannot be asked any more, one has."""
    try:
        return store.add(FAILED, 1) == 1
    except RuntimeError:
        return False


def lost_another(error: BaseException) -> ProcessLost | None:
    """Return the error for a process that ended without a message, as it does when the system kills it.

    Args:
        error: the error of this process.

    Returns:
        None where the error is this process's own.
    """
    if isinstance(error, ProcessLost):
        return error
    if not isinstance(error, RuntimeError) or not any(words in str(error) for words in _LOST):
        return None
    return lost()


def own_device(name: str, local: int) -> str:
    """Return the device of one of several processes on a machine, and make it the process's current CUDA device.

    Args:
        name: the name that was asked for: auto, cuda or cpu.
        local: number of the process on the machine.

    Raises:
        PlanError: there are too few devices, or `name` is a single one.
    """
    kind = check_own_device(name, local)
    if kind == "cpu":
        return kind
    torch.cuda.set_device(local)
    return f"{kind}:{local}"


def check_own_device(name: str, local: int) -> str:
    """Return the kind of device for one of several processes on a machine, cuda or cpu; refuse if there are too few.

    Args:
        name: the name that was asked for: auto, cuda or cpu.
        local: number of the process on the machine.

    Raises:
        PlanError: there are too few devices, or `name` is a single one.
    """
    kind = name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cpu":
        return kind
    if kind != "cuda":
        raise PlanError(
            f"--device {name} was given to several processes.", "Leave --device out, or say cpu: each takes its own."
        )
    count = torch.cuda.device_count()
    if local >= count:
        raise PlanError(
            f"This is process {local + 1} of this machine, which has {counted(count, 'CUDA device')}.",
            f"Start {count} or fewer (torchrun --nproc-per-node, medseg crossval --processes)."
            if count
            else "Say --device cpu.",
        )
    return kind


class _Total(torch.autograd.Function):
    """A sum over processes whose gradient is passed on as it is."""

    @staticmethod
    def forward(ctx: Any, sums: torch.Tensor, store: dist.Store | None) -> torch.Tensor:
        total = sums.clone()
        add_up(total, store)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient, None
