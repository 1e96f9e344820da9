"""Is it better to annotate the scans that `medseg rank` names first than as many random ones?

    OMP_NUM_THREADS=1 python benchmarks/accuracy/ranking.py DATA hippocampus --folder P --seeds 0,1,2

DATA holds the sets, whose test cases (benchmarks/accuracy/test_sets/) are left out of everything and scored at the end.
For each seed some random cases are labelled to begin with; folds trained on them rank a pool of others. Then one
network is trained on the first cases and the best ranked of the pool, one on the first cases and as many random ones of
the pool, and one on the first cases alone, for the same number of steps. Steps, not seconds: work beside it changes no
score. Rows lie in P/rows.jsonl; what is there is not run again.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import random
import time
from pathlib import Path
from statistics import fmean

import torch
from accuracy import HERE, IMAGES, OPTIONS, link_test_cases, medseg

STEMS = (".nii.gz", ".nii", ".png")


def scans(data: Path) -> dict[str, Path]:
    """Return {case: its scan} of a data set with one file a scan."""
    folder = next(data / name for name in IMAGES if (data / name).is_dir())
    found = {}
    for file in sorted(folder.iterdir()):
        stem = next((file.name.removesuffix(ending) for ending in STEMS if file.name.endswith(ending)), None)
        if stem is not None and not stem.startswith("."):
            found[stem.removesuffix("_0000")] = file
    return found


def plan(data: Path, place: Path, cases: list[str], every: dict[str, Path]) -> None:
    """Plan with some cases alone."""
    place.mkdir(parents=True, exist_ok=True)
    left_out = place / "left_out.txt"
    left_out.write_text("\n".join(sorted(set(every) - set(cases))) + "\n")
    medseg("plan", data, "--exclude", left_out, "--preset", "cpu", *OPTIONS[data.name], cwd=place)


def dice(data: Path, place: Path, cases: list[str], every: dict[str, Path], steps: int, test: Path) -> float:
    """Return the mean Dice on the test cases of a network that is trained on some cases."""
    plan(data, place, cases, every)
    medseg("train", "--fold", "all", "--steps", steps, "--set", "training.validations=1", cwd=place)
    medseg("predict", test / "images", "out", "--no-mirror", "--folds", "all", cwd=place)
    medseg("evaluate", "out", test / "labels", "--no-surface", cwd=place)
    return float(json.loads((place / "out" / "metrics.json").read_text())["overall"]["measures"]["dice"]["mean"])


def ranked(data: Path, place: Path, first: list[str], pool: list[str], every: dict[str, Path], steps: int) -> list[str]:
    """Return the pool in the order in which `medseg rank` would have it annotated."""
    plan(data, place, first, every)
    medseg("crossval", "--folds", "0,1,2", "--steps", steps, cwd=place)
    medseg("select", cwd=place)
    (place / "pool").mkdir(exist_ok=True)
    for case in pool:
        link = place / "pool" / every[case].name
        link.exists() or os.symlink(every[case].resolve(), link)
    medseg("rank", "pool", "next", cwd=place)
    with (place / "next" / "ranking.csv").open(newline="") as file:
        return [row["case"].removesuffix("_0000") for row in csv.DictReader(file)]


def main() -> None:
    """Rank, train, score; print a row for each seed and the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("set", choices=OPTIONS)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--first", type=int, default=20, help="cases that are labelled to begin with")
    parser.add_argument("--pool", type=int, default=100, help="scans that are ranked")
    parser.add_argument("--more", type=int, default=20, help="scans that are annotated then")
    parser.add_argument("--steps", type=int, default=400, help="of the networks that are scored; folds have half of it")
    arguments = parser.parse_args()
    data, place = (arguments.data / arguments.set).resolve(), arguments.folder.resolve()
    listing = set((HERE / "test_sets" / f"{arguments.set}.txt").read_text().split())
    every = scans(data)
    if not (place / "test").exists():
        link_test_cases(data, listing, place / "test")
    record = place / "rows.jsonl"
    rows = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    for seed in map(int, arguments.seeds.split(",")):
        if seed in {row["seed"] for row in rows}:
            continue
        cases = sorted(set(every) - listing)
        random.Random(seed).shuffle(cases)
        first, pool = cases[: arguments.first], cases[arguments.first :][: arguments.pool]
        here = place / f"seed_{seed}"
        order = ranked(data, here / "first", first, pool, every, arguments.steps // 2)
        arms = {"ranked": order[: arguments.more], "random": pool[: arguments.more], "first alone": []}
        scores = {
            name: dice(data, here / name.replace(" ", "_"), [*first, *more], every, arguments.steps, place / "test")
            for name, more in arms.items()
        }
        rows.append(
            {
                "seed": seed,
                "set": arguments.set,
                "dice": scores,
                "in both": len(set(arms["ranked"]) & set(arms["random"])),
                "cases": [arguments.first, arguments.pool, arguments.more],
                "steps": arguments.steps,
                "machine": f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}",
                "torch": torch.__version__,
                "date": time.strftime("%Y-%m-%d"),
            }
        )
        with record.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
        print(json.dumps(rows[-1]), flush=True)
    gains = [row["dice"]["ranked"] - row["dice"]["random"] for row in rows]
    print(f"ranked less random: {[round(gain, 4) for gain in gains]}, mean {fmean(gains):+.4f}")


if __name__ == "__main__":
    main()
