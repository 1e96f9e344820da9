"""Go once over the labelled cases of a cross-validation, with the folds that were not trained on them.

Whatever is made from out-of-fold answers (scores, postprocessing, thresholds, calibration, quality) takes what it needs
of a case while it is there: networks answer a case once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.core.case import Case
from medseg.core.errors import Cancelled, DataError, MedsegError, ModelError
from medseg.core.files import scratch_folder
from medseg.core.machine.host_memory import free_host_bytes
from medseg.core.progress import Callback, Progress, silent
from medseg.core.wording import first_few
from medseg.inference.observation import Observation
from medseg.inference.predictor import Predictor
from medseg.io.load import load_case
from medseg.models.run import load_run
from medseg.models.run_files import FoldFolder
from medseg.networks.device import memory_errors
from medseg.out_of_fold.case import FoldAnswer, OutOfFoldCase
from medseg.out_of_fold.unseen import unseen_cases
from medseg.plans.schema import Plan
from medseg.preprocessing.volume import Volume

STAGE = "out of fold"
_SHARE_OF_MEMORY = 0.25
"""Of what is free, probabilities take no more; else they are a file."""


@dataclass
class OutOfFoldPass:
    """The cases of a cross-validation, to go over once.

    Attributes:
        plan: of the first configuration; labels, channels and orientation of the others are the same.
        runs: {configuration: trained folds}.
        groups: the cases, by the fold that answers them in each configuration.
        device: the device that networks compute on.
        callback: receives progress, as stage `out of fold`.
        problems: {case: why it has no answer}, complete once the pass has ended.
        notes: for the user.
    """

    plan: Plan
    runs: Mapping[str, Sequence[FoldFolder]]
    groups: Mapping[tuple[str, ...], Sequence[Case]]
    device: torch.device
    callback: Callback = silent
    problems: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        plan: Plan,
        runs: Mapping[str, Sequence[FoldFolder]],
        cases: Sequence[Case],
        device: torch.device,
        callback: Callback = silent,
    ) -> OutOfFoldPass:
        """Find out which fold answers which case.

        Args:
            plan: of the first configuration.
            runs: {configuration: trained folds}, in the order in which answers are wanted.
            cases: of the data set; those without a label are left out.
            device: the device that networks compute on.
            callback: receives progress.

        Returns:
            The cases that can be answered, by the fold that answers them.

        Raises:
            ModelError: no case was left out by a fold of every configuration.
        """
        answering = {name: unseen_cases(folds) for name, folds in runs.items()}
        groups: dict[tuple[str, ...], list[Case]] = {}
        problems: dict[str, str] = {}
        for case in cases:
            if case.label is None or not any(unseen.knows(case.id) for unseen in answering.values()):
                continue
            missing = [name for name, unseen in answering.items() if not unseen.knows(case.id)]
            seen = [unseen.seen[case.id] for unseen in answering.values() if case.id in unseen.seen]
            if missing:
                problems[case.id] = f"no trained fold of {' and '.join(missing)} left it out of its training"
            elif seen:
                problems[case.id] = "; ".join(seen)
            else:
                groups.setdefault(tuple(unseen.fold_of[case.id] for unseen in answering.values()), []).append(case)
        if not groups:
            names = " and ".join(runs)
            whys = "".join(f"\n  {case}: {why}" for case, why in problems.items())
            raise ModelError(
                f"No labelled case of the data set was left out of training by folds of {names}.{whys}",
                f"`medseg crossval --plan {plan.name}` trains folds that leave cases out.",
            )
        known = {case.id for case in cases if case.label is not None}
        gone = sorted({id for unseen in answering.values() for id in unseen.fold_of} - known)
        notes = [f"cases that are no longer in the data set, or have no label there: {first_few(gone)}"] if gone else []
        return cls(plan, runs, dict(sorted(groups.items())), device, callback, problems, notes)

    @property
    def total(self) -> int:
        """Number of cases."""
        return sum(map(len, self.groups.values()))

    def __iter__(self) -> Iterator[OutOfFoldCase]:
        """Yield the cases, fold by fold; one that cannot be answered is named in `problems`.

        Raises:
            MedsegError: a model cannot be loaded.
        """
        done = 0
        self.callback(Progress(STAGE, done, self.total))
        for names, cases in self.groups.items():
            predictors = {
                configuration: self._predictor(configuration, fold)
                for configuration, fold in zip(self.runs, names, strict=True)
            }
            for case in cases:
                with scratch_folder("select") as scratch:
                    try:
                        answered = self._answered(case, predictors, scratch)
                    except Cancelled:
                        raise
                    except MedsegError as error:
                        self.problems[case.id] = str(error)
                    else:
                        yield answered
                        del answered
                done += 1
                self.callback(Progress(STAGE, done, self.total))

    def _predictor(self, configuration: str, fold: str) -> Predictor:
        """Return the predictor of a fold alone.

        Raises:
            ModelError: of a cascade, the stage before it has no such fold: others have seen the cases.
        """
        run = self.runs[configuration][0].run
        model = load_run(run.path, self.device, [fold])
        stage = model.previous
        while stage is not None:
            if stage.folds != (fold,):
                raise ModelError(
                    f"Fold {fold} of {configuration} has no fold {fold} of {stage.configuration_name} before it: the "
                    f"folds {', '.join(stage.folds)} have seen its cases.",
                    f"`medseg crossval --plan {self.plan.name} --config {stage.configuration_name}` trains it.",
                )
            stage = stage.previous
        return Predictor(model, self.device, compares=False)  # its own data set

    def _answered(self, case: Case, predictors: Mapping[str, Predictor], scratch: Path) -> OutOfFoldCase:
        data, labels = self.plan.data, self.plan.labels
        loaded = load_case(case, len(data.channels), data.reading, labels)
        label = labels.encode(loaded.label.array[0], str(case.label))
        answers: dict[str, FoldAnswer] = {}
        for number, (configuration, predictor) in enumerate(predictors.items()):
            start = time.monotonic()
            volume = predictor.prepare(loaded.image)
            shape = (labels.outputs, *volume.geometry.turned_shape)
            room = _room(shape, len(predictors), scratch / f"{number}.f32")
            with memory_errors("Close other programs, or select on a machine with more memory."):
                (observation,) = predictor.observe(volume)
                _fill(room, predictor, volume, observation)
            stored = volume.geometry.stored(room)
            stored.flags.writeable = False
            fold = predictor.model.folds[0]
            answers[configuration] = FoldAnswer(fold, predictor, volume, stored, time.monotonic() - start, observation)
        if {answer.probabilities.shape[1:] for answer in answers.values()} != {label.shape}:
            raise DataError(f"The label of {case.id} has the shape {label.shape}, which is not that of its scan.")
        return OutOfFoldCase(case, loaded.image, label, self.plan, answers)


def _fill(room: NDArray[np.float32], predictor: Predictor, volume: Volume, observation: Observation) -> None:
    """Write the probabilities of a scan; outside of its content nothing but background is answered."""
    labels, (z, y, x) = predictor.model.plan.labels, volume.geometry.box
    if labels.activation == "softmax":
        room[0] = 1
    for planes, logits in predictor.scan_logits(volume, observations=[observation]):
        room[:, z.start + planes.start : z.start + planes.stop, y, x] = labels.all_probabilities(logits).cpu().numpy()


def _room(shape: tuple[int, ...], count: int, path: Path) -> NDArray[np.float32]:
    """Return an array for probabilities: in memory, or in a file where all of a case would take too much of it."""
    if 4 * prod(shape) * count <= _SHARE_OF_MEMORY * free_host_bytes():
        return np.zeros(shape, np.float32)
    return np.memmap(path, np.float32, "w+", shape=shape)
