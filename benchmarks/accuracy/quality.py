"""Quality flags without a reference: detection and false alarms on unseen scans, clean and spoilt in eleven ways.

    python benchmarks/accuracy/quality.py DATA hippocampus --workspace PLACE --folds 0,1,2 --answer 0 --cases 20

DATA holds the sets. The cases in benchmarks/accuracy/test_sets/SET.txt are left out of the plan; some folds are trained
for a fixed number of steps, and `medseg select` fits calibration, regressions and thresholds on their out-of-fold
answers alone. Then the folds, or some of them, answer the left-out cases together: as they are, and spoilt
(`degrade.py`). An answer is flagged if it carries a flag, or a warning that its scan is unlike the training scans.
Another body part: brain scans of DATA/brain_tumour, for hippocampus parts of them, and for cardiac2d slices. They have
no structure of these sets, so that their Dice is 0. `--cases 0` is for calibration alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accuracy import HERE, IMAGES, LABELS, OPTIONS, medseg
from degrade import OF_HEADERS, WAYS

from medseg.confidence.assessment import Assessment, assess
from medseg.confidence.quality import Quality
from medseg.core.image import Image
from medseg.inference.case_measures import label_shapes
from medseg.inference.predictor import Predictor
from medseg.io.images import read_image
from medseg.models.run import load_run
from medseg.models.workspace import Workspace
from medseg.plans.file import load_plan
from medseg.selection.file import read_selection, selection_path
from medseg.selection.record import Selection

OTHER = "another body part"
WITHOUT_SPACING = ("cardiac2d", "nuclei", "membrane")


def dice_of(answer: np.ndarray, truth: np.ndarray, members: dict[str, tuple[int, ...]]) -> dict[str, float | None]:
    """Dice of each structure; None where neither has any of it."""
    scores: dict[str, float | None] = {}
    for name, values in members.items():
        a, b = np.isin(answer, values), np.isin(truth, values)
        size = a.sum() + b.sum()
        scores[name] = float(2 * (a & b).sum() / size) if size else None
    return scores


def other_parts(data: Path, shape: tuple[int, ...], count: int) -> Iterator[Image]:
    """Yield parts of brain scans that hold no hippocampus: from the top quarter of the head."""
    random = np.random.default_rng(0)
    for number in range(count):
        scan = brain_scan(data, number)
        sizes = scan.array.shape[1:]
        starts = [sizes[0] * 3 // 4 - shape[0] // 2] + [
            int(random.integers(size // 3, size * 2 // 3 - length // 2))
            for size, length in zip(sizes[1:], shape[1:], strict=True)
        ]
        part = tuple(slice(start, start + length) for start, length in zip(starts, shape, strict=True))
        yield replace(scan, array=scan.array[(slice(None), *part)])


def brain_slices(data: Path, image: Image, count: int) -> Iterator[Image]:
    """Yield axial slices of brain scans, with the mean and deviation of an image and on its grid."""
    channels, _, height, width = image.array.shape
    for number in range(count):
        scan = brain_scan(data, number).array
        middle = scan[:, [scan.shape[1] // 2]].astype(np.float32)
        room = [(0, 0), (0, 0)] + [
            (max(0, (size - held) // 2), max(0, size - held - (size - held) // 2))
            for size, held in zip((height, width), middle.shape[2:], strict=True)
        ]
        middle = np.pad(middle, room)[:, :, :height, :width]
        middle = (middle - middle.mean()) / middle.std() * image.array.std() + image.array.mean()
        yield image.with_array(np.repeat(np.clip(middle, 0, None), channels, axis=0))


def brain_scan(data: Path, number: int) -> Image:
    """Return the first channel of a brain scan."""
    files = sorted((data / "brain_tumour").glob("imagesTr/*_0000.nii.gz"))
    return read_image(files[number % len(files)])


def unseen(data: Path, ids: Sequence[str]) -> Iterator[tuple[str, Image, Image]]:
    """Yield id, scan and reference."""
    images, labels = (next(data / name for name in names if (data / name).is_dir()) for names in (IMAGES, LABELS))
    for id in ids:
        files = [next(folder.glob(f"{id}*")) for folder in (images, labels)]
        label = read_image(files[1])
        yield id, read_image(files[0]), label.with_array(label.array[:1])  # masks may be stored in colour


def main() -> None:
    """Train, fit, spoil, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("set", choices=OPTIONS)
    parser.add_argument("--workspace", type=Path, required=True, help="trained folds in it are used again")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--folds", default="0,1,2")
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--answer", help="folds that answer the unseen cases; all if left out")
    arguments = parser.parse_args()
    data, folds = (arguments.data / arguments.set).resolve(), arguments.folds.split(",")
    listing, workspace = HERE / "test_sets" / f"{arguments.set}.txt", arguments.workspace.resolve()
    workspace.mkdir(parents=True, exist_ok=True)
    if not [*workspace.glob("plans/*.yaml")]:
        medseg("plan", data, "--exclude", listing.resolve(), *OPTIONS[arguments.set], cwd=workspace)
    medseg("crossval", "--folds", arguments.folds, "--steps", arguments.steps, cwd=workspace)
    medseg("select", "--folds", arguments.folds, cwd=workspace)
    space = Workspace(workspace)
    plan = load_plan(space.plan_path(None))
    run = workspace / "runs" / plan.name / plan.default_configuration
    selection = read_selection(selection_path(run.parent))
    assert selection is not None
    assert selection.quality is not None
    report_fit(selection, run)
    answering = folds if arguments.answer is None else arguments.answer.split(",")
    model = load_run(run, torch.device("cpu"), answering, ["inference.unlike_scans=warn"])
    predictor = Predictor(replace(model, selection=selection), torch.device("cpu"))
    rows = [*judge(predictor, selection.quality, arguments.data, data, listing.read_text().split()[: arguments.cases])]
    (workspace / "rows.json").write_text(json.dumps(rows))
    if rows:
        report(rows)
    print(f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}, torch {torch.__version__}, "
          f"{time.strftime('%Y-%m-%d')}")  # fmt: skip


def judge(predictor: Predictor, quality: Quality, sets: Path, data: Path, ids: Sequence[str]) -> Iterator[dict]:
    """Yield a row for each unseen scan, as it is and spoilt in each way."""
    members = predictor.model.plan.labels.members
    ways = [way for way in WAYS if way not in OF_HEADERS or data.name not in WITHOUT_SPACING]
    for number, (id, scan, label) in enumerate(unseen(data, ids)):
        for way in ("clean", *ways):
            spoilt, truth = (scan, label) if way == "clean" else WAYS[way](scan, label, np.random.default_rng(number))
            yield judge_scan(predictor, quality, spoilt, truth) | {"case": id, "way": way}
        print(f"{number + 1} of {len(ids)}", file=sys.stderr, flush=True)
    others: Iterator[Image] = iter(())
    if ids and data.name == "hippocampus":
        others = other_parts(sets, (35, 50, 36), len(ids))
    elif ids and data.name == "cardiac2d":
        others = brain_slices(sets, next(unseen(data, ids))[1], len(ids))
    for number, scan in enumerate(others):
        empty = scan.with_array(np.zeros(scan.array.shape, np.uint8))
        row = judge_scan(predictor, quality, scan, empty)
        yield row | {"case": f"part {number}", "way": OTHER, "dice": dict.fromkeys(members, 0.0)}


def judge_scan(predictor: Predictor, quality: Quality, scan: Image, truth: Image) -> dict:
    """What is true of an answer, and what is said of it."""
    volume = predictor.prepare(scan)
    observations = predictor.observe(volume)
    answer = scan.with_array(predictor.labels(volume, observations=observations)[None])
    deep = quality.reference.deep
    measures = predictor.measures(volume, observations, answer, () if deep is None else (deep.fold,))
    said: Assessment = assess(measures, quality)
    volumes = {name: shape.volume for name, shape in measures.shapes.items()}
    reference = label_shapes(truth, volume.geometry, predictor.model.plan)
    return {
        "dice": dice_of(answer.array[0], truth.array[0], predictor.model.plan.labels.members),
        "predicted": {name: expected.dice for name, expected in said.structures.items()},
        "bounds": {name: [expected.dice_low, expected.dice_high] for name, expected in said.structures.items()},
        "volume_bounds": {name: [at.volume_low, at.volume_high] for name, at in said.structures.items()},
        "volume": {name: [volumes[name], reference[name].volume] for name in volumes},
        "flags": [flag.name for flag in said.flags],
        "warnings": list(volume.warnings),
    }


def report_fit(selection: Selection, run: Path) -> None:
    """Print what the fit was worth out of fold."""
    calibration, quality = selection.calibration, selection.quality
    print(f"out of fold in {run.name}: {[step.describe() for step in selection.postprocessing]}")
    if calibration is not None:
        print(
            f"{calibration.scaling.describe()}; ECE {calibration.ece_all}, NLL {calibration.nll}, {calibration.forms}"
        )
        print({name: (round(at.before, 4), round(at.after, 4)) for name, at in calibration.ece.items()})
    if quality is not None:
        print(quality.evidence.model_dump())
        print({name: [(one.figures, one.weights) for one in of[:1]] for name, of in quality.dice.items()})
        print({name: [interval.coverage for interval in of] for name, of in quality.volume.items()})
        print({name: round(tilt.separation, 1) for name, tilt in quality.reference.tilt.items()})


def report(rows: Sequence[dict]) -> None:
    """Print detection and false alarms of each way, and what predicted Dice was worth."""
    bad = [min(value for value in row["dice"].values() if value is not None) < 0.6 for row in rows]
    flagged = [bool(row["flags"] or row["warnings"]) for row in rows]
    print("| way | mean Dice | answers with a structure below 0.6 | of these flagged | of the others flagged |")
    print("|---|---|---|---|---|")
    for way in ("clean", *WAYS, OTHER):
        of = [number for number, row in enumerate(rows) if row["way"] == way]
        if not of:
            continue
        dice = [value for number in of for value in rows[number]["dice"].values() if value is not None]
        counts = [[flagged[number] for number in of if bad[number] == kind] for kind in (True, False)]
        shares = [f"{sum(values)} of {len(values)}" for values in counts]
        print(f"| {way} | {np.mean(dice):.3f} | {len(counts[0])} of {len(of)} | {shares[0]} | {shares[1]} |")
    good_clean = [f for f, b, row in zip(flagged, bad, rows, strict=True) if row["way"] == "clean" and not b]
    print(f"all bad answers flagged: {np.mean([f for f, b in zip(flagged, bad, strict=True) if b]):.3f}; "
          f"clean good answers flagged: {np.mean(good_clean):.3f}")  # fmt: skip
    for kind in ("clean", "all"):
        pairs = [
            (row["predicted"][name], truth, row["bounds"][name])
            for row in rows if kind == "all" or row["way"] == "clean"
            for name, truth in row["dice"].items()
            if truth is not None and row["predicted"].get(name) is not None
        ]  # fmt: skip
        predicted, truth = np.array([pair[:2] for pair in pairs]).T
        inside = np.mean([low <= value <= high for _, value, (low, high) in pairs])
        print(f"{kind}: correlation {np.corrcoef(predicted, truth)[0, 1]:.3f}, mean error "
              f"{np.abs(predicted - truth).mean():.3f}, within the interval {inside:.3f} (n {len(pairs)})")  # fmt: skip
    clean = [row for row in rows if row["way"] == "clean"]
    inside = [row["volume_bounds"][name][0] <= row["volume"][name][1] <= row["volume_bounds"][name][1]
              for row in clean for name in row["volume"] if row["volume_bounds"][name][0] is not None]  # fmt: skip
    print(f"clean: true volume within its interval {np.mean(inside):.3f}")
    flags: dict[str, dict[str, int]] = {}
    for row in rows:
        for flag in row["flags"] + ["warning"] * bool(row["warnings"]):
            of = flags.setdefault(row["way"], {})
            of[flag.split(":")[0]] = of.get(flag.split(":")[0], 0) + 1
    print(json.dumps(flags, indent=1))


if __name__ == "__main__":
    main()
