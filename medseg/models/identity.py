"""Identify a model: by a short text that is equal for equal plans and weights, wherever they were read from."""

from __future__ import annotations

import hashlib
import zlib

import torch

from medseg.models.model import Model


def identity(model: Model) -> str:
    """Return a hash of everything between a scan and its answer, except the plan's section `inference`.

    That section is recorded by itself where answers are made (`predict.jsonl`). Each weight enters by its CRC-32, which
    is fast and protects against mistakes, not against forgery.
    """
    digest = hashlib.blake2b(digest_size=12)
    while True:
        plan = model.plan.model_dump_json(exclude={"request", "made_by", "training", "inference", "codes"})
        digest.update(f"{plan} {model.configuration_name}".encode())
        for network in model.networks:
            for name, value in network.state_dict().items():
                digest.update(f"{name} {tuple(value.shape)} {_checksum(value)}".encode())
        if model.previous is None:
            return digest.hexdigest()
        model = model.previous


def _checksum(value: torch.Tensor) -> int:
    flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return zlib.crc32(flat.numpy().data)
