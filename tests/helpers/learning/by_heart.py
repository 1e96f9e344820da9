"""Two real patches, which a network of any row has to learn by heart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import medseg
from medseg.networks.device import evaluating
from medseg.plans.schema import Plan
from medseg.training.losses.deep_supervision import DeepSupervision

CASES = ("hippocampus_001", "hippocampus_003")
_EVERY = 10
"""Steps between two looks at the Dice."""


class Learnt(NamedTuple):
    """How well patches are known by heart, and after how many steps."""

    dice: float
    steps: int


def two_patches(folder: Path, shape: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (2, 1, ...) images and (2, ...) labels around the middle of two hippocampi; in 2D in their largest slice.

    Args:
        folder: of the data set (Medical Segmentation Decathlon, task 4).
        shape: of a patch; beyond the scan there are zeros.
    """
    patches = [_patch(folder, case, shape) for case in CASES]
    images, labels = (np.stack(parts) for parts in zip(*patches, strict=True))
    return torch.from_numpy(images)[:, None], torch.from_numpy(labels)


def learn_by_heart(
    network: torch.nn.Module,
    plan: Plan,
    patches: tuple[torch.Tensor, torch.Tensor],
    most_steps: int,
    learning_rate: float = 0.01,
    enough: float = 0.95,
) -> Learnt:
    """Train a network on two patches alone with the plan's loss and AdamW, until it knows them.

    Args:
        network: as `make_network` returns it.
        plan: the plan, with one configuration `main`.
        patches: as `two_patches` returns them.
        most_steps: it ends after so many.
        learning_rate: constant.
        enough: it ends with such a Dice, of both structures together.
    """
    image, target = patches
    loss = DeepSupervision.of(network, plan, plan.configuration("main"))
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate)
    network.train()
    for step in range(1, most_steps + 1):
        optimizer.zero_grad()
        loss(network(image, len(loss.scales)), target).backward()
        optimizer.step()
        if step % _EVERY == 0 or step == most_steps:
            with evaluating(network):
                dice = _dice(network(image, 1)[0].argmax(1), target)
            if dice > enough:
                break
    return Learnt(dice, step)


def _dice(found: torch.Tensor, wanted: torch.Tensor) -> float:
    both = (found == wanted) & (wanted > 0)
    return 2 * int(both.sum()) / int((found > 0).sum() + (wanted > 0).sum())


def _patch(folder: Path, case: str, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    image = medseg.read_image(folder / "imagesTr" / f"{case}.nii.gz").array[0].astype(np.float32)
    label = medseg.read_label(folder / "labelsTr" / f"{case}.nii.gz").array[0].astype(np.int16)
    image = (image - image.mean()) / image.std()
    if len(shape) == 2:
        largest = int((label > 0).sum((1, 2)).argmax())
        image, label = image[largest], label[largest]
    middle = [int(axis.mean()) for axis in np.nonzero(label)]
    inside, outside = [], []
    for at, size, length in zip(middle, label.shape, shape, strict=True):
        start = min(max(0, at - length // 2), max(0, size - length))
        inside.append(slice(start, start + length))
        outside.append((0, max(0, length - size)))
    return np.pad(image[tuple(inside)], outside), np.pad(label[tuple(inside)], outside)
