"""Three commands from a data set to answers: crossval, select, predict; and what each of them brings.

    python benchmarks/accuracy/crossval.py DATA_FOLDER hippocampus --budget 25m
    python benchmarks/accuracy/crossval.py DATA_FOLDER hippocampus --config 2d,3d_fullres --steps 20 --unseen 4 \
        --folder try

DATA_FOLDER and the cases that are taken out are those of benchmarks/accuracy/accuracy.py. Printed are the out-of-fold
Dice of each candidate, its margin to the best, what is done to answers, and on the cases that were taken out: the Dice
of each single fold, of their ensemble, and of the selection. `--folder` keeps everything; the same command goes on
there.
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
from statistics import fmean

import torch
from accuracy import HERE, OPTIONS, link_test_cases, medseg

from medseg.selection.file import read_selection


def score(place: Path, output: str, *model: object) -> float:
    """Predict and score the cases that were taken out; returns their mean Dice."""
    medseg("predict", place / "test" / "images", output, *model, cwd=place)
    medseg("evaluate", output, place / "test" / "labels", "--no-surface", cwd=place)
    metrics = json.loads((place / output / "metrics.json").read_text())
    return metrics["overall"]["measures"]["dice"]["mean"]


def parse() -> argparse.Namespace:
    """Return the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("set", choices=OPTIONS)
    parser.add_argument("--config", default="", help="configurations, joined by commas")
    parser.add_argument("--budget", help="of all folds of all configurations together")
    parser.add_argument("--steps", help="of each fold, instead of a budget")
    parser.add_argument("--unseen", type=int, help="only so many of the cases that were taken out are scored")
    parser.add_argument("--folder", type=Path, help="where everything stays; else a temporary folder")
    parser.add_argument("--plan", nargs=argparse.REMAINDER, default=[], help="further options of medseg plan")
    return parser.parse_args()


def unseen_scores(place: Path, runs: Path) -> dict[str, float]:
    """Return the mean Dice of each configuration, all folds together and one at a time, on the cases taken out."""
    scores = {}
    for member in sorted(run for run in runs.iterdir() if run.is_dir()):
        name = f"{runs.name}/{member.name}"
        folds = sorted(path.name.removeprefix("fold_") for path in member.glob("fold_*"))
        scores[f"{member.name}, all folds"] = score(place, f"all_{member.name}", "--model", name)
        singles = [score(place, f"{member.name}_{fold}", "--model", name, "--folds", fold) for fold in folds]
        scores[f"{member.name}, mean single fold"] = fmean(singles)
    return scores


def chosen(runs: Path) -> dict[str, object]:
    """Return what was selected, with its evidence."""
    selection = read_selection(runs / "selection.yaml")
    assert selection is not None
    assert selection.evidence is not None
    return {
        "cases": selection.evidence.cases,
        "candidates": {
            " + ".join(candidate.configurations): {
                "out of fold": candidate.score,
                "interval": [candidate.low, candidate.high],
                "to the best": None if candidate.behind_best is None else candidate.behind_best.model_dump(),
                "seconds a case": candidate.seconds,
            }
            for candidate in selection.evidence.candidates
        },
        "selected": selection.title,
        "reason": selection.evidence.reason,
        "kept": [step.model_dump(exclude_none=True) for step in selection.postprocessing],
        "not kept": [other.model_dump() for other in selection.rejected],
    }


def main() -> None:
    """Plan, cross-validate, select, predict, evaluate."""
    arguments = parse()
    data, listing = (arguments.data / arguments.set).resolve(), HERE / "test_sets" / f"{arguments.set}.txt"
    place = (arguments.folder or Path(tempfile.mkdtemp(prefix=f"medseg-crossval-{arguments.set}-"))).resolve()
    if not (place / "test").exists():
        link_test_cases(data, {*sorted(listing.read_text().split())[: arguments.unseen]}, place / "test")
    length = ["--steps", arguments.steps] if arguments.steps else ["--budget", arguments.budget or "25m"]
    wanted = ["--config", arguments.config] if arguments.config else []
    planned = [*OPTIONS[arguments.set], *arguments.plan]
    seconds = {}
    if not (place / "plans").exists():
        seconds["plan"] = medseg("plan", data, "--exclude", listing.resolve(), *planned, cwd=place)
    seconds["crossval"] = medseg("crossval", *wanted, *length, cwd=place)
    seconds["select"] = medseg("select", cwd=place)
    start = time.monotonic()
    unseen = {"selection": score(place, "selected")}
    seconds["predict and evaluate"] = time.monotonic() - start
    runs = next((place / "runs").iterdir())
    row = {
        "set": arguments.set,
        "length": " ".join(length),
        **chosen(runs),
        "unseen": unseen | unseen_scores(place, runs),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "machine": f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}",
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }
    print(json.dumps(row, indent=1))
    if arguments.folder is None:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
