"""Identify a model: by a short text that is equal for equal plans and weights, wherever they were read from."""

from __future__ import annotations

import hashlib
import zlib
from typing import Any

import torch

from medseg.models.model import Model
from medseg.plans.anonymous import anonymous


def identity(model: Model) -> str:
    """Return a hash of everything between a scan and its answer, except the plan's section `inference`.

    That section is recorded by itself where answers are made (`predict.jsonl`); where it asks for int8, the ranges of
    the folds are in the hash. Each weight enters by its CRC-32, which is fast and protects against mistakes, not
    against forgery.
    """
    digest = hashlib.blake2b(digest_size=12)
    for member in model.together:
        _add(digest, member)
    selection = model.selection
    if selection is not None and (selection.postprocessing or selection.thresholds):
        steps = [step.model_dump_json(exclude={"evidence", "source"}) for step in selection.postprocessing]
        thresholds = {name: threshold.value for name, threshold in selection.thresholds.items()}
        digest.update(f"{steps} {thresholds}".encode())
    return digest.hexdigest()


def network_identity(network: torch.nn.Module) -> str:
    """Return a hash of a network's weights, each by its CRC-32, by which other weights are noticed."""
    digest = hashlib.blake2b(digest_size=12)
    for name, value in network.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)} {_checksum(value)}".encode())
    return digest.hexdigest()


def _add(digest: Any, model: Model) -> None:
    """Add a model and the stages before it to a digest."""
    while True:
        plan = anonymous(model.plan).model_dump_json(exclude={"request", "made_by", "training", "inference", "codes"})
        digest.update(f"{plan} {model.configuration_name}".encode())
        for network in model.networks:
            for name, value in network.state_dict().items():
                digest.update(f"{name} {tuple(value.shape)} {_checksum(value)}".encode())
        if model.plan.inference.precision == "int8":
            for quantization in model.quantizations:
                ranges = [] if quantization is None else quantization.roundings
                digest.update(" ".join(rounding.model_dump_json() for rounding in ranges).encode())
        if model.previous is None:
            return
        model = model.previous


def _checksum(value: torch.Tensor) -> int:
    flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return zlib.crc32(flat.numpy().data)
