"""Training batches per second of one core: medseg's against nnU-Net v2's own loader and transforms, alternating.

    python benchmarks/training/augment.py DATA/hippocampus --nnunet PYTHON_WITH_NNUNETV2

Two loads: the preprocessed cases of a data set in its patch (hippocampus: 40x56x40, batch 9), and generated volumes of
200^3 in patches of 128^3, batch 2. Both programs get the same volumes (nnU-Net's as its blosc2 files), one thread, and
are timed in seconds of their processor time, so that other work on the machine matters little. nnU-Net's targets for
deep supervision are part of its transforms; medseg's loss takes them by strides. Then what part of a training step on
the data set the batch takes, with the networks of both presets.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

VOLUMES, SIZE = 3, 200
MEASURED = 30


def serve_medseg(folder: Path, load: dict):
    """A function that makes one batch."""
    import torch

    from medseg.core.case import Case
    from medseg.plans.file import load_plan
    from medseg.preprocessing.cache import Sample
    from medseg.training.data.batches import Batches

    plan = load_plan(Path(load["plan"]))
    update = {"patch_voxels": load["patch"], "batch_size": load["batch"]}
    configuration = plan.configuration("3d_fullres").model_copy(update=update)
    samples = []
    for file in sorted(folder.glob("*.npz")):
        arrays = {name: torch.from_numpy(array) for name, array in np.load(file).items()}
        places = tuple(torch.nonzero(arrays["label"].flatten() == value)[:, 0] for value in load["labels"])
        nowhere = torch.empty(0, dtype=torch.int64)
        samples.append(Sample(Case(file.stem, file.stem, ()), arrays["image"], arrays["label"], places, nowhere))
    maker = Batches(samples, configuration, plan.training, torch.device("cpu"))
    steps = iter(range(1 << 30))
    return lambda: maker.make(next(steps))


def serve_nnunet(folder: Path, load: dict):
    """A function that makes one batch."""
    from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
    from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
    from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    place = folder / "nnunet"
    place.mkdir(exist_ok=True)
    for file in sorted(folder.glob("*.npz")):
        arrays = np.load(file)
        image, label = arrays["image"], arrays["label"][None]
        where = {value: np.argwhere(label == value) for value in load["labels"]}
        blocks, chunks = comp_blosc2_params(image.shape, load["patch"])
        nnUNetDatasetBlosc2.save_case(
            image, label, {"class_locations": where}, str(place / file.stem), chunks=chunks, blocks=blocks
        )
    angle = (-np.pi / 6, np.pi / 6)
    first = get_patch_size(load["patch"], angle, angle, angle, (0.85, 1.25))
    scales = [[1 / 2**level] * 3 for level in range(load["scales"])]
    transforms = nnUNetTrainer.get_training_transforms(load["patch"], angle, scales, (0, 1, 2), False, [False])
    labels = SimpleNamespace(all_labels=load["labels"], has_ignore_label=False)
    dataset = nnUNetDatasetBlosc2(str(place))
    loader = nnUNetDataLoader(
        dataset, load["batch"], first, load["patch"], labels, 0.33, None, None, transforms=transforms
    )
    return lambda: next(loader)


def serve(which: str, folder: Path) -> None:
    """Answer each number of batches with the seconds of processor time that they took."""
    import torch

    torch.set_num_threads(1)
    load = json.loads((folder / "load.json").read_text())
    make = {"medseg": serve_medseg, "nnunet": serve_nnunet}[which](folder, load)
    for _ in range(3):
        make()
    print("ready", flush=True)
    for line in sys.stdin:
        began = time.process_time()
        for _ in range(int(line)):
            make()
        print(time.process_time() - began, flush=True)


def write_set(data: Path, place: Path, batch: int) -> None:
    """The preprocessed cases of a data set, and what is to be made of them."""
    from medseg.commands.data.options import PlanOptions
    from medseg.commands.data.plan import plan
    from medseg.models.workspace import plan_cases
    from medseg.preprocessing.cache import load_samples

    made = plan(data, place / "workspace", "set", PlanOptions(preset="gpu"))
    configuration = made.plan.configuration("3d_fullres")
    cases = plan_cases(made.path, data, made.plan)
    samples, _ = load_samples(cases, made.plan, configuration, place / "cache")
    labels = list(range(1, 1 + len(made.plan.labels.names)))
    load = {"plan": str(made.path), "patch": configuration.patch_voxels, "batch": batch}
    (place / "set").mkdir()
    (place / "set" / "load.json").write_text(json.dumps({**load, "labels": labels, "scales": 3}))
    for sample in samples:
        np.savez(place / "set" / sample.case.id, image=sample.image.numpy(), label=sample.label.numpy())
    (place / "large").mkdir()
    large = {**load, "patch": [128] * 3, "batch": 2, "labels": [1, 2], "scales": 5}
    (place / "large" / "load.json").write_text(json.dumps(large))
    rng = np.random.default_rng(0)
    grid = np.indices((SIZE,) * 3).astype(np.float32) - SIZE / 2
    for number in range(VOLUMES):
        bumps = sum(np.sin(axis * rng.uniform(0.05, 0.2) + rng.uniform(0, 6)) for axis in grid)
        image = (bumps + rng.normal(scale=0.3, size=bumps.shape)).astype(np.float32)
        label = np.digitize(bumps, [1.5, 2.2]).astype(np.int16)
        np.savez(place / "large" / str(number), image=image[None], label=label)


def compare(folder: Path, nnunet: str, rounds: int) -> dict[str, object]:
    """Medians over alternating rounds of about a second of nnU-Net's time each."""
    load = json.loads((folder / "load.json").read_text())
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    children = {
        name: subprocess.Popen(
            [python, __file__, "--serve", name, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        for name, python in (("medseg", sys.executable), ("nnunet", nnunet))
    }
    seconds: dict[str, list[float]] = {name: [] for name in children}
    for child in children.values():
        while "ready" not in child.stdout.readline():
            if child.poll() is not None:
                raise SystemExit(f"{child.args} ended with {child.returncode}")
    for _ in range(rounds):
        for name, child in children.items():
            count = 20 if name == "medseg" else 4
            child.stdin.write(f"{count}\n")
            child.stdin.flush()
            seconds[name].append(float(child.stdout.readline()) / count / load["batch"])
    for child in children.values():
        child.stdin.close()
        child.wait()
    per_sample = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "patch": load["patch"],
        "batch": load["batch"],
        "samples_per_second_and_core": {name: round(1 / value, 1) for name, value in per_sample.items()},
        "ms_per_sample": {name: round(1000 * value, 2) for name, value in per_sample.items()},
        "ratio": round(per_sample["nnunet"] / per_sample["medseg"], 1),
    }


def share(data: Path, place: Path, preset: str, batch: int) -> dict[str, object]:
    """Milliseconds of making a batch and of training on it, in turn, with all cores; means, as batches differ."""
    import torch

    from medseg.commands.data.options import PlanOptions
    from medseg.commands.data.plan import plan
    from medseg.models.model import make_network
    from medseg.models.run_files import FoldFolder
    from medseg.models.workspace import plan_cases
    from medseg.networks.device import choose_precision
    from medseg.preprocessing.cache import load_samples
    from medseg.training.data.batches import Batches
    from medseg.training.length.course import Course
    from medseg.training.run.setup import Setup
    from medseg.training.step.trainer import Trainer

    made = plan(data, place / preset, "set", PlanOptions(preset=preset))
    configuration = made.plan.configuration("3d_fullres").model_copy(update={"batch_size": batch})
    samples, _ = load_samples(plan_cases(made.path, data, made.plan), made.plan, configuration, place / "cache")
    device = torch.device("cpu")
    batches = Batches(samples, configuration, made.plan.training, device)
    setup = Setup(
        made.plan, configuration, Course.over(1000), device, choose_precision("auto", device), FoldFolder(place)
    )
    trainer = Trainer(make_network(made.plan, configuration), setup)
    times: dict[str, list[float]] = {"batch": [], "step": []}
    for step in range(MEASURED + 3):
        began = time.perf_counter()
        one = batches.make(step)
        made_at = time.perf_counter()
        trainer.step(setup, step, one).item()
        times["batch"].append(made_at - began)
        times["step"].append(time.perf_counter() - made_at)
    mean = {name: 1000 * statistics.mean(values[3:]) for name, values in times.items()}
    return {
        "preset": preset,
        "batch": batch,
        "ms": {name: round(value, 1) for name, value in mean.items()},
        "share_of_a_step": round(mean["batch"] / (mean["batch"] + mean["step"]), 3),
    }


def main() -> None:
    """One line of JSON for each load, and one for each share of a training step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--nnunet", help="python of an environment with nnunetv2")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=9, help="of the data set")
    parser.add_argument("--serve", choices=["medseg", "nnunet"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.data)
        return
    with tempfile.TemporaryDirectory(prefix="medseg-bench-") as folder:
        write_set(arguments.data.resolve(), Path(folder), arguments.batch)
        for name in ("set", "large"):
            print(json.dumps(compare(Path(folder) / name, arguments.nnunet, arguments.rounds)), flush=True)
        for preset, batch in (("cpu", 2), ("gpu", arguments.batch)):
            print(json.dumps(share(arguments.data.resolve(), Path(folder), preset, batch)), flush=True)


if __name__ == "__main__":
    main()
