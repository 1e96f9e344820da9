"""Checkpoints of a run in progress: written whole or not at all, and read without running code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from medseg.errors import ModelError
from medseg.files import saving


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write the state of a run (tensors, numbers, text, and lists and dicts of them)."""
    with saving(path) as temporary:
        torch.save(state, temporary)


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote.

    Raises:
        ModelError: the file is damaged, or holds more than plain values.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises several unrelated types here
        raise ModelError(
            f"The checkpoint {path} cannot be read: {' '.join(str(error).split())[:200]}",
            "Delete it and train again, or restore it from a copy.",
        ) from None
    return dict(state)
