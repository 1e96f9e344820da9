"""What the stage before says of the training cases of a cascade: each is answered by a fold that has not seen it.

nnU-Net does the same in the final validation of the first stage's folds (`nnUNetTrainer.perform_actual_validation`,
`predicted_next_stage`): logits are resampled to the grid that the later stage sees, and their argmax is kept.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.core.errors import Cancelled, MedsegError
from medseg.core.files import content_hash, saving
from medseg.core.progress import Callback, Progress, track
from medseg.core.wording import counted, first_few
from medseg.inference.predictor import Predictor
from medseg.io.load import load_case_image
from medseg.models.model import Model
from medseg.models.run import PLAN, WEIGHTS, load_run
from medseg.plans.file import load_plan
from medseg.preprocessing.cache import Sample, load_previous
from medseg.preprocessing.restore import restore_onto

ANSWERS = "predicted_next_stage"
"""Folder in that of a fold, with the answers for each configuration that comes after it."""


@dataclass(frozen=True)
class Before:
    """The trained stage before a configuration.

    Attributes:
        name: its configuration.
        folder: of its run, which holds its folds.
        splits: the ids of each fold's training and validation cases ("train" and "val").
    """

    name: str
    folder: Path
    splits: Mapping[str, Mapping[str, Sequence[str]]]

    def model(self, fold: str, device: torch.device) -> Model:
        """What answers the validation cases of a fold: its own fold; every fold, where there is none of that name."""
        if fold in self.splits:
            return load_run(self.folder / f"fold_{fold}", device)
        return load_run(self.folder, device, list(self.splits))

    def fold_of(self, case: str) -> tuple[str, bool]:
        """The fold that answers a case, and whether it has not seen it: its own, else any such, else the first."""
        own = [fold for fold, split in self.splits.items() if case in split["val"]]
        others = [fold for fold, split in self.splits.items() if case not in split["train"]]
        found = (own or others)[:1]
        return (found[0], True) if found else (next(iter(self.splits)), False)

    def leaks(self, fold: str, cases: Sequence[str]) -> list[str]:
        """Whether `model(fold)` was trained on some of the cases that it is scored on, as a note."""
        own = [self.splits[fold]] if fold in self.splits else self.splits.values()
        trained = {case for split in own for case in split["train"]}
        seen = [case for case in cases if case in trained]
        if not seen:
            return []
        return [
            f"fold {fold} of {self.name} was trained on {len(seen)} of the cases that are kept apart here "
            f"({first_few(seen)}): their scores are better than on new scans"
        ]


def answer_samples(
    samples: Sequence[Sample], before: Before, later: str, cache: Path, device: torch.device, callback: Callback
) -> tuple[list[Sample], dict[str, str], list[str]]:
    """The samples with the answers of the stage before, from files where these are there, else made and kept.

    Args:
        later: the configuration that the samples were preprocessed for.
        cache: where maps lie as they are read in training.

    Returns:
        The samples, why the others have no answer ({case id: message}), and notes.
    """
    by_fold: dict[str, list[Sample]] = defaultdict(list)
    seen = []
    for sample in samples:
        fold, unseen = before.fold_of(sample.case.id)
        by_fold[fold].append(sample)
        seen += [] if unseen else [sample.case.id]
    answerers = {fold: _Fold(before.folder / f"fold_{fold}", later, device) for fold in by_fold}
    work = [(answerers[fold], sample) for fold in sorted(by_fold) for sample in by_fold[fold]]
    answered: dict[str, Sample] = {}
    failed = {}

    def tell(event: Progress) -> None:
        callback(replace(event, info={"part": f"by {before.name} for {later}", **event.info}))

    for fold_of_it, sample in track(work, "predict", len(work), tell):
        try:
            answered[sample.case.id] = fold_of_it.complete(sample, cache)
        except Cancelled:
            raise
        except MedsegError as error:
            failed[sample.case.id] = f"{before.name} has no answer for it, so it is left out: {error}"
    notes = []
    if seen:
        notes = [
            f"no fold of {before.name} keeps {counted(len(seen), 'case')} apart, where its answers are better than on "
            f"new scans: {first_few(seen)}"
        ]
    return [answered[one.case.id] for one in samples if one.case.id in answered], failed, notes


class _Fold:
    """One fold of the stage before; its network is loaded when a case has to be answered."""

    def __init__(self, folder: Path, later: str, device: torch.device) -> None:
        self.folder = folder
        self.answers = folder / ANSWERS / later
        self.device = device

    def complete(self, sample: Sample, cache: Path) -> Sample:
        """The sample with its answer."""
        source = hashlib.blake2b(f"{self.weights} {sample.key}".encode(), digest_size=12).hexdigest()
        return load_previous(sample, cache, source, lambda: self._kept(sample, source))

    @cached_property
    def weights(self) -> str:
        """Names the weights and plans that the answers depend on."""
        return _weights(self.folder)

    @cached_property
    def predictor(self) -> Predictor:
        """The fold, ready to answer."""
        return Predictor(load_run(self.folder, self.device), self.device)

    def _kept(self, sample: Sample, source: str) -> NDArray[np.int16]:
        """The answer as it is kept in the fold's folder, made first where there is none by these weights."""
        path = self.answers / f"{sample.case.id}.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                if str(file["source"]) == source:
                    return file["label"].astype(np.int16)
        except Exception:  # there is none, or it is damaged: numpy and zip raise unrelated types
            pass
        answer = self._answer(sample)
        small = np.uint8 if answer.max(initial=0) <= np.iinfo(np.uint8).max else np.int16
        with saving(path) as temporary, open(temporary, "wb") as stream:
            np.savez_compressed(stream, label=answer.astype(small), source=np.array(source))
        return answer

    def _answer(self, sample: Sample) -> NDArray[np.int16]:
        model = self.predictor.model
        image = load_case_image(sample.case, len(model.plan.data.channels), model.plan.data.reading)
        volume = self.predictor.prepare(image)
        slabs = self.predictor.logits(volume)
        return restore_onto(slabs, volume.geometry, model.plan.labels, model.configuration, sample.label.shape)


def _weights(fold: Path) -> str:
    """Hashes of a fold's weights and plan, and of those of the stage before it."""
    own = f"{content_hash(fold / WEIGHTS)} {content_hash(fold / PLAN)}"
    plan = load_plan(fold / PLAN)
    stage = plan.configuration(fold.parent.name).previous_stage if fold.parent.name in plan.configurations else None
    earlier = fold.parent.parent / str(stage) / fold.name
    return own if stage is None or not (earlier / WEIGHTS).exists() else f"{own} {_weights(earlier)}"
