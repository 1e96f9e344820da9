"""Every network on one data set, the whole way: plan, train, package, predict from the package, evaluate.

    python benchmarks/networks.py DATA_FOLDER nuclei --place P --budget 3m
    python benchmarks/networks.py DATA_FOLDER hippocampus --place P --budget 3m --networks plain_unet vnet unetr

DATA_FOLDER holds the sets, as for benchmarks/accuracy.py, whose options and test cases these are: the cases are left
out of the plan and scored at the end. One seed. Each network has the settings that the plan's rules give it: nothing is
tuned. Rows lie in P/rows.jsonl: what is there is not run again. The last thing printed is the table of
docs/networks.md. A network that fails has a row that says so. Networks on a pretrained encoder start from random
weights here (see benchmarks/pretrained.py), and need an environment with `medseg[encoders]`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

from accuracy import HERE, OPTIONS, link_test_cases
from safetensors import safe_open

from medseg.networks.table import NETWORKS

DIMENSIONS = {"hippocampus": 3, "brain_tumour": 3}
"""Sets that are not 2D."""
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Tensors of batch normalization that no step trains."""


def medseg(*arguments: object, cwd: Path) -> float:
    """Run a command and return the largest resident memory that it had, in GB (helper processes not added)."""
    command = [sys.executable, "-m", "medseg", *map(str, arguments)]
    print("$ medseg", *command[3:], flush=True)
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    messages = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        errors = [line for line in messages.splitlines() if line.startswith("error")]
        raise RuntimeError(errors[-1] if errors else f"medseg {arguments[0]} ended with {status}")
    return usage.ru_maxrss * 1024 / 1e9


def count_parameters(weights: Path) -> int:
    """Return the number of trained values of a weights file."""
    with safe_open(weights, "pt") as file:
        return sum(
            file.get_tensor(name).numel()
            for name in file.keys()  # noqa: SIM118 (no mapping)
            if not name.endswith(_STATISTICS)
        )


def measure(network: str, arguments: argparse.Namespace, data: Path) -> dict[str, object]:
    """Return the row of a network: scores of the test cases, size, time of a step, memory of training."""
    place = arguments.place / network
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    listing = (HERE / "test_sets" / f"{data.name}.txt").resolve()
    link_test_cases(data, set(listing.read_text().split()), place / "test")
    options = ["--exclude", listing, "--preset", "cpu", "--network", network, *OPTIONS[data.name]]
    row: dict[str, object] = {"network": network, "set": data.name, "budget": arguments.budget}
    try:
        medseg("plan", data, "--name", network, *options, "--set", "training.seed=0", cwd=place)
        row["train_gb"] = medseg("train", "--fold", 0, "--budget", arguments.budget, cwd=place)
        medseg("package", network, "model.medseg", cwd=place)
        medseg("predict", place / "test" / "images", "out", "--model", "model.medseg", cwd=place)
        medseg("evaluate", "out", place / "test" / "labels", cwd=place)
    except RuntimeError as error:
        return row | {"failed": str(error)}
    fold = next(place.glob("runs/*/*/fold_0"))
    record = json.loads((fold / "run.json").read_text())
    measures = json.loads((place / "out" / "metrics.json").read_text())["overall"]["measures"]
    return row | {
        "dice": measures["dice"]["mean"],
        "iou": measures["iou"]["mean"],
        "parameters": count_parameters(fold / "weights.safetensors"),
        "steps": record["steps"],
        "seconds_a_step": record["train_seconds"] / record["steps"],
        "machine": f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}",
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "precision": record["precision"],
        "torch": record["torch"],
        "date": time.strftime("%Y-%m-%d"),
    }


def table(rows: list[dict[str, object]]) -> str:
    """Return the rows as a Markdown table, the U-Net first, then by Dice."""
    lines = [
        "| network | Dice | IoU | parameters (M) | steps | s a step | memory (GB) |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (row["network"] != "plain_unet", -float(row.get("dice", -1)))):  # type: ignore[arg-type]
        if "failed" in row:
            lines.append(f"| `{row['network']}` | {row['failed']} | | | | | |")
        else:
            lines.append(
                f"| `{row['network']}` | {row['dice']:.3f} | {row['iou']:.3f} | {row['parameters'] / 1e6:.2f} "  # type: ignore[operator]
                f"| {row['steps']} | {row['seconds_a_step']:.2f} | {row['train_gb']:.1f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Run what has no row yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("set", choices=OPTIONS)
    parser.add_argument("--place", type=Path, required=True)
    parser.add_argument("--budget", default="3m")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS)
    arguments = parser.parse_args()
    arguments.place = arguments.place.resolve()
    arguments.place.mkdir(parents=True, exist_ok=True)
    data, record = (arguments.data / arguments.set).resolve(), arguments.place / "rows.jsonl"
    done = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    dimensions = DIMENSIONS.get(arguments.set, 2)
    smp = all(importlib.util.find_spec(name) for name in ("segmentation_models_pytorch", "torchvision"))
    for network in arguments.networks or NETWORKS:
        row = NETWORKS[network]
        needs_smp = row.dimensions == (2,) and network != "cenet"
        if network in {one["network"] for one in done} or dimensions not in row.dimensions or (needs_smp and not smp):
            continue
        done.append(measure(network, arguments, data))
        with record.open("a") as file:
            file.write(json.dumps(done[-1]) + "\n")
        print(json.dumps(done[-1]), flush=True)
    print(table(done))


if __name__ == "__main__":
    main()
