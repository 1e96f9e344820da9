"""One training step on a CPU: medseg's layers against torch's own in the same network, interleaved in one run.

python benchmarks/training/train_step.py --width 16 --batch 2
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from unittest.mock import patch

import torch

from medseg.core.labels import Labels
from medseg.networks import unet
from medseg.networks.device import choose_precision
from medseg.plans.schema import Network
from medseg.training.losses.deep_supervision import DeepSupervision
from medseg.training.losses.dice_ce import DiceCE

PATCH = (40, 56, 40)
SLOPE = 0.01


def plain_norm_act(x, weight, bias, eps, slope):
    """Torch's own functions."""
    x = torch.nn.functional.instance_norm(x, weight=weight, bias=bias, eps=eps)
    return torch.nn.functional.leaky_relu(x, slope, inplace=True)


def main() -> None:
    """Median step of each variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    network = unet.UNet(
        Network(
            name="plain_unet",
            features=[arguments.width * 2**stage for stage in range(4)],
            kernels=[[3, 3, 3]] * 4,
            strides=[[1, 1, 1], *[[2, 2, 2]] * 3],
            blocks=[2] * 4,
            decoder_convolutions=[2] * 3,
        ),
        channels=1,
        outputs=3,
        residual=False,
    )
    labels = Labels(structures={"a": 1, "b": 2})
    loss = DeepSupervision(DiceCE(labels, False, 1.0, 1.0), labels, [[1, 1, 1], [2, 2, 2]])
    precision = choose_precision("auto", torch.device("cpu"))
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    image = torch.randn(arguments.batch, 1, *PATCH)
    target = torch.randint(0, 3, (arguments.batch, *PATCH), dtype=torch.int16)

    def step() -> float:
        began = time.perf_counter()
        with torch.autocast("cpu", dtype=precision, enabled=precision != torch.float32):
            outputs = network(image, 2)
        loss(outputs, target).backward()
        optimizer.step()
        optimizer.zero_grad()
        return time.perf_counter() - began

    seconds: dict[str, list[float]] = {"torch": [], "medseg": []}
    for _ in range(arguments.rounds):
        with (
            patch.object(unet, "norm_act", plain_norm_act),
            patch.object(unet, "upsample", lambda x, layer: layer(x)),
            patch.object(unet, "to_fast_layout", lambda x: x),
        ):
            seconds["torch"].append(step())
        seconds["medseg"].append(step())
    median = {name: statistics.median(values[3:]) for name, values in seconds.items()}
    row = {name: round(1000 * value, 1) for name, value in median.items()}
    print(
        json.dumps(
            {
                **vars(arguments),
                "precision": str(precision),
                "ms": row,
                "ratio": round(median["torch"] / median["medseg"], 2),
            }
        )
    )


if __name__ == "__main__":
    main()
