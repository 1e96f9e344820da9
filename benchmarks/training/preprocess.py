"""Fingerprint, plan and preprocessing of a data set, medseg and nnU-Net v2 side by side, each in a fresh process.

    python benchmarks/training/preprocess.py DATA/hippocampus --nnunet PYTHON_WITH_NNUNETV2 --repeats 3

nnU-Net's folder is made before the clock starts. Its verb plans `2d` and `3d_fullres`; only `3d_fullres` is
preprocessed by both. It runs with `-npfp 2 -np 2` and without the integrity check, its fastest on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nnunet_folder import make_nnunet_folder

OURS = """
import sys
from pathlib import Path
from medseg.commands.data.options import PlanOptions
from medseg.commands.data.plan import plan
from medseg.models.workspace import plan_cases
from medseg.preprocessing.cache import load_samples
made = plan(sys.argv[1], sys.argv[2], "set", PlanOptions(preset="gpu"))
cases = plan_cases(made.path, Path(sys.argv[1]), made.plan)
samples, failed = load_samples(cases, made.plan, made.plan.configuration("3d_fullres"), Path(sys.argv[2]) / "cache")
assert len(samples) == len(cases) and not failed
"""


def timed(command: list[str], environment: dict[str, str] | None = None) -> float:
    """Seconds of a command."""
    began = time.monotonic()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - began


def main() -> None:
    """Interleaved repeats; median and minimum of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--nnunet", type=Path, required=True, help="python of an environment with nnunetv2")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="medseg-bench-"))
    make_nnunet_folder(arguments.data.resolve(), place / "raw")
    environment = os.environ | {
        "nnUNet_raw": str(place / "raw"),
        "nnUNet_preprocessed": str(place / "preprocessed"),
        "nnUNet_results": str(place / "results"),
    }
    theirs = [str(arguments.nnunet.parent / "nnUNetv2_plan_and_preprocess"), "-d", "4", "-c", "3d_fullres"]
    seconds: dict[str, list[float]] = {"medseg": [], "nnunet": []}
    for _ in range(arguments.repeats):
        for folder in ("preprocessed", "ws"):
            shutil.rmtree(place / folder, ignore_errors=True)
        seconds["medseg"].append(timed([sys.executable, "-c", OURS, str(arguments.data.resolve()), str(place / "ws")]))
        seconds["nnunet"].append(timed([*theirs, "-npfp", "2", "-np", "2"], environment))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    rounded = {name: [round(value, 2) for value in values] for name, values in seconds.items()}
    print(json.dumps({"seconds": rounded, "ratio_of_medians": round(median["nnunet"] / median["medseg"], 2)}))
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
