"""A model for the made-up CT whose answer has every class in it, with irregular borders; nothing is trained.

The weights are drawn at random, but the decoder smooths: its kernels are blurs, and what it knows from far counts for
more than what it sees near, so that classes form patches and not noise. The biases of the last layer are balanced on
parts of the scan, so that each class wins somewhere.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from ct_plan import NAME, ct_plan
from numpy.typing import NDArray

from medseg.core.image import Image
from medseg.models.model import make_network
from medseg.models.record import RunRecord
from medseg.models.run import save_weights
from medseg.models.run_files import PLAN, FoldFolder
from medseg.plans.file import save_plan
from medseg.preprocessing.volume import prepare

FEATURES = [8, 16, 32, 64, 288]
_NEAR_SHARE = 0.1
_ROUGHNESS = 0.1
_SAMPLES = 20_000


def make_model(folder: Path, scan: NDArray[np.int16], classes: int = 105, patch: int = 128, seed: int = 0) -> int:
    """Write a run's folder (one fold); returns the number of parameters.

    Args:
        folder: runs/NAME/CONFIGURATION.
        scan: (z, y, x) in HU at 1.5 x 0.8 x 0.8 mm, on which the classes are balanced.
    """
    torch.manual_seed(seed)
    plan = ct_plan(classes, patch=patch, features=FEATURES)
    configuration = plan.configuration(NAME)
    network = make_network(plan, configuration).eval()
    blur = torch.tensor([0.25, 0.5, 0.25])
    blur = blur[:, None, None] * blur[:, None] * blur
    for decode, up in zip(network.decoder, network.up, strict=True):  # type: ignore[arg-type]
        up.weight.data = up.weight.data.mean((2, 3, 4), keepdim=True).expand_as(up.weight).clone()
        weight = decode[0].conv.weight.data
        weight.copy_(weight.sum((2, 3, 4), keepdim=True) * blur + _ROUGHNESS * weight)
        weight[:, up.out_channels :] *= _NEAR_SHARE
    head = network.heads[-1]  # type: ignore[index]
    head.weight.data = torch.nn.functional.normalize(torch.randn_like(head.weight), dim=1) * 4
    seen: list[torch.Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image = Image(scan[None], np.diag([0.8, 0.8, 1.5, 1.0]))
    volume = torch.from_numpy(prepare(image, plan, configuration).image)
    with torch.inference_mode():
        for share in (0.0, 0.5, 1.0):  # a corner, the middle, the other corner
            starts = [int(share * max(0, size - patch)) for size in volume.shape[1:]]
            z, y, x = (slice(start, start + patch) for start in starts)
            network(volume[None, :, z, y, x])
    handle.remove()
    features = torch.cat([one.flatten(2)[0] for one in seen], dim=1)
    chosen = features[:, torch.randint(features.shape[1], (_SAMPLES,))]
    head.bias.data = _balanced(head.weight.data.flatten(1) @ chosen)
    save_plan(plan, folder / "fold_0" / PLAN)
    save_weights(network, FoldFolder(folder / "fold_0"), RunRecord(configuration=NAME))
    return sum(parameter.numel() for parameter in network.parameters())


def _balanced(logits: torch.Tensor) -> torch.Tensor:
    """Biases with which the classes of (classes, samples) logits win about equally often."""
    bias = torch.zeros(len(logits))
    for step in range(300):
        won = torch.bincount((logits + bias[:, None]).argmax(0), minlength=len(logits)) / logits.shape[1]
        bias -= (0.5 * 0.99**step) * ((won + 1e-4) * len(logits)).log()
    return bias
