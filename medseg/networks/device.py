"""Choose the device to compute on and the type to multiply in, and recognize errors of too little memory."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Literal

import torch

from medseg.core.errors import MedsegError, PlanError

# torch and OpenVINO have no common error for it: some of these are the text of a plain RuntimeError
_OUT_OF_MEMORY = (
    "allocate memory",
    "out of memory",
    "DefaultCPUAllocator",
    "bad allocation",
    "bad_alloc",
    "could not create a primitive",  # oneDNN's words for memory that it did not get
    "could not create a memory",
)
_ISA_WITHOUT_VNNI = ("SSE41", "AVX", "AVX2", "AVX512_CORE")
_X86 = ("x86_64", "amd64")
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "int8": torch.int8}


def choose_device(name: str = "auto") -> torch.device:
    """Return a device by name, or the best that is available.

    Args:
        name: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`; auto prefers CUDA, then MPS.

    Raises:
        PlanError: the device is not available.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, is_available in available.items() if is_available))
    kind, _, number = name.partition(":")
    meant = name.replace("gpu", "cuda") if kind == "gpu" else f"cuda:{name}" if name.isdecimal() else None
    if meant is None and number and not _is_cuda_number(kind, number):
        raise PlanError(f"There is no device {name!r}; there are {torch.cuda.device_count()} CUDA devices.")
    if not available.get(kind, False):
        usable = ", ".join(kind for kind, is_available in available.items() if is_available)
        called = "" if meant is None else f"A GPU of NVIDIA is called {meant}. "
        raise PlanError(
            f"The device {name!r} is not available here; available: {usable}.",
            f"{called}Leave --device out to choose by itself.",
        )
    return torch.device(name)


def _is_cuda_number(kind: str, number: str) -> bool:
    return kind == "cuda" and number.isdecimal() and int(number) < torch.cuda.device_count()


def choose_devices(names: str = "auto") -> list[torch.device]:
    """Return one device by name, several (`cuda:0,cuda:1`), or `all` CUDA devices.

    Raises:
        PlanError: one of them is not available.
    """
    if names == "all":
        count = torch.cuda.device_count()
        return [torch.device("cuda", number) for number in range(count)] or [choose_device()]
    return [choose_device(name.strip()) for name in names.split(",")]


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the type in which convolutions are computed.

    Args:
        name: the plan's: `fp32`, `bf16`, `fp16`, `int8`, or `auto` for bf16 where the hardware has it, fp16 on older
            GPUs and fp32 on other processors.
        device: to compute on.
    """
    if name != "auto":
        return _TYPES[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu" and _cpu_has_bf16():
        return torch.bfloat16
    return torch.float32


def precision_name(precision: torch.dtype) -> str:
    """Return a type as plans name it: fp32, bf16, fp16 or int8."""
    return next(name for name, kind in _TYPES.items() if kind == precision)


def floating(precision: torch.dtype, device: torch.device) -> torch.dtype:
    """Return the type of what is not rounded to 8 bits: the precision itself or, for int8, that of `auto`.

    Args:
        precision: what `choose_precision` returned.
        device: to compute on.
    """
    return precision if precision.is_floating_point else choose_precision("auto", device)


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast | nullcontext[None]:
    """Return a context in which convolutions run in `precision`; it does nothing for float32.

    What OpenVINO computes in int8, torch computes in the type of `auto`.
    """
    precision = floating(precision, device)
    if precision == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=precision)


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor of the host on a device, without waiting for CUDA to have copied it.

    Pinned memory is not used again before its copy is done, and any other is copied aside at once. Only CUDA promises
    that: on MPS such a copy can read memory that was given back (github.com/pytorch/pytorch/issues/139550, 189690).

    Args:
        tensor: in the host's memory.
        device: the device to put it on.
    """
    return tensor.to(device, non_blocking=device.type == "cuda")


@contextmanager
def choosing_algorithms(device: torch.device) -> Iterator[None]:
    """Let cuDNN try its algorithms for each new shape while a block runs; the process's setting is restored afterwards.

    Args:
        device: computed on; nothing is changed unless it is a CUDA device.
    """
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = before or device.type == "cuda"
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


@contextmanager
def memory_errors(advice: str) -> Iterator[None]:
    """Turn running out of memory, which torch reports in several ways, into an error with advice.

    Args:
        advice: what the user can do about it.

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
    """Return whether an error means that memory ran out; torch and OpenVINO report it in several ways."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def unpickling_reason(error: BaseException) -> str:
    """Return why torch could not read a checkpoint, without its advice to read it in an unsafe way.

    torch's message goes on with several lines on `weights_only=False` and `add_safe_globals`, which would let a file
    run code.

    >>> unpickling_reason(RuntimeError("Weights only load failed. Re-run with weights_only=False. But trust the file."))
    'it holds more than tensors and plain values, or is damaged'
    """
    detail = re.search(r"WeightsUnpickler error: (.*)", str(error))
    reason = " ".join((detail[1] if detail else str(error)).split())
    if re.search(r"weights.only|safe_globals|pickle_module", reason, re.IGNORECASE):
        reason = "it holds more than tensors and plain values, or is damaged"
    return reason[:200] or type(error).__name__


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def evaluating(network: torch.nn.Module) -> Iterator[None]:
    """Run a block with a network in evaluation mode and without gradients; each part's mode is restored afterwards."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:  # one by one: a frozen encoder stays in evaluation mode while the rest is trained
            module.training = True


def int8_weight_bits() -> Literal[7, 8] | None:
    """Return how many bits weights may have where the CPU computes with whole numbers of 8 bits; None if it is not to.

    With VNNI or AMX it adds products up in 32 bits, and weights have all 8 bits. Other x86 processors add pairs of
    products up in 16 bits, which overflows unless weights have 7: 2 x 255 x 64 is below 2^15, 2 x 255 x 127 is not.
    Processors of other makes were not tried.
    """
    if _cpu_has_vnni():
        return 8
    return 7 if platform.machine().lower() in _X86 else None


def _cpu_has_vnni() -> bool:
    """Return whether the CPU adds products of 8 bits up in 32 bits by an instruction (VNNI, AMX).

    A limit that the environment sets for oneDNN counts.
    """
    if os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in _ISA_WITHOUT_VNNI:
        return False
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("avx512_vnni", "avx_vnni", "amx_int8")) or bool(
        getattr(torch.cpu, "_is_vnni_supported", bool)()
    )


def _cpu_has_bf16() -> bool:
    """Return whether the CPU multiplies bf16 by an instruction (avx512_bf16, AMX); an emulation would be slower.

    oneDNN is asked, too: with `ONEDNN_MAX_CPU_ISA=AVX2` it does not use the instruction, and plain loops compute
    convolutions of bf16.
    """
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    instruction = any(getattr(torch.cpu, check, bool)() for check in checks)
    return instruction and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
