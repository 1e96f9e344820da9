"""Which device to compute on, and how precisely."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from medseg.core.errors import MedsegError, PlanError

_OUT_OF_MEMORY = ("allocate memory", "out of memory", "DefaultCPUAllocator", "bad allocation", "bad_alloc")
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str = "auto") -> torch.device:
    """The device by name, or the best that is there.

    Raises:
        PlanError: the device is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    kind, _, number = name.partition(":")
    if number and (kind != "cuda" or not number.isdigit() or int(number) >= torch.cuda.device_count()):
        raise PlanError(f"There is no device {name!r}; there are {torch.cuda.device_count()} CUDA devices.")
    if not available.get(kind, False):
        there = ", ".join(kind for kind, yes in available.items() if yes)
        raise PlanError(
            f"The device {name!r} is not available here; available: {there}.", "Leave --device out to choose by itself."
        )
    return torch.device(name)


def choose_devices(names: str = "auto") -> list[torch.device]:
    """One device by name, several (`cuda:0,cuda:1`), or `all` CUDA devices.

    Raises:
        PlanError: one of them is not there.
    """
    if names == "all":
        count = torch.cuda.device_count()
        return [torch.device("cuda", number) for number in range(count)] or [choose_device()]
    return [choose_device(name.strip()) for name in names.split(",")]


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The type to multiply in: what the plan says or, for `auto`, bf16 where the processor has it."""
    if name != "auto":
        return _TYPES[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu" and _cpu_has_bf16():
        return torch.bfloat16
    return torch.float32


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast | nullcontext[None]:
    """A context in which convolutions run in `precision`."""
    if precision == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=precision)


@contextmanager
def memory_errors(advice: str) -> Iterator[None]:
    """Turn running out of memory, which torch says in several ways, into an error with advice.

    Raises:
        MedsegError: there was not enough memory.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise MedsegError(f"There is not enough memory: {first_line(error)}", advice) from None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; torch and OpenVINO say it in several ways."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def first_line(error: BaseException) -> str:
    """What an error says, in a line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def evaluating(network: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; the mode before is restored."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(training)


def _cpu_has_bf16() -> bool:
    """Whether bf16 products are an instruction (avx512_bf16, AMX) and not an emulation, which would be slower."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)
