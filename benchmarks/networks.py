"""Every network on one data set, the whole way: plan, train, package, predict from the package, evaluate.

    OMP_NUM_THREADS=1 python benchmarks/networks.py DATA_FOLDER nuclei --place P --seconds 60
    OMP_NUM_THREADS=1 python benchmarks/networks.py DATA_FOLDER hippocampus --place P --seconds 60 --networks vnet unetr

DATA_FOLDER holds the sets, as for benchmarks/accuracy.py, whose options and test cases these are: the cases are left
out of the plan and scored at the end; all others are trained on. One seed, no mirrored copies. Each network has the
settings that the plan's rules give it: nothing is tuned. It trains for as many steps as `--seconds` of processor time
hold, at the speed measured just before (`cpu_steps.py`), or for `--steps`. Rows lie in P/rows.jsonl: what is there is
not run again. The last thing printed is the table of docs/benchmarks-networks.md. A network that fails has a row that
says so. Networks on a pretrained encoder start from random weights here (see benchmarks/pretrained.py), and need an
environment with `medseg[encoders]`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from accuracy import HERE, OPTIONS, link_test_cases
from safetensors import safe_open

from medseg.networks.encoders.rows import ENCODER_ROWS
from medseg.networks.table import NETWORKS

DIMENSIONS = {"hippocampus": 3, "brain_tumour": 3}
"""Sets that are not 2D."""
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Tensors of batch normalization that no step trains."""


def medseg(*arguments: object, cwd: Path) -> None:
    """Run a command; raise with its last error where it fails."""
    command = [sys.executable, "-m", "medseg", *map(str, arguments)]
    print("$ medseg", *command[3:], flush=True)
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("error")]
        raise RuntimeError(errors[-1] if errors else f"medseg {arguments[0]} ended with {done.returncode}")


def count_parameters(weights: Path) -> int:
    """Return the number of trained values of a weights file."""
    with safe_open(weights, "pt") as file:
        return sum(
            file.get_tensor(name).numel()
            for name in file.keys()  # noqa: SIM118 (no mapping)
            if not name.endswith(_STATISTICS)
        )


def train(workspace: Path, plan: str, steps: int | None, seconds: float) -> dict[str, Any]:
    """Train on all cases of a plan, in this process, and return its speed and the most memory that it had."""
    from cpu_steps import FEW_VALIDATIONS, WHOLE_SET, cpu_seconds_a_step

    import medseg

    step_seconds = cpu_seconds_a_step(workspace, plan)
    steps = steps or max(1, round(seconds / step_seconds))
    options = medseg.TrainOptions(fold=WHOLE_SET, steps=steps, overrides=list(FEW_VALIDATIONS))
    medseg.train(plan, workspace, options)
    memory_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"seconds_a_step": step_seconds, "train_gb": memory_gb}


def train_apart(place: Path, network: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train in a process of its own, whose memory is that of one network."""
    command = [sys.executable, __file__, str(arguments.data), arguments.set, "--place", str(place)]
    command += ["--train", network, "--seconds", str(arguments.seconds)]
    command += ["--steps", str(arguments.steps)] if arguments.steps else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    return json.loads(done.stdout.splitlines()[-1])


def measure(network: str, arguments: argparse.Namespace, data: Path) -> dict[str, Any]:
    """Return the row of a network: scores of the test cases, size, time of a step, memory of training."""
    place, began = arguments.place / network, time.monotonic()
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    listing = (HERE / "test_sets" / f"{data.name}.txt").resolve()
    link_test_cases(data, set(listing.read_text().split()), place / "test")
    options = ["--exclude", listing, "--preset", "cpu", "--network", network, *OPTIONS[data.name]]
    row: dict[str, Any] = {"network": network, "set": data.name, "seconds": arguments.seconds}
    try:
        medseg("plan", data, "--name", network, *options, cwd=place)
        row |= train_apart(place, network, arguments)
        medseg("package", network, "model.medseg", cwd=place)
        medseg("predict", place / "test" / "images", "out", "--model", "model.medseg", "--no-mirror", cwd=place)
        medseg("evaluate", "out", place / "test" / "labels", "--no-surface", cwd=place)
    except RuntimeError as error:
        return row | {"failed": str(error)}
    fold = next(place.glob("runs/*/*/fold_all"))
    record = json.loads((fold / "run.json").read_text())
    measures = json.loads((place / "out" / "metrics.json").read_text())["overall"]["measures"]
    row |= {
        "dice": measures["dice"]["mean"],
        "iou": measures["iou"]["mean"],
        "parameters": count_parameters(fold / "weights.safetensors"),
        "steps": record["steps"],
        "row_seconds": round(time.monotonic() - began, 1),
        "machine": f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}",
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "precision": record["precision"],
        "torch": record["torch"],
        "date": time.strftime("%Y-%m-%d"),
    }
    shutil.rmtree(place)
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table, the U-Net first, then by Dice."""
    lines = [
        "| network | Dice | IoU | parameters (M) | steps | s a step | memory (GB) |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (row["network"] != "plain_unet", -float(row.get("dice", -1)))):
        if "failed" in row:
            lines.append(f"| `{row['network']}` | {row['failed']} | | | | | |")
        else:
            lines.append(
                f"| `{row['network']}` | {row['dice']:.3f} | {row['iou']:.3f} | {row['parameters'] / 1e6:.2f} "
                f"| {row['steps']} | {row['seconds_a_step']:.2f} | {row['train_gb']:.1f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Run what has no row yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("set", choices=OPTIONS)
    parser.add_argument("--place", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60.0, help="processor time of training")
    parser.add_argument("--steps", type=int, help="number of steps in its place")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS)
    parser.add_argument("--train", metavar="NETWORK", help=argparse.SUPPRESS)  # how the script calls itself
    arguments = parser.parse_args()
    arguments.place = arguments.place.resolve()
    arguments.place.mkdir(parents=True, exist_ok=True)
    if arguments.train:
        print(json.dumps(train(arguments.place, arguments.train, arguments.steps, arguments.seconds)))
        return
    data, record = (arguments.data / arguments.set).resolve(), arguments.place / "rows.jsonl"
    done = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    dimensions = DIMENSIONS.get(arguments.set, 2)
    smp = all(importlib.util.find_spec(name) for name in ("segmentation_models_pytorch", "torchvision"))
    for network in arguments.networks or NETWORKS:
        impossible = dimensions not in NETWORKS[network].dimensions or (network in ENCODER_ROWS and not smp)
        if impossible or network in {row["network"] for row in done}:
            continue
        done.append(measure(network, arguments, data))
        with record.open("a") as file:
            file.write(json.dumps(done[-1]) + "\n")
        print(json.dumps(done[-1]), flush=True)
    print(table(done))


if __name__ == "__main__":
    main()
