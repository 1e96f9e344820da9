"""What a cluster of this machine gains and costs: hippocampus scans, and many so small that only the overhead counts.

    python benchmarks/training/cluster.py DATA/hippocampus [--scans 60] [--tiny 1000]

The model is planned for the data set by the rules and has random weights, which take as long as trained ones. Seconds
are those of the whole command as a user gives it, start included. The overhead of a case is what 1,000 tiny scans take
longer on one worker than in one process, divided by their number; that of the engine alone, an item that does nothing.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from medseg.commands.data.plan import plan
from medseg.core.parallel import cpu_count
from medseg.engines.open import open_engine
from medseg.models.model import make_network
from medseg.models.record import RunRecord
from medseg.models.run import save_weights
from medseg.models.run_files import PLAN, RunFolder
from medseg.models.workspace import Workspace
from medseg.plans.file import save_plan
from medseg.plans.schema import Plan

_TINY_SHAPE = (8, 10, 12)


def write_model(workspace: Path, planned: Plan, configuration: str) -> str:
    """Write a run with random weights, and return its name."""
    folder = Workspace(workspace).runs / planned.name / configuration
    torch.manual_seed(0)
    save_plan(planned, folder / "fold_0" / PLAN)
    network = make_network(planned, planned.configuration(configuration))
    save_weights(network, RunFolder(folder).fold("0"), RunRecord(configuration=configuration))
    return f"{planned.name}/{configuration}"


def seconds_of(workspace: Path, scans: Path, model: str, *more: str) -> float:
    """Return how long `medseg predict` takes, start included."""
    out = workspace / "out"
    shutil.rmtree(out, ignore_errors=True)
    command = [
        sys.executable,
        "-m",
        "medseg",
        "predict",
        str(scans),
        str(out),
        "--model",
        model,
        "--device",
        "cpu",
        *more,
    ]
    start = time.monotonic()
    subprocess.run(command, cwd=workspace, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def write_tiny(folder: Path, count: int) -> Path:
    """Write scans of a few hundred voxels."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        array = rng.normal(100, 20, _TINY_SHAPE).astype(np.float32)
        nib.save(nib.Nifti1Image(array, np.eye(4)), folder / f"tiny{number:04d}_0000.nii.gz")
    return folder


def tiny_plan(planned: Plan) -> Plan:
    """Return a plan with a network of a few weights, for scans like those of `write_tiny`."""
    values = planned.model_dump(mode="json")
    configuration = values["configurations"]["3d_fullres"]
    configuration.update(patch_voxels=[8, 8, 8], spacing_mm=[1, 1, 1], median_shape_voxels=list(_TINY_SHAPE[::-1]))
    network = configuration["network"]
    stages = 2
    for key in ("features", "kernels", "strides", "blocks"):
        network[key] = network[key][:stages]
    network["features"], network["decoder_convolutions"] = [4, 8], network["decoder_convolutions"][: stages - 1]
    values["inference"].update(mirror=False, unlike_scans="warn")
    return Plan.model_validate(values).model_copy(update={"name": "tiny"})


def engine_seconds(items: int) -> float:
    """Return the seconds of an item that does nothing, on one worker that has begun."""
    with open_engine("local:1") as engine:
        list(engine.map(abs, range(10)))
        start = time.monotonic()
        list(engine.map(abs, range(items)))
        return (time.monotonic() - start) / items


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--scans", type=int, default=60)
    parser.add_argument("--tiny", type=int, default=1000)
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        planned = plan(options.data, workspace, "hippocampus").plan
        scans = workspace / "scans"
        scans.mkdir()
        for path in sorted((options.data / "imagesTr").glob("*.nii.gz"))[: options.scans]:
            shutil.copy(path, scans)
        model = write_model(workspace, planned, planned.default_configuration)
        for where, more in (
            ("one process", ()),
            ("local:1", ("--cluster", "local:1")),
            ("local:2", ("--cluster", "local:2")),
        ):
            took = seconds_of(workspace, scans, model, *more)
            print(f"{options.scans} hippocampus scans, {where}: {took:.1f} s", flush=True)
        one = seconds_of(workspace, write_tiny(workspace / "one", 1), model)
        tiny, small = (
            write_tiny(workspace / "tiny", options.tiny),
            write_model(workspace, tiny_plan(planned), "3d_fullres"),
        )
        figures = {}
        for where, more in (
            ("one process", ()),
            ("local:1", ("--cluster", "local:1")),
            ("local:2", ("--cluster", "local:2")),
        ):
            figures[where] = seconds_of(workspace, tiny, small, *more)
            print(f"{options.tiny} tiny scans, {where}: {figures[where]:.1f} s", flush=True)
        overhead = (figures["local:1"] - figures["one process"]) / options.tiny
        print(f"overhead of a case: {1000 * overhead:.1f} ms (one scan takes {one:.1f} s, start included)")
        print(f"overhead of the engine alone: {1000 * engine_seconds(options.tiny):.1f} ms")


if __name__ == "__main__":
    main()
