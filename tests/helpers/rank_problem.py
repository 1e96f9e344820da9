"""A small problem that one process or several train on; run as a script it is one of several.

RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=... python tests/helpers/rank_problem.py FOLDER
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from builders import make_augmentation, make_plan, make_sample, make_training, network_values

from medseg.commands.train.options import TrainOptions
from medseg.core.errors import PlanError
from medseg.core.progress import Callback, silent
from medseg.models.model import make_network
from medseg.models.run_files import FoldFolder
from medseg.plans.schema import Plan
from medseg.preprocessing.cache import Sample
from medseg.training.length.course import Course
from medseg.training.run.fit import fit
from medseg.training.run.setup import Setup
from medseg.training.step.ranks import Ranks, joined
from medseg.training.step.trainer import Trainer

STEPS = 12
BATCH = 3  # so that two processes do not have the same number of samples
CPU = torch.device("cpu")
Weights = dict[str, torch.Tensor]


def plan_of(batch_dice: bool, **others: Any) -> Plan:
    """Everything that could differ between processes is on: augmentation, oversampling, clipping, averaging.

    Args:
        others: what the training does otherwise.
    """
    augmentation = make_augmentation(
        rotation_probability=0.5, scaling_probability=0.5, noise_probability=0.5, gamma_probability=0.5
    )
    # SGD: AdamW would blow up the rounding in biases before a normalization, whose gradient is zero
    own = {"optimizer": "sgd", "learning_rate": 0.05, "gradient_clip": 0.5, "average_weights": 0.9}
    training = make_training(augmentation=augmentation.model_dump(), foreground_fraction=0.34, **{**own, **others})
    configuration = {
        "patch_voxels": [16] * 3,
        "batch_size": BATCH,
        "batch_dice": batch_dice,
        "network": network_values(3, 3),
        "normalization": [{"scheme": "none"}],
    }
    labels = {"structures": {"one": 1, "two": 2}, "ignore": 9}
    return make_plan(3, configuration, training=training.model_dump(), labels=labels)


def samples() -> list[Sample]:
    """Noise, with boxes of two structures of which not every scan has both, and voxels that nobody annotated."""
    results = []
    for number in range(3):
        rng = np.random.default_rng(number)
        label = np.zeros((20, 20, 20), int)
        label[3:12, 4:13, 5 + number : 14] = 1
        label[6 : 6 + 3 * number, 8:12, 8:12] = 2
        label[:, :, 18:] = -1
        results.append(make_sample(label + rng.normal(size=label.shape), label, name=str(number)))
    return results


def setup_of(plan: Plan, folder: Path, ranks: Ranks) -> Setup:
    """Of `STEPS` steps on a CPU."""
    return Setup(
        plan, plan.configuration("main"), Course.over(STEPS), CPU, torch.float32, FoldFolder(folder), ranks=ranks
    )


CURVES: dict[str, dict[str, Any]] = {
    "each": {"batch_dice": False},
    "batch": {"batch_dice": True},
    "muon": {
        "batch_dice": False,
        "optimizer": "muon",
        "learning_rate": 1e-3,
    },
}


def curve(name: str, ranks: Ranks) -> tuple[list[float], Weights]:
    """The loss of every step, and the averaged weights at the end."""
    plan = plan_of(**CURVES[name])
    torch.manual_seed(ranks.rank)  # different weights, if the first process did not spread its own
    setup = setup_of(plan, Path(), ranks)
    trainer = Trainer(make_network(plan, plan.configuration("main")), setup)
    batches = setup.batches(samples())
    losses = [float(trainer.step(setup, step, batches.make(step))) for step in range(STEPS)]
    return losses, {**trainer.best.state_dict()}


def fitted(folder: Path, ranks: Ranks, resume: bool = False, callback: Callback = silent) -> Weights:
    """Averaged weights after `fit`, which writes into `folder`."""
    plan = plan_of(True)
    plan = plan.model_copy(update={"training": plan.training.model_copy(update={"validations": 2})})
    torch.manual_seed(0)
    network = make_network(plan, plan.configuration("main"))
    scores = {"one": float(ranks.rank), "two": None}  # the first one's are everybody's
    best = fit(network, samples(), setup_of(plan, folder, ranks), lambda network: dict(scores), callback, resume)
    return {**best.state_dict()}


class SecondFails(TrainOptions):
    """Options with which the second process ends before the processes form a group: `init` says how."""

    def as_settings(self) -> TrainOptions:
        """Return options with a device that is refused, or end as the system ends a process for its memory."""
        if os.environ["RANK"] == "0":
            return self
        if self.init == "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, device="cuda:7")


def longest_wait() -> float:
    """Seconds that the group's processes wait for each other.

    The group is not kept: an error's traceback would hold it beyond `joined`, until the interpreter ends below its
    threads, and then the process aborts (about once in eighty tries).
    """
    group = torch.distributed.distributed_c10d._get_default_group()
    return float(group._get_backend(CPU).options._timeout.total_seconds())


def main(folder: Path) -> None:
    """What each process found, in files; in the end one of them fails."""
    torch.set_num_threads(1)
    with joined("cpu") as (ranks, device):
        assert device == "cpu"
        results = {name: curve(name, ranks) for name in CURVES}
        resumed = fitted(folder / "run", ranks, resume=True)
        shared = ranks.shared(lambda: {"rank": ranks.rank, "none": None})
        found = {**results, "resumed": resumed, "shared": shared, "wait": longest_wait()}
        torch.save(found, folder / f"{ranks.rank}.pt")
        ranks.wait()
        if ranks.rank == 1:
            raise PlanError("one process failed")
        ranks.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
