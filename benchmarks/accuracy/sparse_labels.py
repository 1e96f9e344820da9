"""What sparse and partial annotation cost: hippocampus with every label, a tenth of the voxels, half of the Posteriors.

    python benchmarks/accuracy/sparse_labels.py DATA/hippocampus --steps 600

Every arm trains on all cases but those of test_sets/hippocampus.txt, with the same plan, seed and number of steps, and
is scored on these with their full labels:

- full: as they are.
- sparse: every tenth slice along one random axis of each case is annotated, everything else is to be ignored.
- partial: in half of the cases Posterior is erased, and `annotated` says so.
- naive: the same files, but nothing says so: what is missing teaches that it is background.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from accuracy import HERE, link_test_cases, medseg

ARMS = ("full", "sparse", "partial", "naive")
POSTERIOR, UNKNOWN = 2, 3
EVERY = 10


def sparse(label: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Every tenth slice along one axis kept; the rest unknown."""
    axis, first = random.integers(3), random.integers(EVERY)
    kept = np.zeros(label.shape, dtype=bool)
    np.moveaxis(kept, axis, 0)[first::EVERY] = True
    return np.where(kept, label, UNKNOWN)


def make_set(data: Path, ids: list[str], arm: str, place: Path) -> tuple[set[str], float]:
    """A data set in nnU-Net's layout; returns the cases without Posterior and the share of annotated voxels."""
    declared = {"background": 0, "Anterior": 1, "Posterior": POSTERIOR} | (
        {"ignore": UNKNOWN} if arm == "sparse" else {}
    )
    (place / "imagesTr").mkdir(parents=True)
    (place / "labelsTr").mkdir()
    partly = set(np.random.default_rng(0).permutation(ids)[: len(ids) // 2]) if arm in ("partial", "naive") else set()
    known, voxels = 0, 0
    for number, case in enumerate(ids):
        os.symlink(data / "imagesTr" / f"{case}.nii.gz", place / "imagesTr" / f"{case}_0000.nii.gz")
        stored = nib.load(data / "labelsTr" / f"{case}.nii.gz")
        label = np.asarray(stored.dataobj).astype(np.uint8)
        if arm == "sparse":
            label = sparse(label, np.random.default_rng(number))
        elif case in partly:
            label[label == POSTERIOR] = 0
        known, voxels = known + int((label != UNKNOWN).sum()), voxels + label.size
        nib.save(nib.Nifti1Image(label.astype(np.uint8), stored.affine), place / "labelsTr" / f"{case}.nii.gz")
    content = {
        "channel_names": {"0": "MRI"},
        "labels": declared,
        "numTraining": len(ids),
        "file_ending": ".nii.gz",
    }
    (place / "dataset.json").write_text(json.dumps(content))
    return partly, known / voxels


def mark_partly(table: Path, partly: set[str]) -> None:
    """Say in the table of cases that these have Anterior alone."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "annotated": "Anterior" if row["id"] in partly else ""} for row in rows)


def run(data: Path, arm: str, test: set[str], place: Path, settings: list[str]) -> dict[str, object]:
    """Plan, train, predict and score one arm."""
    ids = sorted(file.name.removesuffix(".nii.gz") for file in (data / "labelsTr").glob("*.nii.gz"))
    partly, share = make_set(data, [case for case in ids if case not in test], arm, place / "set")
    link_test_cases(data, test, place / "test")
    overrides = [part for text in settings for part in ("--set", text)]
    medseg("plan", "set", "--preset", "cpu", cwd=place)
    if arm == "partial":
        mark_partly(place / "plans" / "set.cases.csv", partly)
        medseg("plan", "set", "--preset", "cpu", "--force", cwd=place)
    seconds = medseg("train", "--fold", "all", *overrides, cwd=place)
    medseg("predict", place / "test" / "images", "out", cwd=place)
    medseg("evaluate", "out", place / "test" / "labels", cwd=place)
    metrics = json.loads((place / "out" / "metrics.json").read_text())
    return {
        "arm": arm,
        "annotated_voxels": round(share, 3),
        "cases_without_posterior": len(partly),
        **{name: round(one["measures"]["dice"]["mean"], 4) for name, one in metrics["structures"].items()},
        "mean": round(metrics["overall"]["measures"]["dice"]["mean"], 4),
        "train_seconds": round(seconds, 1),
    }


def main() -> None:
    """Every arm; prints a line of JSON for each, then the differences to full labels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    arguments = parser.parse_args()
    test = set((HERE / "test_sets" / "hippocampus.txt").read_text().split())
    settings = [f"training.steps={arguments.steps}", f"training.seed={arguments.seed}", "training.validations=1"]
    place = Path(tempfile.mkdtemp(prefix="medseg-sparse-"))
    rows = []
    for arm in arguments.arms:
        rows.append(run(arguments.data.resolve(), arm, test, place / arm, settings))
        print(json.dumps({**rows[-1], "steps": arguments.steps, "seed": arguments.seed}), flush=True)
    shutil.rmtree(place)
    if rows[0]["arm"] != "full":
        sys.exit()
    print(f"{'arm':8} {'Anterior':>9} {'Posterior':>9} {'mean':>7}   less than full: Anterior, Posterior, mean")
    for row in rows:
        lost = [f"{rows[0][key] - row[key]:+.4f}" for key in ("Anterior", "Posterior", "mean")]
        print(f"{row['arm']:8} {row['Anterior']:9.4f} {row['Posterior']:9.4f} {row['mean']:7.4f}   {', '.join(lost)}")


if __name__ == "__main__":
    main()
