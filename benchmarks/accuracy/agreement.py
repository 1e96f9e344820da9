"""How well each backend and precision agrees with nnU-Net's own answers: voxels and Dice, model by model.

    python benchmarks/accuracy/agreement.py GOLDENS/nnunet

Expects folders with `model/` (an nnU-Net model), `expected/` and `expected_mirrored/`, beside `scans/`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import medseg
from medseg.core.image import Image
from medseg.io.images import read_image, read_label

WAYS = [("torch", "fp32"), ("torch", "bf16"), ("openvino", "fp32"), ("openvino", "bf16")]


def dice(a: np.ndarray, b: np.ndarray, values: tuple[int, ...]) -> float:
    """Dice of the voxels that have one of these values; 1 where neither has any."""
    first, second = np.isin(a, values), np.isin(b, values)
    both = first.sum() + second.sum()
    return 2 * (first & second).sum() / both if both else 1.0


def compare(model: Path, scans: dict[str, Image], mirrored: bool, backend: str, precision: str) -> dict[str, object]:
    """One row: differing voxels over all scans, and the worst structure of the worst scan."""
    settings = {"mirror": str(mirrored).lower(), "backend": backend, "precision": precision}
    predictor = medseg.Predictor.load(
        model / "model", "cpu", overrides=[f"inference.{key}={value}" for key, value in settings.items()]
    )
    off, total, pooled = 0, 0, {}
    worst = 1.0
    for name, scan in scans.items():
        theirs = read_label(model / ("expected_mirrored" if mirrored else "expected") / f"{name}.nii.gz").array
        ours = predictor(scan).array
        off += int((ours != theirs).sum())
        total += theirs.size
        for structure, values in predictor.model.plan.labels.members.items():
            worst = min(worst, dice(ours, theirs, values))
            pooled.setdefault(structure, []).append(dice(ours, theirs, values))
    mean = min(float(np.mean(values)) for values in pooled.values())
    row = {"model": model.name, **settings, "differing": off, "of": total, "agreement": round(1 - off / total, 6)}
    return row | {"lowest_mean_dice": round(mean, 5), "lowest_dice": round(worst, 5)}


def main() -> None:
    """A line for each model, with and without mirroring, in each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("goldens", type=Path)
    parser.add_argument("--models", nargs="*")
    arguments = parser.parse_args()
    scans = {
        path.name.removesuffix("_0000.nii.gz"): read_image(path)
        for path in sorted((arguments.goldens / "scans").glob("*_0000.nii.gz"))
    }
    models = sorted(path.parent for path in arguments.goldens.glob("*/model"))
    for model in models:
        for mirrored in (False, True) if not arguments.models or model.name in arguments.models else ():
            for way in WAYS:
                print(json.dumps(compare(model, scans, mirrored, *way)), flush=True)


if __name__ == "__main__":
    main()
