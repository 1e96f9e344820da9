"""A CT through a network on a GPU, by stage: preprocessed volume to labels on the scan's grid, with generated data.

    python benchmarks/prediction/gpu_predict.py          # 1.5 mm, 64 tiles of 128^3, mirrored, 3 / 26 / 105 classes
    python benchmarks/prediction/gpu_predict.py --device cpu --size 20 24 24 --scan 24 32 32 --tile 16 --features 4 8

The network's weights are random, so that the answer's borders are irregular everywhere: the export's worst case.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from medseg import Predictor
from medseg.core.image import Image
from medseg.models.model import Model, make_network
from medseg.plans.file import load_plan
from medseg.plans.schema import Plan
from medseg.preprocessing.restore import restore

PLAN = Path(__file__).parents[2] / "plans" / "hippocampus.yaml"


def make_plan(arguments: argparse.Namespace, classes: int) -> Plan:
    """A plan of the repository with another network, patch and structures."""
    stages = len(arguments.features)
    network = {
        "name": "plain_unet",
        "features": arguments.features,
        "kernels": [[3, 3, 3]] * stages,
        "strides": [[1, 1, 1], *[[2, 2, 2]] * (stages - 1)],
        "blocks": [2] * stages,
        "decoder_convolutions": [2] * (stages - 1),
    }
    scan, grid = np.array(arguments.scan), np.array(arguments.size)
    values = load_plan(PLAN).model_dump()
    main = values["configurations"]["3d_fullres"]
    main |= {"network": network, "patch_voxels": [arguments.tile] * 3, "spacing_mm": (scan / grid).tolist()}
    main |= {"mirror_axes": [0, 1, 2], "normalization": [{"scheme": "zscore"}]}
    values["labels"] = {"structures": {f"structure_{number}": number for number in range(1, classes)}}
    values["inference"] |= {"tile_batch": arguments.batch or "auto", "mirror": not arguments.no_mirror}
    values["configurations"], values["orientation"] = {"3d_fullres": main}, "stored"
    return Plan.model_validate(values)


def wait(device: torch.device) -> float:
    """Now, once the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def measure(predictor: Predictor, image: Image) -> dict[str, float]:
    """Seconds of each stage of one scan, and of a whole call."""
    marks = [wait(predictor.device)]
    volume = predictor.prepare(image)
    marks.append(wait(predictor.device))
    slabs = list(predictor.logits(volume))
    marks.append(wait(predictor.device))
    restore(iter(slabs), volume.geometry, predictor.model.plan.labels, predictor.configuration)
    marks.append(wait(predictor.device))
    del slabs
    predictor(image)
    marks.append(wait(predictor.device))
    names = ("prepare", "network", "export", "whole")
    return {name: round(marks[n + 1] - marks[n], 3) for n, name in enumerate(names)}


def main() -> None:
    """For each number of classes: getting ready, the first scan, the second scan, memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=int, nargs=3, default=[300, 273, 273], help="of the network's grid")
    parser.add_argument("--scan", type=int, nargs=3, default=[300, 512, 512], help="of the scan's grid")
    parser.add_argument("--tile", type=int, default=128)
    parser.add_argument("--features", type=int, nargs="+", default=[32, 64, 128, 256, 320, 320])
    parser.add_argument("--classes", type=int, nargs="+", default=[3, 26, 105])
    parser.add_argument("--batch", type=int, default=None, help="tiles at once; by their size if left out")
    parser.add_argument("--no-mirror", action="store_true")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    image = Image(np.random.default_rng(0).normal(size=(1, *arguments.scan)).astype(np.float32), np.eye(4))
    for classes in arguments.classes:
        plan = make_plan(arguments, classes)
        torch.manual_seed(0)
        network = make_network(plan, plan.configuration("3d_fullres")).to(device).eval()
        began = wait(device)
        predictor = Predictor(Model(plan, "3d_fullres", ("0",), (network,), Path()), device)
        predictor.warm_up()
        row: dict[str, object] = {"classes": classes, "ready": round(wait(device) - began, 3)}
        row |= {"first": measure(predictor, image), "second": measure(predictor, image), "notes": predictor.notes}
        if device.type == "cuda":
            row["peak_gpu_gb"] = round(torch.cuda.max_memory_allocated(device) / 1e9, 2)
            torch.cuda.reset_peak_memory_stats(device)
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
