"""Compare two ways to tell nuclei apart: what touches is one, or a boundary parts them; panoptic quality of both.

    nice python benchmarks/instances.py DATA_FOLDER --budget 2m

DATA_FOLDER holds `nuclei`, as for benchmarks/accuracy.py, whose test cases these are: they are taken out before
planning. The masks there hold no numbers of objects, so that what touches in a mask is one object of the reference.
Each row is one seed.
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

WAYS = {"what touches": [], "boundary": ["--boundaries"]}
"""Name of a way -> further options of planning."""
MEASURES = ("panoptic_quality", "segmentation_quality", "recognition_quality")


def main() -> None:
    """Plan, train, predict and evaluate once a way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--budget", default="2m")
    parser.add_argument("--steps", help="number of steps in place of the budget, for a machine that others use")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=[*WAYS])
    arguments = parser.parse_args()
    data, listing = (arguments.data / "nuclei").resolve(), HERE / "test_sets" / "nuclei.txt"
    ids = set(listing.read_text().split())
    length = ["--steps", arguments.steps] if arguments.steps else ["--budget", arguments.budget]
    for way in arguments.ways:
        place = Path(tempfile.mkdtemp(prefix="medseg-instances-"))
        link_test_cases(data, ids, place / "test")
        medseg("plan", data, "--exclude", listing.resolve(), *OPTIONS["nuclei"], *WAYS[way], cwd=place)
        medseg("train", "--fold", 0, *length, cwd=place)
        medseg("predict", place / "test" / "images", "out", "--instances", cwd=place)
        medseg("evaluate", "out", place / "test" / "labels", "--instances", "--no-surface", cwd=place)
        measures = json.loads((place / "out" / "metrics.json").read_text())["structures"]["nucleus"]["measures"]
        record = json.loads(next(place.glob("runs/*/*/fold_0/run.json")).read_text())
        row = {
            "way": way,
            "length": " ".join(length),
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
