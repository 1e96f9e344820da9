"""The training step and the whole loop on a GPU, every way to compute them, in one command of less than ten minutes.

    PYTHONPATH=. python benchmarks/training/gpu_train.py --out gpu_train.json
    PYTHONPATH=. python benchmarks/training/gpu_train.py --device cpu --tiny     # does everything work?

Needs torch (2.8 or later), numpy, scipy, and five wheels that a machine without a network may lack: pydantic,
pydantic-core, annotated-types, typing-inspection, isal (typing-extensions comes with torch). Nothing is read.

First the loss curve of every arm is compared with that of plain torch from the same weights and batches; an arm whose
losses differ by more than rounding is called WRONG. Then its steps are timed, by task. `loop` is the whole loop, with
patches drawn and augmented as nnU-Net does from volumes on the device. Order of work: what matters most comes first,
and what the time limit leaves no room for is named.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from medseg.core.case import Case
from medseg.models.model import make_network
from medseg.models.run_files import FoldFolder
from medseg.networks.device import choose_precision
from medseg.networks.slow_convolution_check import slow_convolution
from medseg.planning.recipe import inference_recipe, training_recipe
from medseg.plans.schema import Plan
from medseg.preprocessing.cache import Sample
from medseg.training.data.batches import Batch
from medseg.training.length.course import Course
from medseg.training.run.setup import Setup
from medseg.training.step.trainer import Trainer

CURVE_STEPS = 10
LARGEST_DIFFERENCE = 0.03  # of bf16 losses around 1 that were summed in another order
WARM_UP = 6


@dataclass(frozen=True)
class Task:
    """A network, a patch and a batch, as nnU-Net plans them."""

    patch: tuple[int, ...]
    batch: int
    channels: int
    classes: int
    features: tuple[int, ...]
    volume: tuple[int, ...]


LARGE = (32, 64, 128, 256, 320, 320)
TASKS = {
    "128^3 b2": Task((128,) * 3, 2, 1, 3, LARGE, (192,) * 3),
    "40x56x40 b9": Task((40, 56, 40), 9, 1, 3, (32, 64, 128, 256), (40, 56, 40)),
    "128^3 b2, 4 channels": Task((128,) * 3, 2, 4, 4, LARGE, (192,) * 3),
    "128^3 b2, 105 classes": Task((128,) * 3, 2, 1, 105, LARGE, (192,) * 3),
    "512^2 b12": Task((512, 512), 12, 1, 3, (32, 64, 128, 256, 512, 512, 512, 512), (12, 640, 640)),
}
TINY = {
    "16^3 b2": Task((16,) * 3, 2, 1, 3, (4, 8), (24,) * 3),
    "16^3 b2, 4 channels": Task((16,) * 3, 2, 4, 4, (4, 8), (24,) * 3),
    "32^2 b3": Task((32, 32), 3, 1, 3, (4, 8, 8), (4, 40, 40)),
}


@dataclass(frozen=True)
class Arm:
    """A way to compute a step."""

    graph: bool = False
    compiled: bool = False
    channels_last: bool = False


ARMS = {
    "eager": Arm(),
    "graph": Arm(graph=True),
    "channels_last": Arm(channels_last=True),
    "channels_last+graph": Arm(channels_last=True, graph=True),
    "compile": Arm(compiled=True),
    "compile+graph": Arm(compiled=True, graph=True),
    "compile+channels_last": Arm(compiled=True, channels_last=True),
}


def plan_of(task: Task, graph: bool) -> Plan:
    """nnU-Net's recipe for a task."""
    axes, stages = len(task.patch), len(task.features)
    spline = {"order": 3, "order_across": 0, "separate_axis": None}
    configuration = {
        "spacing_mm": [1.0] * axes,
        "median_shape_voxels": list(task.volume[-axes:]),
        "patch_voxels": list(task.patch),
        "batch_size": task.batch,
        "batch_dice": False,
        "normalization": [{"scheme": "zscore"}] * task.channels,
        "resample_image": spline,
        "resample_label": {**spline, "order": 1},
        "resample_logits": {**spline, "order": 1},
        "rotation_degrees": [180.0] if axes == 2 else [30.0] * 3,
        "in_plane_only": axes == 2,
        "mirror_axes": list(range(axes)),
        "network": {
            "name": "plain_unet",
            "features": list(task.features),
            "kernels": [[3] * axes] * stages,
            "strides": [[1] * axes, *[[2] * axes] * (stages - 1)],
            "blocks": [2] * stages,
            "decoder_convolutions": [2] * (stages - 1),
        },
    }
    training, _ = training_recipe("gpu", axes)
    training |= {"steps": 1000, "cuda_graph": graph, "validations": 1, "validation_cases": 1}
    names = {f"structure_{number}": number for number in range(1, task.classes)}
    data = {
        "folder": "data",
        "layout": "pairs",
        "dimensions": axes,
        "channels": [f"channel_{number}" for number in range(task.channels)],
        "cases": 4,
        "patient_pattern": None,
        "spacing_known": True,
        "intensities": [],
        "structure_cases": dict.fromkeys(names, 4),
        "structure_volume": dict.fromkeys(names, 0.1),
    }
    return Plan.model_validate(
        {
            "schema_version": 1,
            "name": "benchmark",
            "made_by": "a benchmark",
            "request": {"planner": "default", "memory_gb": None, "preset": "gpu", "options": {}},
            "data": data,
            "labels": {"structures": names},
            "orientation": "stored",
            "transpose_forward": [0, 1, 2],
            "default_configuration": "main",
            "configurations": {"main": configuration},
            "training": training,
            "inference": inference_recipe(),
        }
    )


def samples_of(task: Task, device: torch.device, count: int = 4) -> list[Sample]:
    """Noise on blocks of every structure."""
    found = []
    depth = task.volume if len(task.volume) == 3 else (1, *task.volume)
    for number in range(count):
        rng = np.random.default_rng(number)
        coarse = rng.integers(0, task.classes, [-(-size // 8) for size in depth])
        label = np.kron(coarse, np.ones((8, 8, 8), int))[tuple(slice(size) for size in depth)].astype(np.int16)
        image = rng.normal(size=(task.channels, *depth)).astype(np.float32) + label / task.classes
        flat = label.ravel()
        places = tuple(torch.from_numpy(np.flatnonzero(flat == one)[:10000]) for one in range(1, task.classes))
        case = Case(str(number), str(number), (Path(str(number)),))
        on_device = (torch.from_numpy(image).to(device), torch.from_numpy(label).to(device))
        found.append(Sample(case, *on_device, places, torch.empty(0, dtype=torch.int64)))
    return found


def trainer_of(task: Task, arm: Arm, device: torch.device) -> tuple[Trainer, Setup]:
    """A trainer and its setup, from the same weights every time."""
    plan = plan_of(task, arm.graph)
    configuration = plan.configuration("main")
    torch.manual_seed(0)
    network = make_network(plan, configuration)
    if arm.channels_last:
        network = network.to(memory_format=layout_of(task))
    precision = choose_precision("auto", device)
    setup = Setup(plan, configuration, Course.over(1000), device, precision, FoldFolder(Path()))
    trainer = Trainer(network, setup)
    if arm.compiled:
        torch.compiler.reset()
        torch._dynamo.config.recompile_limit = 64  # one network after the other, each with many blocks
        trainer.network = torch.compile(trainer.network)
    return trainer, setup


def layout_of(task: Task) -> torch.memory_format:
    """Channels last, in 2D or 3D."""
    return torch.channels_last if len(task.patch) == 2 else torch.channels_last_3d


def batches_of(task: Task, arm: Arm, device: torch.device, count: int) -> list[Batch]:
    """The same batches for every arm."""
    made = []
    for number in range(count):
        random = torch.Generator().manual_seed(number)
        image = torch.randn(task.batch, task.channels, *task.patch, generator=random)
        target = torch.randint(0, task.classes, (task.batch, *task.patch), generator=random).short()
        image = image.to(device)
        image = image.to(memory_format=layout_of(task)) if arm.channels_last else image
        made.append(Batch(image, target.to(device)))
    return made


def now(device: torch.device) -> float:
    """Once the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def curve(task: Task, arm: Arm, device: torch.device) -> list[float]:
    """The first losses."""
    trainer, setup = trainer_of(task, arm, device)
    batches = batches_of(task, arm, device, 2)
    losses = [trainer.step(setup, step, batches[step % 2]) for step in range(CURVE_STEPS)]
    if trainer.note:
        raise RuntimeError(trainer.note)
    return torch.stack(losses).tolist()


def step_row(task: Task, arm: Arm, device: torch.device, seconds: float) -> dict[str, Any]:
    """Milliseconds of a step on batches that are there."""
    trainer, setup = trainer_of(task, arm, device)
    batches = batches_of(task, arm, device, 2)
    reset_peak(device)
    began = now(device)
    trainer.step(setup, 0, batches[0])
    first = now(device) - began
    row = timed(lambda step: trainer.step(setup, step, batches[step % 2]), device, seconds)
    return {**row, "first_step_s": round(first, 2), **peak(device)}


def loop_row(task: Task, arm: Arm, device: torch.device, seconds: float) -> dict[str, Any]:
    """Milliseconds of a step of the whole loop, patches drawn and augmented."""
    trainer, setup = trainer_of(task, arm, device)
    batches = setup.batches(samples_of(task, device))
    reset_peak(device)
    with closing(batches.ahead(0)) as stream:

        def step(number: int) -> None:
            batch = next(stream)
            if arm.channels_last:
                batch = batch._replace(image=batch.image.to(memory_format=layout_of(task)))
            trainer.step(setup, number % 1000, batch)

        row = timed(step, device, seconds)
    return {**row, **peak(device)}


def timed(step: Callable[[int], Any], device: torch.device, seconds: float) -> dict[str, Any]:
    """Mean time of a step over about `seconds`, the device asked only twice."""
    for number in range(WARM_UP):
        step(number)
    began = now(device)
    for number in range(3):
        step(number)
    count = max(3, int(seconds / max((now(device) - began) / 3, 1e-6)))
    began = now(device)
    for number in range(count):
        step(number % 1000)
    return {"ms": round(1000 * (now(device) - began) / count, 3), "steps": count}


def reset_peak(device: torch.device) -> None:
    """Forget how much memory was used."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> dict[str, float]:
    """Most memory that tensors took."""
    if device.type != "cuda":
        return {}
    return {"peak_gb": round(torch.cuda.max_memory_allocated(device) / 1e9, 2)}


def tera_operations(task: Task, device: torch.device) -> float:
    """Floating point operations of a step's forward and backward pass, in 10^12."""
    arm = Arm()
    trainer, setup = trainer_of(task, arm, device)
    with FlopCounterMode(display=False) as counter:
        trainer.step(setup, 0, batches_of(task, arm, device, 1)[0])
    return counter.get_total_flops() / 1e12


def jobs(tasks: dict[str, Task]) -> Iterator[tuple[str, str, str]]:
    """(kind, task, arm), the most important first."""
    early = [name for name, arm in ARMS.items() if not arm.compiled]
    for name in early[:2]:
        yield from (("step", task, name) for task in tasks)
    yield from (("loop", task, name) for task in tasks for name in early[:2])
    for name in (*early[2:], *(name for name in ARMS if name not in early)):
        yield from (("step", task, name) for task in tasks)


def work(kind: str, task: Task, name: str, options: argparse.Namespace, curves: dict[str, Any]) -> dict[str, Any]:
    """One row of the table."""
    device, arm = torch.device(options.device), ARMS[name]
    if kind == "loop":
        return loop_row(task, arm, device, options.seconds)
    losses = curve(task, arm, device)
    reference = curves.setdefault(repr(task), losses)
    difference = max(abs(one - other) for one, other in zip(losses, reference, strict=True))
    row = step_row(task, arm, device, options.seconds)
    wrong = {} if difference < LARGEST_DIFFERENCE else {"WRONG": True}
    return {**row, "loss_difference": round(difference, 5), **wrong}


def environment(device: torch.device) -> dict[str, Any]:
    """What the figures hold for."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    slow = slow_convolution(device, choose_precision("auto", device), 3)
    cudnn = torch.backends.cudnn.version()
    precision = str(choose_precision("auto", device))
    return {"device": name, "torch": torch.__version__, "cudnn": cudnn, "precision": precision, "canary": slow}


def main() -> None:
    """Print a row as soon as it is measured, and write all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tasks of milliseconds, to try the script")
    parser.add_argument("--seconds", type=float, default=4.0, help="to time each row for")
    parser.add_argument("--limit", type=float, default=540.0, help="seconds after which no row is begun")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the rows")
    options = parser.parse_args()
    if options.tiny:
        options.seconds = min(options.seconds, 0.05)
    device, began = torch.device(options.device), time.monotonic()
    tasks = TINY if options.tiny else TASKS
    torch.backends.cudnn.benchmark = True
    rows: list[dict[str, Any]] = [environment(device)]
    print(json.dumps(rows[0]), flush=True)
    operations = {name: tera_operations(task, device) for name, task in tasks.items()}
    print(f"{'kind':5} {'task':22} {'arm':22} {'ms':>9} {'TFLOP/s':>8} {'peak GB':>8} {'first s':>8} {'loss':>8}")
    curves: dict[str, Any] = {}
    for kind, task, arm in jobs(tasks):
        if arm not in options.arms:
            continue
        row: dict[str, Any] = {"kind": kind, "task": task, "arm": arm}
        if time.monotonic() - began > options.limit:
            row["skipped"] = "time limit"
        else:
            try:
                row |= work(kind, tasks[task], arm, options, curves)
                row["tflops"] = round(operations[task] / row["ms"] * 1000, 1)
            except (RuntimeError, torch.OutOfMemoryError) as error:
                row["failed"] = str(error).splitlines()[0]
        reset_peak(device)
        rows.append(row)
        show(row)
        if options.out:
            options.out.write_text(json.dumps(rows, indent=1) + "\n")
    print(json.dumps({"seconds": round(time.monotonic() - began, 1)}))


def show(row: dict[str, Any]) -> None:
    """A line of the table."""
    what = f"{row['kind']:5} {row['task']:22} {row['arm']:22} "
    if "ms" not in row:
        print(what + str(row.get("failed") or row.get("skipped")), flush=True)
        return
    figures = (
        row.get("tflops", ""),
        row.get("peak_gb", ""),
        row.get("first_step_s", ""),
        row.get("loss_difference", ""),
    )
    end = "  WRONG" if row.get("WRONG") else ""
    print(what + f"{row['ms']:9.2f} " + " ".join(f"{one!s:>8}" for one in figures) + end, flush=True)


if __name__ == "__main__":
    main()
