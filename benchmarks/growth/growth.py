"""How cost grows: time and memory of plan, preprocessing, a training step, predict and evaluate, on made-up data.

    python benchmarks/growth/growth.py --rows growth.jsonl             # goes on where an earlier call was stopped
    python benchmarks/growth/growth.py --rows quick.jsonl --quick      # a few minutes: does everything work?
    python benchmarks/growth/growth.py --rows growth.jsonl --tasks plan --axes cases

Along an axis one size grows while the others stay: cases (of 24^3 voxels), voxels (one case), structures and channels
(4 cases of 64^3). Each measurement is a process of its own: whole commands from start to end, with their start-up, but
for a step, which is the median of some. Memory is the largest proportional set size of the process and its children.
`draw.py` makes tables and a picture of the rows.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "prediction"))

import numpy as np
from made_up import SPACING_MM, label_map, make_model, make_set
from watch import Watched, watch

from medseg.core.image import Image
from medseg.io.images import write_label
from medseg.plans.file import load_plan

HERE = Path(__file__).parent
MEDSEG = [sys.executable, "-m", "medseg"]
TASKS = ("plan", "preprocess", "step", "predict", "evaluate")


@dataclass(frozen=True)
class Size:
    """The size of a data set: cases, voxels along each edge, structures and channels."""

    cases: int = 4
    side: int = 64
    structures: int = 3
    channels: int = 1

    @property
    def name(self) -> str:
        """Its folder."""
        return f"c{self.cases}_v{self.side}_s{self.structures}_ch{self.channels}"


AXES = {
    "cases": [Size(cases=cases, side=24) for cases in (10, 100, 1000, 10_000)],
    "voxels": [Size(cases=1, side=side) for side in (32, 64, 128, 256, 512, 768)],
    "structures": [Size(structures=structures) for structures in (1, 10, 50, 100, 200)],
    "channels": [Size(channels=channels) for channels in (1, 2, 4, 8)],
}
QUICK = {"cases": 2, "voxels": 3, "structures": 2, "channels": 2}
"""How many sizes of an axis `--quick` measures."""
MOST = {("step", "cases"): 1000, ("step", "voxels"): 256}
"""Largest cases or sides of a task and axis: more would take long and teach nothing, as a patch stays a patch."""


def value_of(axis: str, size: Size) -> int:
    """What grows along an axis."""
    return size.side if axis == "voxels" else int(getattr(size, axis))


class Bench:
    """Data, plans and models that measurements share; each is made when it is first needed.

    Args:
        place: the folder for all of it.
    """

    def __init__(self, place: Path) -> None:
        self.place = place

    def measure(self, task: str, size: Size) -> dict[str, float]:
        """Run one measurement and return its figures."""
        folder = self.place / size.name
        data = make_set(folder / "data", size.cases, size.side, size.structures, size.channels)
        if task == "plan":
            shutil.rmtree(folder / "plans", ignore_errors=True)
            return figures(self._plan(folder, data))
        if task == "evaluate":
            out, reference = folder / "scores", data / "labelsTr"
            shutil.rmtree(out, ignore_errors=True)
            command = [*MEDSEG, "evaluate", moved_labels(folder, size), reference, "--output", out]
            return figures(watch(command, least=2.0))
        plan_path = folder / "plans" / "set.yaml"
        if not plan_path.exists():
            self._plan(folder, data)
        if task == "predict":
            return figures(self._predict(folder, plan_path, data))
        if task == "preprocess":
            shutil.rmtree(folder / "cache", ignore_errors=True)
        steps = 5 if task == "step" else 0
        work = [sys.executable, HERE / "work.py", task, plan_path, data, folder / "cache", steps]
        watched = watch(work, least=2.0)
        if task == "preprocess":
            return figures(watched)
        printed = json.loads(watched.output.strip().splitlines()[-1])
        return {**figures(watched), **{name: round(value, 3) for name, value in printed.items()}}

    @staticmethod
    def _plan(folder: Path, data: Path) -> Watched:
        command = [*MEDSEG, "plan", data, "--name", "set", "--workspace", folder, "--preset", "cpu"]
        return watch(command, least=2.0)

    @staticmethod
    def _predict(folder: Path, plan_path: Path, data: Path) -> Watched:
        plan = load_plan(plan_path)
        model = folder / "runs" / "set" / plan.default_configuration
        if not model.exists():
            make_model(plan, model)
        shutil.rmtree(folder / "answers", ignore_errors=True)
        command = [*MEDSEG, "predict", data / "imagesTr", folder / "answers", "--model", model, "--no-mirror"]
        return watch(command, least=2.0)


def moved_labels(folder: Path, size: Size) -> Path:
    """Return a folder of label maps that differ a little from the reference: those of other seeds, same names."""
    place = folder / "moved"
    if not place.exists():
        place.mkdir()
        affine = np.diag([-SPACING_MM, -SPACING_MM, SPACING_MM, 1.0])
        for case in range(size.cases):
            label = label_map(size.side, size.structures, size.cases + case)
            write_label(place / f"case{case:05}.nii.gz", Image(label[None], affine))
    return place


def figures(watched: Watched) -> dict[str, float]:
    """The figures of a command."""
    return {
        "seconds": round(watched.seconds, 3),
        "cpu_seconds": round(watched.cpu_seconds, 3),
        "peak_gb": round(watched.peak_gb, 3),
    }


def main() -> None:
    """Measure what has no row yet, and add a line of JSON for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True, help="the file of rows, which is added to")
    parser.add_argument("--folder", type=Path, help="where data and models stay, to be used again")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--axes", nargs="+", choices=list(AXES), default=list(AXES))
    parser.add_argument("--most", type=int, help="leave out values above this")
    parser.add_argument("--quick", action="store_true", help="only the smallest sizes of each axis")
    arguments = parser.parse_args()
    place = arguments.folder or Path(tempfile.mkdtemp(prefix="medseg-growth-"))
    lines = arguments.rows.read_text().splitlines() if arguments.rows.exists() else []
    done = {(row["task"], row["axis"], row["value"]) for row in map(json.loads, lines)}
    for axis in arguments.axes:
        for size in AXES[axis][: QUICK[axis] if arguments.quick else None]:
            for task in arguments.tasks:
                value = value_of(axis, size)
                most = min(MOST.get((task, axis), value), arguments.most or value)
                if (task, axis, value) in done or value > most:
                    continue
                row = {"task": task, "axis": axis, "value": value, **Bench(place).measure(task, size)}
                with arguments.rows.open("a") as stream:
                    stream.write(json.dumps({**row, "cores": os.cpu_count()}) + "\n")
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
