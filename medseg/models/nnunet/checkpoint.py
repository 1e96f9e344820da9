"""Read nnU-Net's checkpoints without running code in them.

A checkpoint is a pickle. torch's restricted reader makes only tensors and plain containers. Real checkpoints also hold
numpy's numbers, in the record of the training; these are skipped. Anything else is refused by name.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from medseg.core.errors import ModelError
from medseg.models.archive import DAMAGED
from medseg.networks.device import unpickling_reason

_NUMBERS = ("Bool", *(f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)), "Float16", "Float32")
_NUMPY = (
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.dtypes.{kind}DType" for kind in (*_NUMBERS, "Float64")),
)
"""What pickles use to make numpy's numbers and arrays, under the names of numpy 1 and 2."""


class _Skipped:
    """Takes the place of one of numpy's numbers, whose value is not needed."""

    def __init__(self, *parts: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


_ALLOWED: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [(_Skipped, name) for name in _NUMPY]


@dataclass(frozen=True)
class Checkpoint:
    """The part of a checkpoint that is needed to predict.

    Attributes:
        weights: the network's tensors under nnU-Net's names.
        configuration: the configuration that was trained; None if the checkpoint does not say.
        trainer: the class that trained it.
        mirror_axes: axes of the patch that may be mirrored; none if the checkpoint does not say, as in nnU-Net.
    """

    weights: Mapping[str, torch.Tensor]
    configuration: str | None
    trainer: str
    mirror_axes: tuple[int, ...]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one of nnU-Net's checkpoints; the tensors may stay in the file until they are used.

    Returns:
        The weights, the configuration, the trainer class, and the axes that may be mirrored.

    Raises:
        ModelError: it is damaged, no checkpoint of nnU-Net's, or holds something else than tensors, plain values and
            numpy's numbers; the message names what it holds.
    """
    content = _load(path)
    weights = content.get("network_weights") if isinstance(content, dict) else None
    if not isinstance(weights, Mapping) or not weights:
        raise ModelError(f"{path} has no network_weights.", "Expected a checkpoint that nnU-Net v2 wrote.")
    odd = [name for name, value in weights.items() if not isinstance(value, torch.Tensor)]
    if odd:
        raise ModelError(f"{path}: network_weights holds {odd[0]!r}, which is not a tensor.")
    arguments = content.get("init_args")
    configuration = arguments.get("configuration") if isinstance(arguments, Mapping) else None
    axes = content.get("inference_allowed_mirroring_axes")
    if axes is not None and not all(isinstance(axis, int) for axis in axes):
        raise ModelError(f"{path}: inference_allowed_mirroring_axes is {axes!r}; expected axes as whole numbers.")
    return Checkpoint(
        {str(name): value for name, value in weights.items()},
        configuration if isinstance(configuration, str) else None,
        str(content.get("trainer_name", "")),
        tuple(axes or ()),
    )


def _load(path: Path) -> Any:
    """Return the result of torch's restricted reader."""
    mapped = _check_archive(path)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_ALLOWED):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # torch raises RuntimeError, EOFError, OSError and others for damaged files
        names = _forbidden(path, str(error)) if isinstance(error, UnpicklingError) else []
        if names:
            raise ModelError(
                f"{path} holds {', '.join(names)}, which no checkpoint of nnU-Net needs. Only tensors, plain values "
                "and numpy's numbers are read: anything else could run code.",
                "If it comes from a trainer of your own, save the checkpoint again without it.",
            ) from None
        reason = unpickling_reason(error)
        raise ModelError(f"{path} is damaged or not a checkpoint: {reason}", "Copy or download it again.") from None


def _check_archive(path: Path) -> bool:
    """Return whether the file is an archive, whose tensors can stay on disk until they are used.

    torch never compresses parts of an archive; compressed ones could unpack to any size, and are refused.
    """
    try:
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (*DAMAGED, OSError) as error:
        raise ModelError(f"{path} is damaged or not a checkpoint: {error}.", "Copy or download it again.") from None
    packed = [member.filename for member in members if member.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise ModelError(f"{path}: {packed[0]} is compressed, which torch never does. The file is not a checkpoint.")
    return True


def _forbidden(path: Path, message: str) -> list[str]:
    """Return the names that the restricted reader refused; empty if something else was wrong."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # older forms, and damaged files, cannot be listed
        names = re.findall(r"GLOBAL (\S+)", message)
    return [name for name in names if name not in _NUMPY]
