"""`medseg report`: make the page of a training run again from the files in its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medseg.core.errors import MedsegError, ModelError
from medseg.core.progress import Callback, silent
from medseg.core.replacing import finish_replacing
from medseg.delivery.pages.run_page import NO_SCORES, write_report
from medseg.delivery.provenance.manifest import list_again
from medseg.evaluation.label_files import Pair, summarize_pairs
from medseg.evaluation.summary import Unscored
from medseg.io.layouts.file_names.names import images_by_stem
from medseg.models.record import RunRecord, read_record
from medseg.models.run_files import PLAN, REPORT_CASES, FoldFolder, RunFolder
from medseg.models.workspace import Workspace, plan_cases
from medseg.plans.file import load_plan
from medseg.plans.schema import Plan


@dataclass(frozen=True)
class ReportResult:
    """The pages of a run's folds.

    Attributes:
        files: the pages.
        failed: {case: why its page has no score of it}, or {fold: why its page has no scores at all}.
    """

    files: tuple[Path, ...]
    failed: dict[str, str]


def report(
    run: str | Path | None = None, workspace: str | Path = ".", data: Path | None = None, callback: Callback = silent
) -> ReportResult:
    """Write report.html of each trained fold of a run, from its plan, its log and its answers to validation cases.

    Args:
        run: Folder of a run or a fold, or the name of a run in the workspace; None for the only run.
        workspace: Folder with plans/, runs/ and cache/.
        data: Folder of the data set, if it is not where the plan says; where it is missing, the page has no scores.
        callback: Called with the progress; may raise `Cancelled`.

    Returns:
        The pages, and what they have no scores of.

    Raises:
        ModelError: There is no such run.
    """
    paths = Workspace(Path(workspace))
    folder = Path(run) if run is not None and FoldFolder(Path(run)).plan.is_file() else paths.model_path(run, option="")
    folds = [FoldFolder(folder)] if FoldFolder(folder).plan.is_file() else RunFolder(folder).folds_with(PLAN)
    if not folds:
        raise ModelError(f"{folder} holds no run: there is no fold_0/{PLAN} in it.", "`medseg train` makes one.")
    failed: dict[str, str] = {}
    for fold in folds:
        failed |= _write_page(fold, paths, data, callback)
        list_again(fold.path, fold.report, fold.path / REPORT_CASES)
    return ReportResult(tuple(fold.report for fold in folds), failed)


def _write_page(fold: FoldFolder, workspace: Workspace, data: Path | None, callback: Callback) -> dict[str, str]:
    """Score the answers of a fold to its validation cases as far as the data set is there, and write its page.

    Returns:
        {case: why it has no score}, or {fold: why none has}.
    """
    finish_replacing(fold.path)
    plan = load_plan(fold.plan)
    answers, _ = images_by_stem(fold.validation)
    try:
        data_folder = workspace.data_folder(plan, data)
        cases = {case.id: case for case in plan_cases(workspace.plans / f"{plan.name}.yaml", data_folder, plan)}
    except MedsegError as error:
        return _without_scores(fold, plan, f"{NO_SCORES}, because the data set is not there: {error.message}")
    answered = [cases[id] for id in sorted(answers.keys() & cases.keys())]
    pairs = [Pair(case, case.label, answers[case.id], plan.data.reading) for case in answered if case.label]
    if not pairs:
        return _without_scores(fold, plan, f"{NO_SCORES}: the run has no validation answers")
    scored, known = {pair.case for pair in pairs}, (read_record(fold) or RunRecord()).failed or {}
    without = [id for id in fold.kept_apart() or () if id not in scored]
    unscored = Unscored({id: known.get(id, "there is no answer to it, or no label") for id in without})
    summary = summarize_pairs(pairs, plan.labels, plan.scoring, unscored, callback)
    write_report(fold, plan, summary, [(pair, pair.about.channels[0]) for pair in pairs])
    return dict(summary.failed)


def _without_scores(fold: FoldFolder, plan: Plan, why: str) -> dict[str, str]:
    """Write a page without scores; a fold that keeps no case apart lacks none."""
    write_report(fold, plan, None, notes=[why])
    return {} if fold.kept_apart() == [] else {str(fold.path): why}
