"""When a model may be computed in 8 bits (`inference.precision: int8`): what it takes, and what to do where it lacks.

It has to be asked for; `auto` never means it.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

import torch

from medseg.core.errors import ModelError, PlanError
from medseg.core.installing import pip_install
from medseg.models.identity import network_identity
from medseg.models.model import Model
from medseg.models.quantization import LARGEST_LOSS, Quantization
from medseg.networks.device import int8_weight_bits

_OTHERWISE = "--set inference.precision=auto computes it otherwise."


def check_computes_int8(device: torch.device, backend: str) -> Literal[7, 8]:
    """Refuse to compute in 8 bits where it cannot be done, or not rightly; else return how many bits weights may have.

    Args:
        device: to compute on.
        backend: `inference.backend` of the plan.

    Returns:
        8, or 7 where sums of products with 8 bits could overflow.

    Raises:
        PlanError: it is no CPU, not OpenVINO computes, or the processor is of a make that was not tried.
    """
    what = "inference.precision is int8, which OpenVINO computes on a CPU"
    if device.type != "cpu":
        raise PlanError(f"{what}; the device is {device}.", f"Add --device cpu, or: {_OTHERWISE}")
    if backend == "torch":
        raise PlanError(f"{what}; inference.backend is torch.", f"Set that to auto, or: {_OTHERWISE}")
    if find_spec("openvino") is None:
        raise PlanError(f"{what}, and which is not installed.", f"{pip_install('openvino')}, or: {_OTHERWISE}")
    weight_bits = int8_weight_bits()
    if weight_bits is None:
        raise PlanError(f"{what}; medseg has tried that on x86 processors alone, and this is no such one.", _OTHERWISE)
    return weight_bits


def check_int8(model: Model, device: torch.device) -> None:
    """Refuse to compute a model in 8 bits unless each fold was quantized, as it is now, and lost little by it.

    Args:
        model: its networks are on the device.
        device: to compute on.

    Raises:
        PlanError: int8 cannot be computed here.
        ModelError: a fold was not quantized, or not for this processor, has other weights since, or lost too much Dice.
    """
    weight_bits = check_computes_int8(device, model.plan.inference.backend)
    quantizations = model.quantizations or (None,) * len(model.folds)
    for fold, network, quantization in zip(model.folds, model.networks, quantizations, strict=True):
        problem = _problem(quantization, network, weight_bits)
        if problem is not None:
            raise ModelError(
                f"inference.precision is int8, and fold {fold} of {model.folder} {problem}.",
                f"{_command(model, fold, weight_bits)} {_OTHERWISE}",
            )


def _problem(quantization: Quantization | None, network: torch.nn.Module, weight_bits: Literal[7, 8]) -> str | None:
    """Return why a fold is not to be computed in 8 bits with weights of so many; None if it may be."""
    if quantization is None:
        return "is not quantized"
    if quantization.network != network_identity(network):
        return "has other weights than when it was quantized"
    if quantization.weight_bits > weight_bits:
        return (
            "has weights of 8 bits, for processors with VNNI or AMX: sums of their products would overflow on this one "
            "(or ONEDNN_MAX_CPU_ISA keeps it from using them)"
        )
    evidence = quantization.evidence
    if evidence is not None and not quantization.kept:
        return (
            f"lost too much when it was quantized: Dice {evidence.dice_after:.4f} on {evidence.validation_cases} "
            f"validation cases, {evidence.dice_before:.4f} in {evidence.beside}; at most {LARGEST_LOSS} may be lost"
        )
    return None


def _command(model: Model, fold: str, weight_bits: Literal[7, 8]) -> str:
    """Return the sentence that says how a fold is quantized."""
    if model.folder.is_file():
        command = "medseg quantize --any-processor" if weight_bits == 7 else "medseg quantize"
        return f"Run `{command}` where the run of the package was trained, then pack it again."
    name = f"{model.folder.parent.name}/{model.folder.name}"
    return f"`medseg quantize {name} --folds {fold}` does that, where the data set is at hand."
