"""Compare two ways to tell nuclei apart: what touches is one, or a boundary parts them; panoptic quality of both.

    OMP_NUM_THREADS=1 python benchmarks/accuracy/instances.py DATA_FOLDER --seconds 120

DATA_FOLDER holds `nuclei`, as for benchmarks/accuracy/accuracy.py, whose test cases these are: they are taken out
before planning. The masks there hold no numbers of objects, so that what touches in a mask is one object of the
reference. Each row is one seed. Both ways make the same number of steps: as many as `--seconds` of processor time hold,
at the speed measured just before (`cpu_steps.py`), or `--steps`. They train on all cases that are not test cases.
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
from cpu_steps import FEW_VALIDATIONS, WHOLE_SET, medseg_here, steps_in

WAYS = {"what touches": [], "boundary": ["--boundaries"]}
"""Name of a way -> further options of planning."""
MEASURES = ("panoptic_quality", "segmentation_quality", "recognition_quality")


def main() -> None:
    """Plan, train, predict and evaluate once a way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--steps", type=int, help="number of steps in place of seconds")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=[*WAYS])
    arguments = parser.parse_args()
    data, listing = (arguments.data / "nuclei").resolve(), HERE / "test_sets" / "nuclei.txt"
    ids = set(listing.read_text().split())
    steps, settings = arguments.steps, [part for setting in FEW_VALIDATIONS for part in ("--set", setting)]
    for way in arguments.ways:
        place = Path(tempfile.mkdtemp(prefix="medseg-instances-"))
        link_test_cases(data, ids, place / "test")
        options = ["--preset", "cpu", "--exclude", listing.resolve(), *OPTIONS["nuclei"], *WAYS[way]]
        medseg_here("plan", data, *options, cwd=place)
        steps = steps or steps_in(arguments.seconds, place, "nuclei")
        medseg_here("train", "--fold", WHOLE_SET, "--steps", steps, *settings, cwd=place)
        medseg_here("predict", place / "test" / "images", "out", "--instances", cwd=place)
        medseg_here("evaluate", "out", place / "test" / "labels", "--instances", "--no-surface", cwd=place)
        measures = json.loads((place / "out" / "metrics.json").read_text())["structures"]["nucleus"]["measures"]
        record = json.loads(next(place.glob("runs/*/*/fold_all/run.json")).read_text())
        row = {
            "way": way,
            "test_cases": len(ids),
            **{name: round(measures[name]["mean"], 4) for name in MEASURES},
            "steps": record["steps"],
            "machine": f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}",
            "torch": record["torch"],
            "date": time.strftime("%Y-%m-%d"),
        }
        print(json.dumps(row), flush=True)
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
