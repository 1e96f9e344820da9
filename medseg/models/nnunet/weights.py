"""Rename the weights of nnU-Net's U-Nets (dynamic-network-architectures) to those of medseg's, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch

from medseg.core.errors import ModelError

_WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes that wrapped networks add: those for several GPUs, and torch.compile."""
_ALIASES = (
    (r"^decoder\.encoder\.", "encoder."),  # the decoder holds the encoder a second time
    (r"\.all_modules\.0\.", ".conv."),  # a block holds its layers a second time, in order
    (r"\.all_modules\.1\.", ".norm."),
)
_NAMES = (
    (r"encoder\.stem\.convs\.0\.(.*)", r"stem.\1"),
    (r"encoder\.stages\.(\d+)\.0\.convs\.(\d+)\.(.*)", r"encoder.\1.\2.\3"),
    (r"encoder\.stages\.(\d+)\.blocks\.(\d+)\.conv1\.(.*)", r"encoder.\1.\2.first.\3"),
    (r"encoder\.stages\.(\d+)\.blocks\.(\d+)\.conv2\.(.*)", r"encoder.\1.\2.second.\3"),
    (r"encoder\.stages\.(\d+)\.blocks\.(\d+)\.skip\.\d\.(.*)", r"encoder.\1.\2.project.\3"),
    (r"decoder\.stages\.(\d+)\.convs\.(\d+)\.(.*)", r"decoder.\1.\2.\3"),
    (r"decoder\.transpconvs\.(\d+)\.(.*)", r"up.\1.\2"),
    (r"decoder\.seg_layers\.(\d+)\.(.*)", r"heads.\1.\2"),
)
_BATCH_NORM = re.compile(r"running_(mean|var)$|num_batches_tracked$")


def weights_from_nnunet(nnunet: Mapping[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    """Return weights under medseg's names.

    nnU-Net stores most tensors under two or four names. Heads that only training uses (deep supervision) may be
    missing; they become zeros.

    Args:
        nnunet: weights under nnU-Net's names.
        source: where they come from, for messages.

    Returns:
        {name: float32 tensor, which shares no memory with `nnunet`}.

    Raises:
        ModelError: nnU-Net's plain and residual encoder U-Nets have no such weight, or two copies of one differ.
    """
    named: dict[str, tuple[str, torch.Tensor]] = {}
    for key, value in nnunet.items():
        name = _medseg_name(key)
        if name is None or _BATCH_NORM.search(key):
            raise ModelError(f"{source} holds the weight {key}, which medseg's U-Nets do not have.{_why(key)}")
        if name not in named:
            named[name] = key, value
        elif not _same(named[name][1], value):
            raise ModelError(
                f"{source}: {named[name][0]} and {key} are two names of one weight, but their values differ."
            )
    # a copy, so that neither the file nor the copies under other names stay in memory
    weights = {name: value.detach().float().clone() for name, (_, value) in named.items()}
    return weights | _missing_heads(weights)


def weights_to_nnunet(medseg: Mapping[str, torch.Tensor], strides: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    """Return weights under all the names that nnU-Net's own network has for them.

    Args:
        medseg: the state of a plain or residual encoder U-Net of medseg's.
        strides: the strides of its stages; they decide the number that nnU-Net gives to the layers of a shortcut.
    """
    residual = any(name.startswith("stem.") for name in medseg)
    nnunet: dict[str, torch.Tensor] = {}
    for name, value in medseg.items():
        names = [_nnunet_name(name, residual, strides)]
        for layer, number in (("conv", 0), ("norm", 1)):
            names += [re.sub(rf"\.{layer}\.(\w+)$", rf".all_modules.{number}.\1", alias) for alias in names[:1]]
        names += [f"decoder.{alias}" for alias in names if alias.startswith("encoder.")]
        nnunet |= dict.fromkeys(names, value)
    return nnunet


def _nnunet_name(name: str, residual: bool, strides: Sequence[Sequence[int]]) -> str:
    part, *rest = name.split(".")
    if part == "encoder" and residual:
        stage, block, which, *layer = rest
        strided = block == "0" and any(step != 1 for step in strides[int(stage)])
        inner = {"first": "conv1", "second": "conv2", "project": f"skip.{int(strided)}"}[which]
        return ".".join(("encoder.stages", stage, "blocks", block, inner, *layer))
    match part:
        case "stem":
            return ".".join(("encoder.stem.convs.0", *rest))
        case "encoder":
            return ".".join(("encoder.stages", rest[0], "0.convs", *rest[1:]))
        case "decoder":
            return ".".join(("decoder.stages", rest[0], "convs", *rest[1:]))
        case "up":
            return ".".join(("decoder.transpconvs", *rest))
        case _:
            return ".".join(("decoder.seg_layers", *rest))


def _medseg_name(key: str) -> str | None:
    while key.startswith(_WRAPPERS):
        key = key.split(".", 1)[1]
    for pattern, plain in _ALIASES:
        key = re.sub(pattern, plain, key)
    for pattern, name in _NAMES:
        if re.fullmatch(pattern, key):
            return re.sub(pattern, name, key)
    return None


def _why(key: str) -> str:
    if _BATCH_NORM.search(key):
        return " It belongs to batch normalization; they have instance normalization."
    return " Only nnU-Net's plain and residual encoder U-Nets can be read."


def _same(weight: torch.Tensor, copy: torch.Tensor) -> bool:
    return weight.shape == copy.shape and (weight.data_ptr() == copy.data_ptr() or torch.equal(weight, copy))


def _missing_heads(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return zeros for the heads of coarser levels, if only the finest is there."""
    levels = sorted({int(name.split(".")[1]) for name in weights if name.startswith("up.")})
    if not levels or f"heads.{levels[-1]}.weight" not in weights:
        return {}
    finest = weights[f"heads.{levels[-1]}.weight"]
    zeros = {}
    for level in levels[:-1]:
        if f"heads.{level}.weight" not in weights:
            inputs = weights[f"up.{level}.weight"].shape[1]
            zeros[f"heads.{level}.weight"] = finest.new_zeros((finest.shape[0], inputs, *finest.shape[2:]))
            zeros[f"heads.{level}.bias"] = finest.new_zeros(finest.shape[0])
    return zeros
