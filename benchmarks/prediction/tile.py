"""One tile through a U-Net on a CPU: each backend and precision, interleaved in one run.

int8, with NNCF installed, is what `medseg quantize` tries first, `int8, careful` what it tries if that loses too much,
and `int8, 7 bits` what it makes for any processor; ranges are those of noise, so its errors say nothing of trained
networks. A processor without VNNI is this one with ONEDNN_MAX_CPU_ISA=AVX2.

python benchmarks/prediction/tile.py                                      # 96^3, 6 stages, 32 to 320 features
python benchmarks/prediction/tile.py --tile 40 56 40 --features 32 64 128 256 --batch 1 2 4 8
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from importlib.util import find_spec

import torch

from medseg.inference.backends.choose import Forward, torch_forward
from medseg.inference.backends.openvino_backend import openvino_forward
from medseg.models.quantization import Quantization
from medseg.networks.device import int8_weight_bits
from medseg.networks.unet import UNet
from medseg.plans.schema import Network

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
INT8 = {"openvino int8": (False, 8), "openvino int8, careful": (True, 8), "openvino int8, 7 bits": (False, 7)}
"""Way -> whether it is the careful one, and the bits of weights."""


def int8_forward(network: UNet, tile: list[int], careful: bool, weight_bits: int) -> Forward:
    """The network in 8 bits, with ranges of one tile of noise."""
    from medseg.inference.backends.openvino_fit_int8 import fit_roundings

    graph, roundings = fit_roundings(network, [torch.randn(1, 1, *tile)], careful, weight_bits)
    unknown = dict.fromkeys(("made", "medseg", "nncf", "openvino", "network"), "")
    made = Quantization(schema_version=1, graph=graph, careful=careful, evidence=None, roundings=roundings, **unknown)
    return openvino_forward(network, 1, tile, torch.int8, made)


def main() -> None:
    """Seconds a tile: the best and the median of the rounds; and how long each backend takes to get ready."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tile", type=int, nargs="+", default=[96, 96, 96])
    parser.add_argument("--features", type=int, nargs="+", default=[32, 64, 128, 256, 320, 320])
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ways", nargs="+", help="only these, such as 'openvino bf16'; torch fp32 is always there")
    arguments = parser.parse_args()
    axes, stages = len(arguments.tile), len(arguments.features)
    torch.manual_seed(0)
    network = UNet(
        Network(
            name="plain_unet",
            features=arguments.features,
            kernels=[[3] * axes] * stages,
            strides=[[1] * axes, *[[2] * axes] * (stages - 1)],
            blocks=[2] * stages,
            decoder_convolutions=[2] * (stages - 1),
        ),
        channels=1,
        outputs=3,
        residual=False,
    ).eval()
    ways, ready = {"torch fp32": torch_forward(network, torch.float32)}, {}
    asked = arguments.ways or [
        *(f"{backend} {name}" for name in PRECISIONS for backend in ("torch", "openvino")),
        *INT8,
    ]
    for name, precision in PRECISIONS.items():
        if f"torch {name}" in asked:
            ways[f"torch {name}"] = torch_forward(network, precision)
        if f"openvino {name}" in asked:
            began = time.perf_counter()
            ways[f"openvino {name}"] = openvino_forward(network, 1, arguments.tile, precision)
            ready[f"openvino {name}"] = round(time.perf_counter() - began, 2)
    if find_spec("nncf") is not None:
        for name, (careful, weight_bits) in INT8.items():
            if name in asked and weight_bits <= (int8_weight_bits() or 0):
                ways[name] = int8_forward(network, arguments.tile, careful, weight_bits)
    print(json.dumps({"threads": torch.get_num_threads(), "cores": os.cpu_count(), "seconds_to_get_ready": ready}))
    for batch in arguments.batch:
        tiles = torch.randn(batch, 1, *arguments.tile)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(arguments.rounds + 1):
            for name, forward in ways.items():
                began = time.perf_counter()
                forward(tiles)
                seconds[name].append((time.perf_counter() - began) / batch)
        exact = ways["torch fp32"](tiles)
        for name, values in seconds.items():
            off = float((ways[name](tiles).float() - exact).norm() / exact.norm())
            row = {"way": name, "batch": batch, "best": min(values[1:]), "median": statistics.median(values[1:])}
            print(json.dumps({**row, "relative_error": float(f"{off:.2g}")}), flush=True)


if __name__ == "__main__":
    main()
