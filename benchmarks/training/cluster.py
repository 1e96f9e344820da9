"""What a cluster of this machine gains and costs: hippocampus scans, and many so small that only the overhead counts.

    python benchmarks/training/cluster.py DATA/hippocampus [--scans 60] [--tiny 1000]

The model is planned for the data set by the rules and has random weights, which take as long as trained ones. Seconds
are those of the whole command as a user gives it, start included. A case takes what 1,000 tiny scans take longer than
two, divided by their number; its overhead is what it takes longer on one worker than in one process. The engine's own
part is that of an item that does nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from medseg.commands.data.plan import plan
from medseg.core.machine.parallel import cpu_count
from medseg.engines.open import open_engine
from medseg.models.model import make_network
from medseg.models.record import RunRecord
from medseg.models.run import save_weights
from medseg.models.run_files import PLAN, RunFolder
from medseg.models.workspace import Workspace
from medseg.plans.file import save_plan
from medseg.plans.schema import Plan

_TINY_SHAPE = (8, 10, 12)
WHERE = ("one process", "local:1", "local:2")


def write_model(workspace: Path, planned: Plan, configuration: str) -> str:
    """Write a run with random weights, and return its name."""
    folder = Workspace(workspace).runs / planned.name / configuration
    torch.manual_seed(0)
    save_plan(planned, folder / "fold_0" / PLAN)
    network = make_network(planned, planned.configuration(configuration))
    save_weights(network, RunFolder(folder).fold("0"), RunRecord(configuration=configuration))
    return f"{planned.name}/{configuration}"


@dataclass(frozen=True)
class Took:
    """What a command took: seconds on the wall, and of all its processes together on the processor."""

    seconds: float
    cpu_seconds: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, {self.cpu_seconds:.1f} s of processor time"


def predict(workspace: Path, scans: Path, model: str, where: str) -> Took:
    """Return what `medseg predict` takes, start included."""
    out = workspace / "out"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "medseg", "predict", scans, out, "--model", model, "--device", "cpu"]
    command += [] if where == "one process" else ["--cluster", where]
    before, start = os.times(), time.monotonic()
    subprocess.run([*map(str, command)], cwd=workspace, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Took(time.monotonic() - start, cpu)


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
        for where in WHERE:
            took = predict(workspace, scans, model, where)
            print(f"{options.scans} hippocampus scans, {where}: {took}", flush=True)
        small = write_model(workspace, tiny_plan(planned), "3d_fullres")
        few, many = write_tiny(workspace / "few", 2), write_tiny(workspace / "many", options.tiny)
        of_a_case = {}
        for where in WHERE:
            first, all_of_them = predict(workspace, few, small, where), predict(workspace, many, small, where)
            print(f"{options.tiny} tiny scans, {where}: {all_of_them}; two of them: {first}", flush=True)
            more = options.tiny - 2
            of_a_case[where] = Took(
                (all_of_them.seconds - first.seconds) / more, (all_of_them.cpu_seconds - first.cpu_seconds) / more
            )
            each = of_a_case[where]
            print(f"  a case: {1000 * each.seconds:.1f} ms, {1000 * each.cpu_seconds:.1f} ms of processor time")
        one, cluster = of_a_case["one process"], of_a_case["local:1"]
        wall, cpu = cluster.seconds - one.seconds, cluster.cpu_seconds - one.cpu_seconds
        print(f"overhead of a case: {1000 * wall:.1f} ms, {1000 * cpu:.1f} ms of processor time")
        print(f"overhead of the engine alone: {1000 * engine_seconds(options.tiny):.1f} ms")


if __name__ == "__main__":
    main()
