"""Runs of the toy workspace: train a fold, stop it at a step, read its weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from medseg.commands.train.options import TrainOptions
from medseg.commands.train.train import TrainResult, train
from medseg.core.errors import Cancelled
from medseg.core.progress import Progress

FOLD = Path("runs") / "toy" / "main" / "fold_0"


def go(workspace: Path, callback: Callable[[Progress], None] = lambda event: None, **options: Any) -> TrainResult:
    return train(None, workspace, TrainOptions(device="cpu", **options), callback)


def stop_at(step: int) -> Callable[[Progress], None]:
    def stop(event: Progress) -> None:
        if event.stage == "train" and event.done == step and "loss" in event.info:
            raise Cancelled

    return stop


def interrupted(workspace: Path, step: int, **options: Any) -> None:
    with pytest.raises(Cancelled):
        go(workspace, stop_at(step), **options)


def weights(workspace: Path) -> dict[str, torch.Tensor]:
    return load_file(workspace / FOLD / "weights.safetensors")
