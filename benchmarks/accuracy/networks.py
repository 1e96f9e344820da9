"""Every network on one data set, the whole way: plan, train, package, predict from the package, evaluate.

    OMP_NUM_THREADS=1 python benchmarks/accuracy/networks.py DATA_FOLDER nuclei --place P --seconds 60
    OMP_NUM_THREADS=1 python benchmarks/accuracy/networks.py DATA_FOLDER hippocampus --place P --seconds 60 \
        --networks vnet unetr

DATA_FOLDER holds the sets, as for benchmarks/accuracy/accuracy.py, whose test cases these are: the cases are left out
of the plan and scored at the end; all others are trained on. One seed, no mirrored copies, patches smaller than planned
(`PATCHES`). Else each network has the settings that the plan's rules give it: nothing is tuned. It trains for as many
steps as `--seconds` of processor time hold, at the speed measured just before (`cpu_steps.py`), or for `--steps`. Rows
lie in P/rows.jsonl: what is there is not run again. The last thing printed is the table of docs/benchmarks/networks.md.
A network that fails has a row that says so. Networks on a pretrained encoder start from random weights here (see
benchmarks/accuracy/pretrained.py), and need an environment with `medseg[encoders]`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import resource
import shutil
import time
from pathlib import Path
from typing import Any

from accuracy import HERE, link_test_cases
from cpu_steps import FEW_VALIDATIONS, WHOLE_SET, cpu_seconds_a_step
from monai.networks import nets as _nets  # noqa: F401 (imported once for all rows)
from safetensors import safe_open

import medseg
from medseg.networks.encoders.rows import ENCODER_ROWS
from medseg.networks.table import NETWORKS

DIMENSIONS = {"hippocampus": 3}
"""Sets that are not 2D."""
STRUCTURES = {"hippocampus": (), "nuclei": ("nucleus=255",)}
"""Name of a set -> what its labels hold, where it does not say so itself."""
PATCHES = {
    "hippocampus": "configurations.3d_fullres.patch_voxels=[32,32,32]",
    "nuclei": "configurations.2d.patch_voxels=[128,128]",
}
"""Name of a set -> a patch smaller than planned, of which a short time holds more steps."""
LARGER = {"swin_unetr": "configurations.3d_fullres.patch_voxels=[32,32,64]"}
"""Networks that do not take such a volume -> the next one that they take."""
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Tensors of batch normalization that no step trains."""


def count_parameters(weights: Path) -> int:
    """Return the number of trained values of a weights file."""
    with safe_open(weights, "pt") as file:
        return sum(
            file.get_tensor(name).numel()
            for name in file.keys()  # noqa: SIM118 (no mapping)
            if not name.endswith(_STATISTICS)
        )


def run(network: str, data: Path, place: Path, seconds: float, steps: int | None) -> dict[str, Any]:
    """Plan, train, package, predict and evaluate in this process; return scores, size, speed and memory of training."""
    listing = (HERE / "test_sets" / f"{data.name}.txt").resolve()
    link_test_cases(data, set(listing.read_text().split()), place / "test")
    of_data = medseg.DataOptions(exclude=listing, structures=STRUCTURES[data.name])
    patch = LARGER.get(network, PATCHES[data.name]) if data.name in DIMENSIONS else PATCHES[data.name]
    options = medseg.PlanOptions(preset="cpu", network=network, overrides=[patch], data=of_data)
    medseg.plan(data, place, network, options)
    step_seconds = cpu_seconds_a_step(place, network)
    steps = steps or max(1, round(seconds / step_seconds))
    training = medseg.TrainOptions(fold=WHOLE_SET, steps=steps, overrides=list(FEW_VALIDATIONS))
    record = medseg.train(network, place, training).record
    memory_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    packed = medseg.package(network, place / "model.medseg", place).path
    medseg.predict(place / "test" / "images", place / "out", packed, options=medseg.PredictOptions(mirror=False))
    scored = medseg.evaluate(place / "out", place / "test" / "labels", options=medseg.EvaluateOptions(surface=False))
    if scored.failed or not scored.summary.cases:
        raise RuntimeError(f"not all cases were scored: {scored.failed}")
    return {
        **{measure: scored.summary.overall[measure].mean for measure in ("dice", "iou")},
        "parameters": count_parameters(next(place.glob("runs/*/*/fold_all")) / "weights.safetensors"),
        "steps": steps,
        "seconds_a_step": step_seconds,
        "train_gb": memory_gb,
        "precision": record.precision,
        "torch": record.torch,
    }


def measure(network: str, arguments: argparse.Namespace, data: Path) -> dict[str, Any]:
    """Return the row of a network, from a process of its own, whose memory is that of one network."""
    place, began = arguments.place / network, time.monotonic()
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    row: dict[str, Any] = {"network": network, "set": data.name, "seconds": arguments.seconds}
    result, child = place / "row.json", os.fork()  # a process of its own, which need not import everything again
    if child == 0:
        try:
            content = run(network, data, place, arguments.seconds, arguments.steps)
        except BaseException as error:
            content = {"failed": f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"}
        result.write_text(json.dumps(content))
        os._exit(0)
    os.waitpid(child, 0)
    content = json.loads(result.read_text()) if result.exists() else {"failed": "the process was ended"}
    if "failed" in content:
        return row | content
    shutil.rmtree(place)
    return row | {
        **content,
        "row_seconds": round(time.monotonic() - began, 1),
        "machine": f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}",
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "date": time.strftime("%Y-%m-%d"),
    }


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
    parser.add_argument("set", choices=STRUCTURES)
    parser.add_argument("--place", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60.0, help="processor time of training")
    parser.add_argument("--steps", type=int, help="number of steps in its place")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS)
    arguments = parser.parse_args()
    arguments.place = arguments.place.resolve()
    arguments.place.mkdir(parents=True, exist_ok=True)
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
