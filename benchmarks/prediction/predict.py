"""A folder of scans, mirrored, from command to last file: `medseg predict` and nnU-Net v2 on one model of nnU-Net's.

    python benchmarks/prediction/predict.py MODEL DATA/hippocampus/imagesTr --cases 60 --nnunet PYTHON_WITH_NNUNETV2
    python benchmarks/prediction/predict.py MODEL SCANS                     # any model, medseg alone

Whole commands, interleaved. nnU-Net runs once with one process for reading and one for writing (`-npp 1 -nps 1`, its
fastest on two cores) and once with its defaults. Memory is the largest proportional set size of the process tree.
Start-up is what a single scan takes, less the time that one more scan takes in the long run. Dice compares the two
sides' answers, structure by structure.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from watch import Watched, watch

from medseg.io.images import read_label

BEST = ["-npp", "1", "-nps", "1"]


def link_scans(scans: list[Path], place: Path) -> Path:
    """Links named as nnU-Net wants them."""
    place.mkdir()
    for scan in scans:
        stem = scan.name.removesuffix(".nii.gz").removesuffix("_0000")
        os.symlink(scan.resolve(), place / f"{stem}_0000.nii.gz")
    return place


def agreement(ours: Path, theirs: Path) -> dict[str, float]:
    """How alike two folders of answers are: Dice of each structure over all cases, and in the worst case; voxels."""
    dice: list[float] = []
    equal = voxels = 0
    together: dict[int, np.ndarray] = {}
    for path in sorted(theirs.glob("*.nii.gz")):
        one, other = (read_label(folder / path.name).array for folder in (ours, theirs))
        equal, voxels = equal + int((one == other).sum()), voxels + one.size
        for value in set(np.unique(other).tolist()) - {0}:
            counts = np.array(
                [2 * ((one == value) & (other == value)).sum(), (one == value).sum() + (other == value).sum()]
            )
            together[value] = together.get(value, np.zeros(2)) + counts
            dice.append(float(counts[0] / counts[1]))
    return {
        "voxels_equal": equal / voxels,
        **{f"dice_{value}": float(sums[0] / sums[1]) for value, sums in sorted(together.items())},
        "dice_mean": statistics.mean(dice),
        "dice_worst_case": min(dice),
    }


def summary(runs: list[Watched], one: list[Watched], cases: int) -> dict[str, float]:
    """Medians of the seconds; the largest peak."""
    seconds = statistics.median(run.seconds for run in runs)
    single = statistics.median(run.seconds for run in one) if one else float("nan")
    each = (seconds - single) / max(cases - 1, 1)
    return {
        "seconds": seconds,
        "seconds_min": min(run.seconds for run in runs),
        "seconds_a_case": each,
        "start_up": single - each,
        "peak_pss_gb": max(run.peak_gb for run in runs),
        "cpu_seconds": statistics.median(run.cpu_seconds for run in runs),
    }


def main() -> None:
    """Interleaved repeats of both sides, first all scans and then a single one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("scans", type=Path)
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--nnunet", type=Path, help="python of an environment with nnunetv2")
    parser.add_argument("--no-mirror", action="store_true")
    parser.add_argument("--skip-defaults", action="store_true", help="leave out the run with nnU-Net's own defaults")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE for medseg predict")
    arguments = parser.parse_args()
    scans = sorted(arguments.scans.glob("*.nii.gz"))[: arguments.cases]
    place = Path(tempfile.mkdtemp(prefix="medseg-predict-"))
    every, single = link_scans(scans, place / "scans"), link_scans(scans[:1], place / "one")
    model = arguments.model.resolve()
    mirror = "--no-mirror" if arguments.no_mirror else "--mirror"
    settings = [part for value in arguments.set for part in ("--set", value)]
    ours = [sys.executable, "-m", "medseg", "predict", "IN", "OUT", "--model", model, mirror, *settings]
    sides: dict[str, list[object]] = {"medseg": ours}
    if arguments.nnunet:
        folds = sorted(fold.name.removeprefix("fold_") for fold in model.glob("fold_*"))
        theirs = [arguments.nnunet.parent / "nnUNetv2_predict_from_modelfolder", "-i", "IN", "-o", "OUT", "-m", model]
        theirs += ["-f", *folds, "-device", "cpu", *["--disable_tta"] * arguments.no_mirror]
        sides["nnunet"] = [*theirs, *BEST]
        if not arguments.skip_defaults:
            sides["nnunet_defaults"] = theirs
    runs: dict[str, dict[str, list[Watched]]] = {side: {"scans": [], "one": []} for side in sides}
    for number in range(arguments.repeats):
        for source in (every, single):
            for side, command in sides.items():
                if side == "nnunet_defaults" and (number or source == single):
                    continue
                out = place / f"{side}-{source.name}-{number}"
                names = {"IN": source, "OUT": out}
                runs[side][source.name].append(watch([names.get(str(part), part) for part in command]))
                made = len(list(out.glob("*.nii.gz")))
                assert made == len(list(source.iterdir())), f"{side} answered {made} scans"
                last = runs[side][source.name][-1]
                print(f"{side} {source.name}: {last.seconds:.1f} s, {last.peak_gb:.2f} GB", flush=True)
    rows: dict[str, object] = {
        side: {key: round(value, 3) for key, value in summary(found["scans"], found["one"], len(scans)).items()}
        for side, found in runs.items()
    }
    if arguments.nnunet:
        alike = agreement(place / "medseg-scans-0", place / "nnunet-scans-0")
        rows["agreement"] = {key: round(value, 6) for key, value in alike.items()}
    machine = f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}"
    print(json.dumps({"cases": len(scans), **rows, "machine": machine}, indent=1))


if __name__ == "__main__":
    main()
