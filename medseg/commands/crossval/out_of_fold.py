"""Score the out-of-fold answers of a configuration together: each case was segmented by a fold that never saw it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.commands.crossval.options import CrossvalOptions
from medseg.core.case import Case
from medseg.core.errors import ModelError
from medseg.core.progress import Callback
from medseg.core.wording import counted, first_few
from medseg.delivery.answers.formats import answer_path
from medseg.delivery.pages.score_files import write_results
from medseg.delivery.provenance.entries import write_evaluation_manifest
from medseg.delivery.provenance.manifest import Clock
from medseg.engines.engine import HERE, Engine
from medseg.evaluation.comparison import subgroups
from medseg.evaluation.label_files import Pair, summarize_pairs
from medseg.evaluation.result import Evaluation
from medseg.evaluation.summary import Unscored
from medseg.models.record import RunRecord, read_record
from medseg.models.run_files import FoldFolder, RunFolder
from medseg.plans.changes import differences
from medseg.plans.file import load_plan
from medseg.plans.schema import Plan

_FOLD = "fold"
"""The attribute of a case that says which fold answered it."""


@dataclass(frozen=True)
class Asked:
    """The options of the command, and the folder of the scores, which is not that of the answers."""

    options: CrossvalOptions
    output: Path


@dataclass(frozen=True)
class OutOfFold:
    """The scores of a configuration's out-of-fold answers.

    Attributes:
        evaluation: scores, with a subgroup for each fold.
        folder: where they were written.
        notes: for the user.
    """

    evaluation: Evaluation
    folder: Path
    notes: tuple[str, ...]


def score_out_of_fold(
    run: RunFolder,
    folds: Sequence[FoldFolder],
    cases: Sequence[Case],
    planned: Mapping[str, Sequence[str]],
    data_folder: Path,
    asked: Asked,
    callback: Callback,
    engine: Engine = HERE,
) -> OutOfFold:
    """Score the validation answers of several folds as one set, and write tables and a page.

    Args:
        run: folder of the configuration.
        folds: its trained folds, one at least.
        cases: the cases of the plan.
        planned: {fold: cases that the plan keeps apart in it}; those of `folds` have to have an answer.
        data_folder: folder of the data set.
        asked: what the user asked for, for the manifest.
        callback: receives progress.
        engine: scores the answers.

    Returns:
        The scores of all cases together, with a subgroup for each fold, and the folder that holds them.

    Raises:
        ModelError: the folds were trained on different structures.
    """
    clock = Clock()
    plans = {files.fold: load_plan(files.plan) for files in folds}
    plan = plans[folds[0].fold]
    _check_same_labels(plans)
    pairs, failed, notes = _pairs(folds, cases, planned, plan)
    notes += _unlike_folds(folds, plans, run.path.name)
    summary = summarize_pairs(pairs, plan.labels, plan.scoring, Unscored(failed), callback, engine)
    by_fold = {_FOLD: subgroups(summary.cases, _FOLD, [*summary.structures])} if len(folds) > 1 else {}
    evaluation = Evaluation(summary, plan.labels, "the plan", subgroups=by_fold)
    scans = [(pair, pair.about.channels[0]) for pair in pairs]
    facts = [
        ("plan", f"{plan.name}, {run.path.name}"),
        ("folds", ", ".join(files.fold for files in folds)),
        ("answers", "each case was segmented by the fold that was not trained on it"),
        *(("note", note) for note in notes),
    ]
    files = write_results(run.crossval, evaluation, scans, facts, title="Cross-validation")
    write_evaluation_manifest(run.crossval, clock, asked, (run.path, data_folder), pairs, summary.failed, files)
    return OutOfFold(replace(evaluation, files=files), run.crossval, tuple(notes))


def _pairs(
    folds: Sequence[FoldFolder], cases: Sequence[Case], planned: Mapping[str, Sequence[str]], plan: Plan
) -> tuple[list[Pair], dict[str, str], list[str]]:
    """Return the pairs of answer and label, {case: why it has none}, and notes."""
    known = {case.id: case for case in cases}
    pairs: dict[str, Pair] = {}
    failed: dict[str, str] = {}
    again: list[str] = []
    for files in folds:
        for id in files.kept_apart() or ():
            case = known.get(id)
            if case is None or case.label is None:
                failed[id] = "it is no longer in the data set, or has no label there"
                continue
            answer = answer_path(case, files.validation)
            if id in pairs:
                again.append(id)
            elif answer.exists():
                about = replace(case, attributes={**case.attributes, _FOLD: files.fold})
                pairs[id] = Pair(about, case.label, answer, plan.data.reading)
            else:
                failed[id] = f"fold {files.fold} has no answer to it ({files.report} says why)"
    for files in folds:
        lost = f"{files.path} has no {files.split.name}, which would say that it was not trained on it"
        other = f"fold {files.fold} was trained by other folds than the plan has now, and did not keep it apart"
        for id in planned[files.fold]:
            if id not in pairs and id not in failed:
                failed[id] = other if files.split.is_file() else lost
    notes = []
    if again:
        which = "a case is" if len(again) == 1 else f"{len(again)} cases are"
        notes.append(f"{which} in the validation of several folds; the answer of the first counts: {first_few(again)}")
    return [*pairs.values()], {id: why for id, why in failed.items() if id not in pairs}, notes


def _check_same_labels(plans: Mapping[str, Plan]) -> None:
    """Refuse folds with different structures: their scores have no common mean.

    Raises:
        ModelError: the folds were trained on different structures.
    """
    first, *others = plans
    for fold in others:
        labels, others_labels = plans[fold].labels, plans[first].labels
        if (labels, labels.names) != (others_labels, others_labels.names):  # mappings are equal in any order
            raise ModelError(
                f"Fold {fold} was trained on {', '.join(plans[fold].labels.names)}, and fold {first} on "
                f"{', '.join(plans[first].labels.names)}, or with other values or in another order.",
                "Delete the folds of the old plan to train them again, or choose folds of one plan: --folds 0,1",
            )


def _unlike_folds(folds: Sequence[FoldFolder], plans: Mapping[str, Plan], configuration: str) -> list[str]:
    """Return notes on folds that were trained by other settings, or another length, than the first one."""
    first, *others = folds
    folds_of: dict[str, list[str]] = {}
    for files in others:
        changes = differences(plans[first.fold], plans[files.fold], configuration)
        unlike = [f"{change.key} {change.new!r}, not {change.old!r}" for change in changes]
        unlike += _unlike_length(read_record(first), read_record(files))
        if unlike:
            folds_of.setdefault(first_few(unlike), []).append(files.fold)
    named = {
        difference: f"fold {unlike[0]} was" if len(unlike) == 1 else f"folds {', '.join(unlike)} were"
        for difference, unlike in folds_of.items()
    }
    return [f"{subject} trained unlike fold {first.fold}: {difference}" for difference, subject in named.items()]


def _unlike_length(first: RunRecord | None, other: RunRecord | None) -> list[str]:
    """Return how the lengths of two runs differ; runs of equal budgets have the steps that these allowed."""
    if first is None or other is None or first.ended_early or other.ended_early:
        return []
    if first.budget_seconds is not None or other.budget_seconds is not None:
        if first.budget_seconds == other.budget_seconds:
            return []
        lengths = [
            f"{counted(record.steps or 0, 'step')} without a budget"
            if record.budget_seconds is None
            else f"a budget of {record.budget_seconds:g} s"
            for record in (other, first)
        ]
        return [", not ".join(lengths)]
    if first.steps == other.steps:
        return []
    return [f"{counted(other.steps or 0, 'step')}, not {first.steps}"]
