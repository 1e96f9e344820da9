"""Dice on cases that were taken out before planning, per data set and time budget: whole commands, wall-clock.

    python benchmarks/accuracy/accuracy.py DATA_FOLDER hippocampus --budget 5m
    python benchmarks/accuracy/accuracy.py DATA_FOLDER hippocampus --budget 5m --fold all  # no case validates

DATA_FOLDER holds the sets (hippocampus/, nuclei/, cardiac2d/, membrane/, brain_tumour/). The cases in
benchmarks/accuracy/test_sets/SET.txt are left out of the plan, then segmented with the trained fold and scored.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
OPTIONS = {
    "hippocampus": [],
    "nuclei": ["--structures", "nucleus=255"],
    "cardiac2d": ["--structures", "left_ventricle=255", "--patient-pattern", r"^(SC-[A-Z]+(?:-N?I)?-\d+)"],
    "membrane": ["--structures", "membrane=255"],
    "brain_tumour": [],
}
IMAGES, LABELS = ("imagesTr", "images"), ("labelsTr", "labels", "masks")


def medseg(*arguments: object, cwd: Path) -> float:
    """Run a command and return its seconds."""
    began = time.monotonic()
    command = [sys.executable, "-m", "medseg", *map(str, arguments)]
    print("$ medseg", *command[3:], flush=True)
    subprocess.run(command, cwd=cwd, check=True)
    return time.monotonic() - began


def link_test_cases(data: Path, ids: set[str], place: Path) -> None:
    """Links to the test cases' images and labels, so that nothing else is seen."""
    for kind, names in (("images", IMAGES), ("labels", LABELS)):
        source = next(data / name for name in names if (data / name).is_dir())
        (place / kind).mkdir(parents=True)
        for file in source.iterdir():
            stem = file.name.removesuffix(".gz").rsplit(".", 1)[0]
            if stem in ids or stem.rsplit("_", 1)[0] in ids:
                os.symlink(file.resolve(), place / kind / file.name)


def main() -> None:
    """Plan, train, predict, evaluate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("set", choices=OPTIONS)
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--fold", default="0", help="0 to 4; or all, to train on every case but those of the test")
    parser.add_argument("--keep", type=Path, help="a new folder where plan, run and answers stay")
    parser.add_argument("--train", nargs=argparse.REMAINDER, default=[], help="further options of medseg train")
    arguments = parser.parse_args()
    data, listing = (arguments.data / arguments.set).resolve(), HERE / "test_sets" / f"{arguments.set}.txt"
    if arguments.keep:
        place = arguments.keep.resolve()
        place.mkdir(parents=True)
    else:
        place = Path(tempfile.mkdtemp(prefix=f"medseg-{arguments.set}-"))
    ids = set(listing.read_text().split())
    link_test_cases(data, ids, place / "test")
    seconds = {
        "plan": medseg("plan", data, "--exclude", listing.resolve(), *OPTIONS[arguments.set], cwd=place),
        "train": medseg("train", "--fold", arguments.fold, "--budget", arguments.budget, *arguments.train, cwd=place),
        "predict": medseg("predict", place / "test" / "images", "out", cwd=place),
        "evaluate": medseg("evaluate", "out", place / "test" / "labels", cwd=place),
    }
    metrics = json.loads((place / "out" / "metrics.json").read_text())
    record = json.loads(next(place.glob(f"runs/*/*/fold_{arguments.fold}/run.json")).read_text())
    row = {
        "set": arguments.set,
        "budget": arguments.budget,
        "fold": arguments.fold,
        "test_cases": len(ids),
        "dice_mean": metrics["overall"]["measures"]["dice"]["mean"],
        "structures": {name: one["measures"]["dice"]["mean"] for name, one in metrics["structures"].items()},
        "steps": record["steps"],
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "machine": f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}",
        "torch": record["torch"],
        "date": time.strftime("%Y-%m-%d"),
    }
    print(json.dumps(row))
    if not arguments.keep:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
