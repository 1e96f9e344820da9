"""The previous stage's answers to the training cases of a cascade: each by a fold that has not seen the case.

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
from medseg.models.run import load_run
from medseg.models.run_files import FoldFolder, RunFolder
from medseg.plans.file import load_plan
from medseg.preprocessing.cache import Sample, load_previous
from medseg.preprocessing.restore import restore_onto


@dataclass(frozen=True)
class PreviousStage:
    """The trained stage before a configuration.

    Attributes:
        folder: with its folds.
        splits: ids of each fold's training and validation cases ("train" and "val").
    """

    folder: RunFolder
    splits: Mapping[str, Mapping[str, Sequence[str]]]

    @property
    def name(self) -> str:
        """Name of its configuration."""
        return self.folder.path.name

    def model(self, fold: str, device: torch.device) -> Model:
        """Return the model of the previous stage that answers the validation cases of a fold.

        Args:
            fold: the fold of the later stage; the fold of the same name answers, or every fold where there is none.
            device: to compute on.
        """
        if fold in self.splits:
            return load_run(self.folder.fold(fold).path, device)
        return load_run(self.folder.path, device, list(self.splits))

    def fold_of(self, case: str) -> tuple[str, bool]:
        """Return the fold that answers a case, and whether that fold has not seen it.

        It is the fold that keeps the case apart, else any that was not trained on it, else the first one.
        """
        keeping = [fold for fold, split in self.splits.items() if case in split["val"]]
        unseen = [fold for fold, split in self.splits.items() if case not in split["train"]]
        chosen = (keeping or unseen)[:1]
        return (chosen[0], True) if chosen else (next(iter(self.splits)), False)

    def leaks(self, fold: str, cases: Sequence[str]) -> list[str]:
        """Return a note if `model(fold)` was trained on cases that it is to be scored on.

        Args:
            fold: the fold of the later stage.
            cases: ids of the cases that the fold keeps apart.
        """
        splits = [self.splits[fold]] if fold in self.splits else self.splits.values()
        trained = {case for split in splits for case in split["train"]}
        seen = [case for case in cases if case in trained]
        if not seen:
            return []
        return [
            f"fold {fold} of {self.name} was trained on {len(seen)} of the cases that are kept apart here "
            f"({first_few(seen)}): their scores are better than on new scans"
        ]


def answer_samples(
    samples: Sequence[Sample],
    stage: PreviousStage,
    later: str,
    cache: Path,
    device: torch.device,
    callback: Callback,
) -> tuple[list[Sample], dict[str, str], list[str]]:
    """Add the previous stage's answers to samples: from files where they are there, else made and kept.

    Args:
        samples: preprocessed for the later stage.
        stage: the previous one.
        later: name of the configuration that the samples were preprocessed for.
        cache: where maps lie as they are read in training.
        device: to compute on.
        callback: receives progress.

    Returns:
        The samples, why the others have no answer ({case id: message}), and notes.
    """
    by_fold: dict[str, list[Sample]] = defaultdict(list)
    seen = []
    for sample in samples:
        fold, unseen = stage.fold_of(sample.case.id)
        by_fold[fold].append(sample)
        seen += [] if unseen else [sample.case.id]
    folds = {fold: _Fold(stage.folder.fold(fold), later, device) for fold in by_fold}
    work = [(folds[fold], sample) for fold in sorted(by_fold) for sample in by_fold[fold]]  # one network at a time
    answered: dict[str, Sample] = {}
    failed = {}

    def with_part(event: Progress) -> None:
        callback(replace(event, info={"part": f"by {stage.name} for {later}", **event.info}))

    for answering, sample in track(work, "predict", len(work), with_part):
        try:
            answered[sample.case.id] = answering.complete(sample, cache)
        except Cancelled:
            raise
        except MedsegError as error:
            failed[sample.case.id] = f"{stage.name} has no answer for it, so it is left out: {error}"
    notes = []
    if seen:
        notes = [
            f"no fold of {stage.name} keeps {counted(len(seen), 'case')} apart, where its answers are better than on "
            f"new scans: {first_few(seen)}"
        ]
    return [answered[sample.case.id] for sample in samples if sample.case.id in answered], failed, notes


class _Fold:
    """One fold of the previous stage; its network is loaded when a case has to be answered.

    Args:
        files: the files of the fold.
        later: name of the configuration that the answers are for.
        device: to compute on.
    """

    def __init__(self, files: FoldFolder, later: str, device: torch.device) -> None:
        self._files = files
        self._answers = files.next_stage_answers(later)
        self._device = device

    def complete(self, sample: Sample, cache: Path) -> Sample:
        """Return the sample with its answer."""
        source = hashlib.blake2b(f"{self._weights} {sample.key}".encode(), digest_size=12).hexdigest()
        return load_previous(sample, cache, source, lambda: self._answer(sample, source))

    @cached_property
    def _weights(self) -> str:
        """Hashes of the weights and plans that the answers depend on."""
        return _hashes(self._files)

    @cached_property
    def _predictor(self) -> Predictor:
        return Predictor(load_run(self._files.path, self._device), self._device, compares=False)

    def _answer(self, sample: Sample, source: str) -> NDArray[np.int16]:
        """Return the answer from the fold's folder, made first where these weights have not made it yet."""
        path = self._answers / f"{sample.case.id}.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                if str(file["source"]) == source:
                    return file["label"].astype(np.int16)
        except Exception:  # there is none, or it is damaged: numpy and zip raise unrelated types
            pass
        answer = self._predicted(sample)
        small = np.uint8 if answer.max(initial=0) <= np.iinfo(np.uint8).max else np.int16
        with saving(path) as temporary, open(temporary, "wb") as stream:
            np.savez_compressed(stream, label=answer.astype(small), source=np.array(source))
        return answer

    def _predicted(self, sample: Sample) -> NDArray[np.int16]:
        model = self._predictor.model
        image = load_case_image(sample.case, len(model.plan.data.channels), model.plan.data.reading)
        volume = self._predictor.prepare(image)
        slabs = self._predictor.logits(volume)
        return restore_onto(slabs, volume.geometry, model.plan.labels, model.configuration, sample.label.shape)


def _hashes(fold: FoldFolder) -> str:
    """Return hashes of a fold's weights and plan, and of those of the stage before it."""
    fold_hashes = f"{content_hash(fold.weights)} {content_hash(fold.plan)}"
    plan, configuration = load_plan(fold.plan), fold.run.path.name
    stage = plan.configuration(configuration).previous_stage if configuration in plan.configurations else None
    if stage is None:
        return fold_hashes
    earlier = RunFolder(fold.run.path.with_name(stage)).fold(fold.fold)
    return f"{fold_hashes} {_hashes(earlier)}" if earlier.weights.exists() else fold_hashes
