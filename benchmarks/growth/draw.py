"""The picture and the tables of docs/benchmarks/scaling.md, made of the rows of `growth.py`.

    python benchmarks/growth/draw.py growth.jsonl --picture docs/benchmarks/scaling.svg

Tables are printed, to be put into the page. The exponent is the slope between the two largest sizes of an axis, of
processor time and number of cases or voxels, both as logarithms: 1 is linear.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from math import log
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

UNITS = {"cases": "cases of 24^3 voxels", "voxels": "voxels along an edge, one case", "structures": "", "channels": ""}
EXTENSIVE = ("cases", "voxels")
"""Axes of which the exponent is printed; along the others what does not depend on them weighs most."""
TASKS = ("plan", "preprocess", "step", "predict", "evaluate")
MEASURES = {"cpu_seconds": "processor time (s)", "peak_gb": "peak memory (GB)"}

Rows = dict[str, dict[str, dict[int, dict]]]
"""axis -> task -> size -> row."""


def read_rows(path: Path) -> Rows:
    """The last row of each measurement."""
    rows: Rows = defaultdict(lambda: defaultdict(dict))
    for row in map(json.loads, path.read_text().splitlines()):
        rows[row["axis"]][row["task"]][row["value"]] = row
    return rows


def draw(rows: Rows, path: Path) -> None:
    """A column for each axis: time above, memory below, both on logarithmic axes."""
    mpl.rcParams.update({"svg.hashsalt": "medseg", "svg.fonttype": "none", "font.size": 9})
    axes = [axis for axis in UNITS if axis in rows]
    figure = Figure(figsize=(3.2 * len(axes), 5.4), layout="constrained")
    panels = figure.subplots(2, len(axes), squeeze=False, sharex="col")
    for column, axis in enumerate(axes):
        for line, (measure, name) in enumerate(MEASURES.items()):
            panel = panels[line][column]
            for number, task in enumerate(TASKS):
                points = sorted((size, row[measure]) for size, row in rows[axis].get(task, {}).items())
                if points:
                    panel.plot(*zip(*points, strict=True), marker="o", markersize=3, color=f"C{number}", label=task)
            panel.set(xscale="log", yscale="log", title=axis if line == 0 else "", ylabel="" if column else name)
            panel.yaxis.set_major_formatter("{x:g}")
            panel.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
            panel.yaxis.set_minor_formatter("{x:g}")
            panel.tick_params(axis="y", which="minor", labelsize=6)
            panel.grid(alpha=0.3)
        sizes = sorted({size for task in rows[axis].values() for size in task})
        panels[1][column].set_xticks(sizes, [f"{size:,}" for size in sizes])
        panels[1][column].set_xticks([], minor=True)
        panels[1][column].set_xlabel(UNITS[axis] or axis)
    handles = {
        label: handle for panel in panels[0] for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    tasks = [task for task in TASKS if task in handles]
    figure.legend([handles[task] for task in tasks], tasks, loc="outside lower center", ncols=len(TASKS))
    figure.savefig(path, metadata={"Date": None})


def table(rows: Rows, axis: str) -> str:
    """A row of Markdown for each size: processor time and memory of each task; then the exponents."""
    tasks = [task for task in TASKS if task in rows[axis]]
    sizes = sorted({size for task in tasks for size in rows[axis][task]})
    lines = [f"| {axis} | " + " | ".join(tasks) + " |", "|---" * (len(tasks) + 1) + "|"]
    for size in sizes:
        cells = [_cell(rows[axis][task].get(size)) for task in tasks]
        lines.append(f"| {size:,}{'^3' * (axis == 'voxels')} | " + " | ".join(cells) + " |")
    if axis not in EXTENSIVE:
        return "\n".join(lines)
    exponents = [_exponent(rows[axis][task], axis) for task in tasks]
    return "\n".join([*lines, "| exponent | " + " | ".join(exponents) + " |"])


def _cell(row: dict | None) -> str:
    return "-" if row is None else f"{row['cpu_seconds']:.3g} s, {row['peak_gb']:.2f} GB"


def _exponent(of_task: dict[int, dict], axis: str) -> str:
    """The slope between the two largest sizes; a size in voxels is the cube of its edge."""
    if len(of_task) < 2:
        return "-"
    (small, before), (large, after) = sorted(of_task.items())[-2:]
    power = 3 if axis == "voxels" else 1
    return f"{log(after['cpu_seconds'] / before['cpu_seconds']) / (power * log(large / small)):.2f}"


def main() -> None:
    """Draw, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    rows = read_rows(arguments.rows)
    if arguments.picture:
        draw(rows, arguments.picture)
    print("\n\n".join(table(rows, axis) for axis in UNITS if axis in rows))


if __name__ == "__main__":
    main()
