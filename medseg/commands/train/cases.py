"""Choose the cases that a run trains on, and those that it is validated on."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from medseg.commands.train.run import Run
from medseg.core.case import Case
from medseg.core.errors import DataError, PlanError
from medseg.core.wording import counted, first_few
from medseg.models.record import RunRecord
from medseg.models.run_files import FoldFolder
from medseg.models.workspace import plan_folds
from medseg.planning.splits import patient_leaks
from medseg.preprocessing.cache import Sample

CONTENTS = "contents"
"""Key of a run's `split.json`: {case: what names the contents that the run was trained on}."""
_UNTIL = " (until step "
_MOST_EXPLAINED = 3


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


def note_on_unread(failed: Mapping[str, str]) -> list[str]:
    """Return a note on the cases that cannot be read, as a run begins and not hours later; none where all can.

    Args:
        failed: {case: why}.
    """
    if not failed:
        return []
    shown = "; ".join(f"{id}: {why.splitlines()[0]}" for id, why in [*failed.items()][:_MOST_EXPLAINED])
    more = f"; and {len(failed) - _MOST_EXPLAINED} more" * (len(failed) > _MOST_EXPLAINED)
    return [f"{counted(len(failed), 'case')} cannot be read, and left out: {shown}{more}"]


def changed_since(
    files: FoldFolder, record: RunRecord | None, contents: Mapping[str, str], failed: Mapping[str, str], step: int
) -> tuple[dict[str, str], list[str]]:
    """Return what a run has been trained on so far, and notes on cases that are others now than when it began.

    Args:
        files: folder of the fold.
        record: what earlier sessions noted; None for a new run.
        contents: {case: what names its contents} of the cases that could be read now.
        failed: {case: why it could not be read} now.
        step: the step from which the run goes on.

    Returns:
        {case: what names its contents}, those included that only an earlier session could read.
    """
    begun = record is not None and step > 0 and files.split.exists()
    earlier = json.loads(files.split.read_text(encoding="utf-8")).get(CONTENTS, {}) if begun else {}
    if not earlier:  # of a version that did not note it, too
        return {**contents}, []
    notes = []
    changed = sorted(id for id, text in contents.items() if earlier.get(id, text) != text)
    new = sorted(contents.keys() - earlier.keys())
    gone = sorted(failed.keys() & earlier.keys())
    for ids, what in (
        (changed, "changed since the run began (scan, label, weights or what is annotated): the run goes on with"),
        (new, "could not be read when the run began: from here on it uses"),
        (gone, "could be read when the run began: it goes on without"),
    ):
        if ids:
            notes.append(f"{counted(len(ids), 'case')} {what} {first_few(ids)}")
    return {**earlier, **contents}, notes


def unread_so_far(run: Run, failed: Mapping[str, str], training: Collection[str]) -> dict[str, str]:
    """Return {case: why it is left out} of this session, and of training cases that an earlier one was trained without.

    Args:
        run: the run.
        failed: those of this session.
        training: ids of the training cases.
    """
    earlier = (run.record.failed if run.record is not None and run.step > 0 else None) or {}
    missed = {id: why for id, why in earlier.items() if id in training and id not in failed}
    return {id: why if _UNTIL in why else f"{why}{_UNTIL}{run.step})" for id, why in missed.items()} | {**failed}


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
