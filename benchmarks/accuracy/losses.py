"""Which loss finds a rare structure: one run a loss, the same steps, seed and cases, and a table of scores.

    OMP_NUM_THREADS=1 python benchmarks/accuracy/losses.py DATA_FOLDER cardiac2d --place P --steps 300 \
        --losses dice_ce tversky

DATA_FOLDER holds the sets (see accuracy.py), whose test cases are left out of the plan. The scores are those of the
validation cases of fold 0: the patients of cardiac2d are kept apart. Losses that are done already are not trained
again. `missed` counts cases with a Dice below 0.1; precision and recall are those of all voxels of the set together.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from pathlib import Path
from statistics import mean, median

from accuracy import HERE, OPTIONS
from cpu_steps import medseg_here

LOSSES = {
    "dice_ce": "dice_ce",
    "dice": "dice",
    "ce": "ce",
    "focal": "focal",
    "top_k": "top_k",
    "generalized_dice": "generalized_dice",
    "tversky": "tversky",
    "focal_tversky": "focal_tversky",
    "dice_ce + boundary": "{sum: [dice_ce, {name: boundary, weight: [0, 0.5]}]}",
    "dice + cldice": "{sum: [{name: dice, weight: 0.5}, {name: cldice, weight: 0.5}]}",
}
WEIGHTED = "ce, inverse_frequency"
PLAN = "rare"
_MISSED = 0.1


def train(place: Path, name: str, steps: int, settings: list[str]) -> Path:
    """Train a loss, unless it was, and return the scores of its validation."""
    fold = place / "runs" / PLAN / "2d" / "fold_0"
    kept = place / "losses" / "".join(letter if letter.isalnum() else "_" for letter in name)
    if not kept.exists():
        shutil.rmtree(fold, ignore_errors=True)
        changes = [part for setting in ("training.validations=1", *settings) for part in ("--set", setting)]
        medseg_here("train", "--plan", PLAN, "--fold", 0, "--steps", steps, *changes, cwd=place)
        kept.parent.mkdir(exist_ok=True)
        fold.rename(kept)
    return kept / "validation" / "metrics.csv"


def row(name: str, scores: Path) -> str:
    """Return the row of a loss: its scores over the cases of all structures."""
    with scores.open(newline="", encoding="utf-8") as file:
        cases = list(csv.DictReader(file))
    dice = [float(case["dice"]) for case in cases if case["dice"]]
    both, predicted, reference = (
        sum(float(case[key] or 0) for case in cases) for key in ("tp", "volume_prediction", "volume_reference")
    )
    missed = sum(value < _MISSED for value in dice)
    return (
        f"| {name} | {mean(dice):.3f} | {median(dice):.3f} | {missed} | {both / max(predicted, 1):.3f} | "
        f"{both / max(reference, 1):.3f} |"
    )


def main() -> None:
    """Train every loss, and print the table after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("set", choices=("nuclei", "cardiac2d", "membrane"))
    parser.add_argument("--place", type=Path, required=True, help="folder of the plans and runs")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--set", dest="settings", action="append", default=[], help="KEY=VALUE of the plan, for all")
    parser.add_argument("--losses", nargs="+", choices=[*LOSSES, WEIGHTED], default=[*LOSSES, WEIGHTED])
    arguments = parser.parse_args()
    place, data = arguments.place.resolve(), (arguments.data / arguments.set).resolve()
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "plans" / f"{PLAN}.yaml").exists():
        listing = (HERE / "test_sets" / f"{data.name}.txt").resolve()
        options = ["--name", PLAN, "--preset", "cpu", "--exclude", listing, *OPTIONS[data.name]]
        medseg_here("plan", data, *options, cwd=place)
    rows = ["| loss | mean Dice | median Dice | missed | precision | recall |", "|---|---|---|---|---|---|"]
    for name in arguments.losses:
        settings = [*arguments.settings, f"training.loss={LOSSES.get(name, 'ce')}"]
        settings += ["training.class_weights=inverse_frequency"] if name == WEIGHTED else []
        scores = train(place, name, arguments.steps, settings)
        rows.append(row(name, scores))
        print("\n".join(rows), flush=True)


if __name__ == "__main__":
    main()
