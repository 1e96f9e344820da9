"""Which width of the network gives the most Dice where few steps fit: widths at equal processor time.

    OMP_NUM_THREADS=1 python benchmarks/accuracy/widths.py DATA hippocampus --place P --seconds 60 240 --widths 0.5 1 2

A width is a factor to the features of the preset `cpu`, which has half of nnU-Net's. Each run makes as many steps as
so many seconds of the processor hold, measured just before (cpu_steps.py), so that work beside it changes no score. The
scores are those of the validation cases of fold 0, mirrored; the test cases of test_sets/ take no part. Rows lie in
P/widths.jsonl; what is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from pathlib import Path

from accuracy import HERE, OPTIONS
from cpu_steps import FEW_VALIDATIONS, medseg_here, steps_in

from medseg.plans.file import load_plan

PLAN = "widths"
_LEAST_FEATURES = 4


def settings_of(place: Path, width: float, more: list[str]) -> list[str]:
    """Return the settings of the plan that make its default configuration's network wider or narrower."""
    plan = load_plan(place / "plans" / f"{PLAN}.yaml")
    name = plan.default_configuration
    features = [max(_LEAST_FEATURES, round(width * count)) for count in plan.configuration(name).network.features]
    return [f"configurations.{name}.network.features={json.dumps(features)}", *more]


def train(place: Path, settings: list[str], steps: int, seed: int) -> dict[str, object]:
    """Train fold 0 and return the scores of its validation."""
    runs = place / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    changes = [part for one in (*FEW_VALIDATIONS, *settings, f"training.seed={seed}") for part in ("--set", one)]
    medseg_here("train", "--plan", PLAN, "--fold", 0, "--steps", steps, *changes, cwd=place)
    metrics = json.loads(next(runs.glob("*/*/fold_0/validation/metrics.json")).read_text())
    return {
        "dice": round(metrics["overall"]["measures"]["dice"]["mean"], 4),
        "structures": {name: round(one["measures"]["dice"]["mean"], 4) for name, one in metrics["structures"].items()},
    }


def main() -> None:
    """Run the widths that are missing; print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("set", choices=OPTIONS)
    parser.add_argument("--place", type=Path, required=True)
    parser.add_argument("--seconds", type=float, nargs="+", default=[60.0, 240.0])
    parser.add_argument("--widths", type=float, nargs="+", default=[0.5, 1.0, 2.0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", dest="settings", action="append", default=[], help="KEY=VALUE of the plan, for all")
    asked = parser.parse_args()
    place, data = (asked.place / asked.set).resolve(), (asked.data / asked.set).resolve()
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "plans" / f"{PLAN}.yaml").exists():
        listing = (HERE / "test_sets" / f"{data.name}.txt").resolve()
        options = ["--name", PLAN, "--preset", "cpu", "--exclude", listing, *OPTIONS[data.name]]
        medseg_here("plan", data, *options, cwd=place)
    record = asked.place / "widths.jsonl"
    rows = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    keys = ("set", "seconds", "width", "seed", "settings")
    done = [[row[key] for key in keys] for row in rows]
    for seconds in asked.seconds:
        for width in asked.widths:
            about = {"set": asked.set, "seconds": seconds, "width": width, "seed": asked.seed}
            about["settings"] = asked.settings
            if [about[key] for key in keys] in done:
                continue
            settings = settings_of(place, width, asked.settings)
            steps = steps_in(seconds, place, PLAN, settings)
            row = {**about, "steps": steps, **train(place, settings, steps, asked.seed)}
            row |= {"threads": os.environ.get("OMP_NUM_THREADS"), "date": time.strftime("%Y-%m-%d")}
            with record.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
