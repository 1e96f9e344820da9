"""A machine whose clock only work moves on, so that tests of budgets do not depend on the time they take."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from builders import make_plan, make_sample, make_training, network_values

from medseg.core.progress import silent
from medseg.models.model import make_network
from medseg.models.run_files import FoldFolder
from medseg.preprocessing.cache import Sample
from medseg.training.length.budget import ValidationSeconds, Work
from medseg.training.length.course import Course
from medseg.training.run.fit import fit
from medseg.training.run.setup import Setup


class Machine:
    """A clock that only work moves on: the first step takes 0.5 s, unless told otherwise.

    Attributes:
        seconds: the time now.
        steps: steps that were done.
        step_seconds: what a step takes from which step on.
    """

    def __init__(self, folder: Path, validations: int = 4, step_seconds: Sequence[tuple[int, float]] = ((0, 0.5),)):
        self.seconds, self.steps, self.step_seconds = 0.0, 0, step_seconds
        values = {"patch_voxels": [16, 16], "network": network_values(2, 2), "normalization": [{"scheme": "none"}]}
        plan = make_plan(2, values, training=make_training(validations=validations).model_dump())
        configuration = plan.configuration("main")
        torch.manual_seed(0)
        self.network = make_network(plan, configuration)
        self.network.register_forward_hook(lambda *_: self.step())
        self.samples: list[Sample] = [make_sample(np.zeros((2, 16, 16)), np.eye(16, dtype=int)[None].repeat(2, 0))]
        self.setup = Setup(
            plan, configuration, Course.over(1000), torch.device("cpu"), torch.float32, FoldFolder(folder),
            clock=lambda: self.seconds,
        )  # fmt: skip

    def step(self) -> None:
        self.seconds += [seconds for first, seconds in self.step_seconds if first <= self.steps][-1]
        self.steps += 1

    def work(self, each: float, final: float, loss_batches: int = 0) -> Work:
        return Work(self.network, self.samples, lambda: ValidationSeconds(each, final, loss_batches))

    def train(self, setup: Setup, validation_seconds: float) -> None:
        """Train to the end, from the moment when the budget began to run."""

        def validate(network: torch.nn.Module) -> dict[str, float | None]:
            self.seconds += validation_seconds
            return {}

        self.steps = 0
        fit(self.network, self.samples, setup, validate, silent, start_time=0.0)
