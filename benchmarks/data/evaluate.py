"""Scores of 105 structures on 512x512x300 voxels against nnU-Net's evaluation of the same files, and surfaces of all.

    python benchmarks/data/evaluate.py --nnunet PYTHON_WITH_NNUNETV2 --cases 4

Checks first that Dice, IoU and counts are nnU-Net's, which scores in two processes. Times are of a fresh process each,
imports left out: reading all files and counting ("counts"), the same with distances between surfaces of every structure
("surfaces"), and `medseg.evaluate` with all of it, tables, page and pictures ("page").
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
import matplotlib.figure, scipy.ndimage, scipy.spatial
import medseg
from medseg.core.case import Case
from medseg.core.labels import Labels
from medseg.core.progress import silent
from medseg.evaluation.label_files import Pair, score_pairs
from medseg.plans.sections.scoring import Scoring
evaluate, way, place = medseg.evaluate, sys.argv[2], Path(sys.argv[1])
labels = Labels(structures={f"s{n}": n for n in range(1, 106)})
pairs = [
    Pair(Case(path.name, path.name, ()), path, place / "prediction" / path.name)
    for path in sorted(Path(place, "reference").iterdir())
]
began = time.perf_counter()
if way == "page":
    evaluate(place / "prediction", place / "reference", labels)
    print(json.dumps({"seconds": time.perf_counter() - began}))
    sys.exit()
scores = score_pairs(pairs, labels, Scoring(surface="elements" if way == "surfaces" else None), silent)
seconds = time.perf_counter() - began
print(json.dumps({"seconds": seconds, "cases": {
    case.case: {
        name: {"Dice": one.overlap.dice, "IoU": one.overlap.iou, "TP": one.overlap.tp, "FP": one.overlap.fp,
               "FN": one.overlap.fn, "TN": one.overlap.tn}
        for name, one in case.structures.items()
    }
    for case in scores.cases
}}))
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
        ways = {way: measured(sys.executable, OURS, folder, way) for way in ("counts", "surfaces", "page")}
        row = {"cases": arguments.cases, **{way: found["seconds"] for way, found in ways.items()}}
        if arguments.nnunet:
            theirs = measured(arguments.nnunet, THEIRS, folder)
            row |= {"nnunet": theirs["seconds"], "times_faster": theirs["seconds"] / row["counts"]}
            print(f"{compare(ways['counts']['cases'], theirs['cases'])} figures are equal to nnU-Net's")
    print(json.dumps({key: round(value, 2) for key, value in row.items()}))


if __name__ == "__main__":
    main()
