"""The first losses of nnU-Net's own trainer and of medseg's with `--recipe nnunet`, on the same weights and batches.

    python benchmarks/accuracy/recipe_losses.py --nnunet PYTHON_WITH_NNUNETV2
    python benchmarks/accuracy/recipe_losses.py --nnunet PYTHON_WITH_NNUNETV2 --plan plans/hippocampus.yaml --steps 50
    python benchmarks/accuracy/recipe_losses.py --nnunet PYTHON_WITH_NNUNETV2 --write tests/planning/nnunet_losses.json

nnU-Net's side is its `nnUNetTrainer`: its network, loss, deep supervision, optimizer, schedule and `train_step`, in
fp32 on a CPU. Each problem is given to it twice, the second time with weights changed by 1e-7 of their size, about one
rounding: what rounding alone does to its losses is the yardstick for the difference to ours. `--write` keeps its losses
for a test.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunet_model import dataset_json

from medseg.models.model import Model
from medseg.models.nnunet.plans import plan_to_nnunet
from medseg.models.nnunet.weights import weights_to_nnunet
from medseg.planning.recipe import with_nnunet_recipe
from medseg.plans.file import load_plan

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "helpers"))
from learning.recipe_problem import VARIANTS, Problem, batch, first_weights, our_losses, tiny_problem

THEIRS = """
import json, sys
from pathlib import Path
import numpy as np, torch
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from batchgeneratorsv2.transforms.utils.seg_to_regions import ConvertSegmentationToRegionsTransform
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

folder = Path(sys.argv[1])
asked = json.loads((folder / "asked.json").read_text())
plans, dataset = (json.loads((folder / name).read_text()) for name in ("plans.json", "dataset.json"))
cases = folder / "preprocessed" / plans["dataset_name"] / plans["configurations"][asked["name"]]["data_identifier"]
cases.mkdir(parents=True, exist_ok=True)
(cases / "case.b2nd").touch()  # says which kind of files its cases are; none is read
torch.set_num_threads(asked["threads"])
batches = np.load(folder / "batches.npz")
weights = torch.load(folder / "weights.pth")
found = []
for change in (0.0, 1e-7)[: asked["times"]]:
    trainer = nnUNetTrainer({**plans, "continue_training": False}, asked["name"], 0, dataset, torch.device("cpu"))
    trainer.num_epochs, trainer.num_iterations_per_epoch = asked["epochs"], asked["epoch_steps"]
    trainer.initialize()
    noise = torch.Generator().manual_seed(0)
    trainer.network.load_state_dict(weights)
    with torch.no_grad():
        for value in trainer.network.parameters():
            value.mul_(1 + change * torch.randn(value.shape, generator=noise))
    manager = trainer.label_manager
    transforms = [DownsampleSegForDSTransform(trainer._get_deep_supervision_scales())]
    if manager.has_regions:
        regions = list(manager.foreground_regions) + ([manager.ignore_label] if manager.has_ignore_label else [])
        transforms.insert(0, ConvertSegmentationToRegionsTransform(regions))
    transform = ComposeTransforms(transforms)
    trainer.network.train()
    losses = []
    for step in range(asked["steps"]):
        if step % trainer.num_iterations_per_epoch == 0:
            trainer.lr_scheduler.step(step // trainer.num_iterations_per_epoch)
        labels = torch.from_numpy(batches[f"label{step}"])
        samples = [transform(segmentation=one[None])["segmentation"] for one in labels]
        target = [torch.stack(level) for level in zip(*samples)]
        batch = {"data": torch.from_numpy(batches[f"image{step}"]), "target": target}
        losses.append(float(trainer.train_step(batch)["loss"]))
    found.append(losses)
(folder / "losses.json").write_text(json.dumps(found))
"""


def their_losses(python: str, problem: Problem, steps: int, threads: int, times: int) -> list[list[float]]:
    """Losses of nnU-Net's trainer, and if asked for twice, with weights changed by about one rounding."""
    plan, name = problem.plan, problem.plan.default_configuration
    epoch = plan.training.schedule_epoch_steps
    asked: dict[str, Any] = {"name": name, "steps": steps, "threads": threads, "times": times}
    asked |= {"epochs": problem.steps // epoch, "epoch_steps": epoch}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        network = first_weights(problem)
        strides = plan.configuration(name).network.strides
        torch.save(weights_to_nnunet(network.state_dict(), strides), folder / "weights.pth")
        arrays = {}
        for step in range(steps):
            arrays[f"image{step}"], arrays[f"label{step}"] = batch(problem, step)
        np.savez(folder / "batches.npz", **arrays)
        model = Model(plan, name, ("0",), (network,), folder)
        contents: dict[str, Any] = {"asked": asked, "plans": plan_to_nnunet(plan), "dataset": dataset_json(model)}
        for file, content in contents.items():
            (folder / f"{file}.json").write_text(json.dumps(content))
        places = {f"nnUNet_{kind}": str(folder / kind) for kind in ("raw", "preprocessed", "results")}
        for place in places.values():
            Path(place).mkdir()
        environment = {**os.environ, **places, "nnUNet_compile": "f"}
        done = subprocess.run([python, "-c", THEIRS, temporary], env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
        return json.loads((folder / "losses.json").read_text())


def main() -> None:
    """Compare, and print the largest difference of each problem."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nnunet", required=True, help="python of an environment with nnunetv2")
    parser.add_argument("--plan", type=Path, help="a plan whose network, patch and labels to take; else tiny ones")
    parser.add_argument("--batch-size", type=int, default=2, help="of --plan")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--once", action="store_true", help="leave the yardstick out")
    parser.add_argument("--write", type=Path, help="keep nnU-Net's losses of the tiny problems")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.plan is None:
        problems = {name: tiny_problem(name) for name in VARIANTS}
    else:
        plan = load_plan(arguments.plan)
        size = f"configurations.{plan.default_configuration}.batch_size={arguments.batch_size}"
        plan = with_nnunet_recipe(load_plan(arguments.plan, [size]))
        problems = {plan.name: Problem(plan, plan.training.steps)}
    print(f"{'problem':<24}{'loss, first and last':>24}{'largest difference':>20}{'of rounding alone':>20}")
    kept = {}
    for name, problem in problems.items():
        found = their_losses(arguments.nnunet, problem, arguments.steps, arguments.threads, 2 - arguments.once)
        theirs, changed = found[0], found[-1]
        ours = our_losses(problem, arguments.steps)
        kept[name] = theirs
        apart, rounding = (np.abs(np.subtract(one, theirs)).max() for one in (ours, changed))
        print(f"{name:<24}{theirs[0]:>14.6f}{theirs[-1]:>10.6f}{apart:>20.1e}{rounding:>20.1e}", flush=True)
    if arguments.write:
        content = {"made_by": "benchmarks/accuracy/recipe_losses.py --write, nnunetv2 2.8.1", "losses": kept}
        arguments.write.write_text(json.dumps(content, indent=1) + "\n")
    print(f"medseg's torch {version('torch')}, {arguments.threads} threads, {arguments.steps} steps")


if __name__ == "__main__":
    main()
