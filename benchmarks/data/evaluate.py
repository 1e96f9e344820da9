"""Scores of 105 structures on 512x512x300 voxels against nnU-Net's evaluation of the same files, and surfaces of all.

    python benchmarks/data/evaluate.py --nnunet PYTHON_WITH_NNUNETV2 --cases 1

Checks first that Dice, IoU and counts are nnU-Net's. Times are of a fresh process each, imports left out: reading both
files and counting ("overlap"), and the same with HD95 and NSD of every structure ("surface").
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

SHAPE, CELLS = (300, 512, 512), (3, 5, 7)
SPACING_ZYX = (1.5, 0.8, 0.8)
OURS = """
import json, sys, time
from pathlib import Path
from medseg.evaluation.measures import Grid, MeasureOptions, measure_case
from medseg.io.images import read_label
from medseg.core.labels import Labels
import scipy.ndimage, scipy.spatial
labels = Labels(structures={f"s{n}": n for n in range(1, 106)})
began = time.perf_counter()
found = {}
for path in sorted(Path(sys.argv[1], "reference").glob("*.nii.gz")):
    reference, prediction = read_label(path), read_label(Path(sys.argv[1], "prediction", path.name))
    sides = [labels.encode(side.array[0], "a file") for side in (reference, prediction)]
    options = MeasureOptions(surface="elements" if sys.argv[2] == "surface" else None)
    measured = measure_case(*sides, labels, Grid(reference.spacing_mm), options)
    found[path.name] = {
        name: {"Dice": one.overlap.dice, "IoU": one.overlap.iou, "TP": one.overlap.tp, "FP": one.overlap.fp,
               "FN": one.overlap.fn, "TN": one.overlap.tn}
        for name, one in measured.structures.items()
    }
print(json.dumps({"seconds": time.perf_counter() - began, "cases": found}))
"""
THEIRS = """
import json, sys, time
from pathlib import Path
from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder_simple
began = time.perf_counter()
out = compute_metrics_on_folder_simple(
    sys.argv[1] + "/reference", sys.argv[1] + "/prediction", list(range(1, 106)), sys.argv[1] + "/summary.json", 2
)
seconds = time.perf_counter() - began
found = json.loads(Path(sys.argv[1], "summary.json").read_text())
print(json.dumps({"seconds": seconds, "cases": {
    Path(one["reference_file"]).name: {f"s{key}": value for key, value in one["metrics"].items()}
    for one in found["metric_per_case"]
}}))
"""


def ellipsoids(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two label maps with an uneven ellipsoid in each of 105 cells; the second ones are moved and resized a little."""
    maps = np.zeros((2, *SHAPE), np.uint8)
    cell = np.array(SHAPE) / CELLS
    for number, place in enumerate(np.ndindex(*CELLS), start=1):
        radius = cell * random.uniform(0.15, 0.6, 3)
        centre = (np.array(place) + 0.5 + random.uniform(-0.1, 0.1, 3)) * cell
        for side, (c, r) in enumerate(
            ((centre, radius), (centre + random.uniform(-2, 2, 3), radius * random.uniform(0.93, 1.07, 3)))
        ):
            low = np.clip(np.floor(c - 1.3 * r), 0, SHAPE).astype(int)
            high = np.clip(np.ceil(c + 1.3 * r) + 1, 0, SHAPE).astype(int)
            z, y, x = (((np.arange(a, b) - k) / q) ** 2 for a, b, k, q in zip(low, high, c, r, strict=True))
            coarse = random.normal(size=np.maximum((high - low) // 6, 2))
            rough = ndimage.zoom(coarse, (high - low) / coarse.shape, order=1)
            inside = z[:, None, None] + y[None, :, None] + x[None, None, :] < 1 + 0.08 * rough
            maps[side][tuple(slice(a, b) for a, b in zip(low, high, strict=True))][inside] = number
    return maps[0], maps[1]


def make_files(place: Path, cases: int) -> None:
    """Label files of both sides."""
    affine = np.diag([*reversed(SPACING_ZYX), 1.0])
    for case in range(cases):
        for side, label in zip(("reference", "prediction"), ellipsoids(np.random.default_rng(case)), strict=True):
            (place / side).mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(label.transpose(), affine), place / side / f"case{case}.nii.gz")


def measured(python: str, program: str, *arguments: str) -> dict:
    """What a program in a fresh process prints last."""
    done = subprocess.run([python, "-c", program, *arguments], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def compare(mine: dict, theirs: dict) -> int:
    """How many figures are equal; stops where one is not."""
    equal = 0
    for case, structures in theirs.items():
        for name, figures in structures.items():
            for figure, value in mine[case][name].items():
                if abs(value - figures[figure]) > 1e-12:
                    raise SystemExit(f"{case}, {name}: {figure} is {value}, nnU-Net has {figures[figure]}")
                equal += 1
    return equal


def main() -> None:
    """Make the files, compare, time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nnunet", help="python of an environment with nnunetv2")
    parser.add_argument("--cases", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="medseg-evaluate-") as folder:
        make_files(Path(folder), arguments.cases)
        mine = measured(sys.executable, OURS, folder, "overlap")
        surface = measured(sys.executable, OURS, folder, "surface")
        row = {"cases": arguments.cases, "overlap": mine["seconds"], "surface": surface["seconds"]}
        if arguments.nnunet:
            theirs = measured(arguments.nnunet, THEIRS, folder)
            row |= {"nnunet": theirs["seconds"], "times_faster": theirs["seconds"] / mine["seconds"]}
            print(f"{compare(mine['cases'], theirs['cases'])} figures are equal to nnU-Net's")
    print(json.dumps({key: round(value, 2) for key, value in row.items()}))


if __name__ == "__main__":
    main()
