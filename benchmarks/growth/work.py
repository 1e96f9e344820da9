"""One measurement of `growth.py` that is not a command of its own: preprocessing, or training steps."""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import torch

from medseg.models.model import make_network
from medseg.models.run_files import FoldFolder
from medseg.models.workspace import plan_cases
from medseg.networks.device import choose_precision
from medseg.plans.file import load_plan
from medseg.preprocessing.cache import load_samples
from medseg.training.length.course import Course
from medseg.training.run.setup import Setup
from medseg.training.step.trainer import Trainer

WARM_UP = 1


def main(what: str, plan_path: Path, data: Path, cache: Path, steps: int) -> dict[str, float]:
    """Preprocess all cases of a plan; for `step`, from a cache that is filled, make some training steps."""
    plan = load_plan(plan_path)
    configuration = plan.configuration(plan.default_configuration)
    began = time.perf_counter()
    samples, failed = load_samples(plan_cases(plan_path, data, plan), plan, configuration, cache)
    if failed:
        raise SystemExit(f"{len(failed)} cases failed: {next(iter(failed.values()))}")
    seconds, cpu = [time.perf_counter() - began], [time.process_time()]
    if what == "step":
        torch.manual_seed(0)
        device = torch.device("cpu")
        network = make_network(plan, configuration)
        precision = choose_precision(plan.training.precision, device)
        setup = Setup(plan, configuration, Course.over(1000), device, precision, FoldFolder(Path()))
        trainer, batches = Trainer(network, setup), setup.batches(samples)
        seconds, cpu = [], []
        for step in range(WARM_UP + steps):
            began, began_cpu = time.perf_counter(), time.process_time()
            trainer.step(setup, step, batches.make(step)).item()
            seconds.append(time.perf_counter() - began)
            cpu.append(time.process_time() - began_cpu)
        seconds, cpu = seconds[WARM_UP:], cpu[WARM_UP:]
    voxels = configuration.batch_size
    for size in configuration.patch_voxels:
        voxels *= size
    return {"seconds": statistics.median(seconds), "cpu_seconds": statistics.median(cpu), "batch_voxels": voxels}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]))))
