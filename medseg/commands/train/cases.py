"""Choose the cases that a run trains on, and those that it is validated on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from medseg.commands.train.run import Run
from medseg.core.case import Case
from medseg.core.errors import DataError, PlanError
from medseg.core.wording import counted, first_few
from medseg.models.workspace import plan_folds
from medseg.planning.splits import patient_leaks
from medseg.preprocessing.cache import Sample


def choose_cases(run: Run, cases: list[Case]) -> tuple[list[Case], list[Case], list[str]]:
    """Return training cases, validation cases and notes; for the fold `all`, every labelled case and none.

    Args:
        run: the run whose fold is meant. One that goes on keeps the cases that it began with.
        cases: the cases of the plan.

    Raises:
        PlanError: there is no such fold.
        DataError: cases that the run began with are gone.
    """
    labelled = {case.id: case for case in cases if case.label is not None}
    if run.record is not None and run.files.split.exists():
        return _as_begun(run.files.split, labelled)
    if run.files.fold == "all":
        return [*labelled.values()], [], []
    folds, notes = plan_folds(run.plan_path, [*labelled.values()])
    number = int(run.files.fold)
    if number >= len(folds):
        there = f"there are 0 to {len(folds) - 1}, and all" if folds else "there is only all"
        raise PlanError(f"There is no fold {number}; {there}.")
    fold = folds[number]
    training, validation = ([labelled[case] for case in fold[side]] for side in ("train", "val"))
    unused = len(labelled) - len(training) - len(validation)
    if unused:
        what = f"{counted(unused, 'case')} of the table {'is' if unused == 1 else 'are'} in no part of this fold"
        notes.append(f"{what}; `medseg plan --force` makes folds again")
    return training, validation, [*notes, *patient_leaks([fold], [*labelled.values()])]


def _as_begun(path: Path, labelled: dict[str, Case]) -> tuple[list[Case], list[Case], list[str]]:
    """Return the cases that a run began with."""
    split = json.loads(path.read_text(encoding="utf-8"))
    gone = [case for side in ("train", "val") for case in split[side] if case not in labelled]
    if gone:
        raise DataError(
            f"Cases that the run began with are no longer in the data set ({len(gone)}): {first_few(gone)}.",
            "Put them back to go on, or delete the run's folder to train again.",
        )
    training, validation = ([labelled[case] for case in split[side]] for side in ("train", "val"))
    return training, validation, []


def warn_of_cases(
    training: Sequence[Sample], held_out: Sequence[Sample], names: Sequence[str], kept_apart: bool
) -> list[str]:
    """Return a warning for each structure that nothing is learnt of, and one where no validation case is there.

    Plans of earlier versions did not warn of such structures, and preprocessing may lose one.

    Args:
        training: the preprocessed training cases; a structure that resampling lost is not in them either.
        held_out: the preprocessed validation cases.
        names: the structures, in the order of `Sample.locations`.
        kept_apart: whether the fold has validation cases, those that could not be read included.
    """
    warnings = []
    for number, name in enumerate(names):
        with_it = [sample.case for sample in training if len(sample.locations[number])]
        if any(case.is_learnt_from for case in with_it):
            continue
        holding = sorted(sample.case.id for sample in held_out if len(sample.locations[number]))
        where = "and no validation case either"
        if holding:
            where = f"of the validation cases, {first_few(holding)} {'has' if len(holding) == 1 else 'have'} it"
        who = "no training case of this run holds"
        if with_it:
            who, where = "only training cases with the weight 0 hold", first_few(sorted(case.id for case in with_it))
        warnings.append(f"{who} {name} ({where}): it cannot be learnt, and its score says nothing")
    if not held_out:
        why = "no validation case could be read" if kept_apart else "no case is kept apart"
        warnings.append(f"{why}, so the Dice shown while training is that of training cases")
    return warnings
