"""A training run made ready: cases chosen and preprocessed, network made, everything but the number of steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from medseg.commands.train.options import TrainOptions
from medseg.commands.train.previous_answers import Before, answer_samples
from medseg.commands.train.run import Run
from medseg.commands.train.validate import DiceProbe
from medseg.core.case import Case
from medseg.core.errors import DataError, PlanError
from medseg.core.progress import Callback, Progress
from medseg.core.wording import counted, first_few
from medseg.inference.memory import free_host_bytes
from medseg.inference.predictor import Predictor
from medseg.models.run import Model, NetworkFactory, check_factory, make_network
from medseg.models.start import Start, open_source, start_from
from medseg.models.workspace import Workspace, plan_cases, splits_path
from medseg.networks.device import choose_device, choose_precision
from medseg.networks.slow_convolution_check import slow_convolution
from medseg.planning.annotation import check_annotated, describe_annotation
from medseg.planning.splits import Fold, make_splits, patient_leaks, read_splits
from medseg.preprocessing.cache import Sample, load_samples
from medseg.preprocessing.normalize import check_schemes
from medseg.training.data.sample_placement import place as place_samples
from medseg.training.length.course import Course
from medseg.training.run.setup import Setup
from medseg.training.step.ranks import ALONE, Ranks
from medseg.training.step.rehearsal import rehearse

SPLIT = "split.json"
"""Ids of a run's training and validation cases, so that it goes on with them whatever becomes of the folds."""


@dataclass(frozen=True)
class Job:
    """A run that is ready to start: everything but the number of steps."""

    run: Run
    setup: Setup
    network: torch.nn.Module
    samples: list[Sample]
    held_out: list[Sample]
    split: dict[str, list[str]]
    probe: DiceProbe
    notes: list[str]
    failed: dict[str, str]
    start: Start | None = None
    previous: Model | None = None

    def predictor(self, network: torch.nn.Module) -> Predictor:
        """What a network predicts with, in this run's configuration."""
        folder = self.setup.folder
        fold = folder.name.removeprefix("fold_")
        return Predictor(
            Model(self.setup.plan, folder.parent.name, (fold,), (network,), folder.parent, self.previous),
            self.setup.device,
        )


def prepare(
    run: Run,
    place: Workspace,
    options: TrainOptions,
    callback: Callback,
    factory: NetworkFactory | None,
    ranks: Ranks = ALONE,
    before: Before | None = None,
) -> Job:
    """Choose the cases, preprocess them, and make the network.

    Args:
        ranks: this process among those that train together; the first one preprocesses.
        before: in a cascade's later stage, the trained stage before it.

    Raises:
        MedsegError: the data or the request is not valid.
    """
    plan, configuration = run.plan, run.plan.configuration(run.configuration)
    cases = plan_cases(run.plan_path, place.data_folder(plan, options.data), plan)
    training, validation, notes = _fold_cases(run, cases)
    check_annotated(training, plan.labels)
    partly_labelled = describe_annotation(training, plan.labels)
    notes = [*run.notes, *notes, *partly_labelled]
    device = choose_device(options.device)
    ranks.numbers(configuration.batch_size)  # too many processes are too many before hours of preprocessing, too
    torch.manual_seed(plan.training.seed)
    check_schemes(configuration, run.configuration)
    check_factory(run.record, run.folder, factory)
    network = make_network(plan, configuration, factory).to(device)
    rehearse(network, plan, configuration, bool(partly_labelled))
    start = _start(network, run, place, options, callback)
    notes = [*notes, *(start.notes if start else ())]
    with ranks.first_before():
        every, failed, odd = _load([*training, *validation], run, place.cache / plan.name, before, device, callback)
    if before is not None:
        notes += [*odd, *before.leaks(run.fold, [case.id for case in validation])]
    previous = None if before is None else before.model(run.fold, device)
    ids = {case.id for case in training}
    mine = [sample for sample in every if sample.case.id in ids]
    samples, where = place_samples(mine, device, free_host_bytes())
    notes = [*notes, where]
    if not samples:
        raise DataError("No training case could be read:\n  " + "\n  ".join(failed.values()))
    held_out = [sample for sample in every if sample.case.id not in ids]
    if not held_out:
        notes = [*notes, "no case is kept apart, so the Dice shown while training is that of training cases"]
    probe = DiceProbe(plan, configuration, device, held_out or samples)
    precision = choose_precision(plan.training.precision, device)
    slow = slow_convolution(device, precision, configuration.dimensions)
    notes = [*notes, *([slow] if slow else ())]
    steps = int(run.record.get("steps") or options.steps or plan.training.steps)
    course = Course.recorded(steps, run.record.get("schedule", ()), bool(run.record.get("ended_early")))
    setup = Setup(plan, configuration, course, device, precision, run.folder, ranks)
    split = {"train": [case.id for case in training], "val": [case.id for case in validation]}
    return Job(run, setup, network, samples, held_out, split, probe, notes, failed, start, previous)


def _load(
    cases: Sequence[Case], run: Run, cache: Path, before: Before | None, device: torch.device, callback: Callback
) -> tuple[list[Sample], dict[str, str], list[str]]:
    """Preprocessed cases, in a cascade with the answers of the stage before; why others failed; notes."""
    samples, failed = load_samples(cases, run.plan, run.plan.configuration(run.configuration), cache, callback)
    if before is None:
        return samples, failed, []
    samples, more, notes = answer_samples(samples, before, run.configuration, cache, device, callback)
    return samples, failed | more, notes


def _start(
    network: torch.nn.Module, run: Run, place: Workspace, options: TrainOptions, callback: Callback
) -> Start | None:
    """What was taken over from the model that the run is to start from; shown before hours are spent on it."""
    init = options.init
    if options.goes_on and run.step == 0:  # there is no checkpoint yet that holds what was taken over
        init = (run.record.get("init") or {}).get("asked")
    if init is None:
        return None
    source = open_source(place.model_path(init, option="--init"))
    start = start_from(network, run.plan, run.plan.configuration(run.configuration), source, run.fold)
    callback(Progress("start", 1, 1, {"start": start}))
    return start


def _fold_cases(run: Run, cases: list[Case]) -> tuple[list[Case], list[Case], list[str]]:
    """Training and validation cases of a fold, and what is odd about it; for `all`, every case and none."""
    labelled = [case for case in cases if case.label is not None]
    by_id = {case.id: case for case in labelled}
    if run.record and (run.folder / SPLIT).exists():
        return _as_begun(run.folder / SPLIT, by_id)
    if run.fold == "all":
        return labelled, [], []
    folds, notes = plan_folds(run, labelled)
    if int(run.fold) >= len(folds):
        there = f"there are 0 to {len(folds) - 1}, and all" if folds else "there is only all"
        raise PlanError(f"There is no fold {run.fold}; {there}.")
    chosen = folds[int(run.fold)]
    training, validation = ([by_id[one] for one in chosen[side]] for side in ("train", "val"))
    unused = len(by_id) - len(training) - len(validation)
    if unused:
        what = f"{counted(unused, 'case')} of the table {'is' if unused == 1 else 'are'} in no part of this fold"
        notes.append(f"{what}; `medseg plan --force` makes folds anew")
    return training, validation, [*notes, *patient_leaks([chosen], labelled)]


def plan_folds(run: Run, labelled: list[Case]) -> tuple[list[Fold], list[str]]:
    """The folds that belong to the run's plan, and what is odd about them."""
    if splits_path(run.plan_path).exists():
        return read_splits(splits_path(run.plan_path), labelled), []
    folds, why = make_splits(labelled, {})
    return folds, [why]


def _as_begun(path: Path, by_id: dict[str, Case]) -> tuple[list[Case], list[Case], list[str]]:
    """The cases that a run began with.

    Raises:
        DataError: some of them are no longer in the table of cases.
    """
    split = json.loads(path.read_text(encoding="utf-8"))
    gone = [one for side in ("train", "val") for one in split[side] if one not in by_id]
    if gone:
        raise DataError(
            f"Cases that the run began with are no longer in the data set ({len(gone)}): {first_few(gone)}.",
            "Put them back to go on, or delete the run's folder to train anew.",
        )
    training, validation = ([by_id[one] for one in split[side]] for side in ("train", "val"))
    return training, validation, []
