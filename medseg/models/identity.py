"""Which model it is: a short text that is equal for equal plans and weights, wherever they were read from."""

from __future__ import annotations

import hashlib
import zlib

import torch

from medseg.models.model import Model


def identity(model: Model) -> str:
    """Hash of all that lies between a scan and its answer but for the plan's section `inference`.

    Weights enter by a CRC-32 each, which is fast and guards against mistakes, not against forgery.
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
