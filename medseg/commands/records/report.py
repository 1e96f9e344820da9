"""`medseg report`: make the page of a training run again from the files in its folder."""

from __future__ import annotations

from pathlib import Path

from medseg.core.errors import MedsegError, ModelError
from medseg.core.progress import Callback, silent
from medseg.core.replacing import finish_replacing
from medseg.delivery.pages.run_page import NO_SCORES, write_report
from medseg.delivery.provenance.manifest import list_again
from medseg.evaluation.label_files import Pair, summarize_pairs
from medseg.evaluation.summary import Unscored
from medseg.io.layouts.file_names.names import images_by_stem
from medseg.models.run_files import PLAN, REPORT_CASES, FoldFolder, RunFolder
from medseg.models.workspace import Workspace, plan_cases
from medseg.plans.file import load_plan


def report(
    run: str | Path | None = None, workspace: str | Path = ".", data: Path | None = None, callback: Callback = silent
) -> tuple[Path, ...]:
    """Write report.html of each trained fold of a run, from its plan, its log and its answers to validation cases.

    Args:
        run: Folder of a run or a fold, or the name of a run in the workspace; None for the only run.
        workspace: Folder with plans/, runs/ and cache/.
        data: Folder of the data set, if it is not where the plan says; where it is missing, the page has no scores.
        callback: Called with the progress; may raise `Cancelled`.

    Returns:
        The pages.

    Raises:
        ModelError: There is no such run.
    """
    paths = Workspace(Path(workspace))
    folder = Path(run) if run is not None and FoldFolder(Path(run)).plan.is_file() else paths.model_path(run, option="")
    folds = [FoldFolder(folder)] if FoldFolder(folder).plan.is_file() else RunFolder(folder).folds_with(PLAN)
    if not folds:
        raise ModelError(f"{folder} holds no run: there is no fold_0/{PLAN} in it.", "`medseg train` makes one.")
    pages = tuple(_write_page(fold, paths, data, callback) for fold in folds)
    for page in pages:
        list_again(page.parent, page, page.parent / REPORT_CASES)
    return pages


def _write_page(fold: FoldFolder, workspace: Workspace, data: Path | None, callback: Callback) -> Path:
    """Score the answers of a fold to its validation cases as far as the data set is there, and write its page."""
    finish_replacing(fold.path)
    plan = load_plan(fold.plan)
    answers, _ = images_by_stem(fold.validation)
    try:
        data_folder = workspace.data_folder(plan, data)
        cases = {case.id: case for case in plan_cases(workspace.plans / f"{plan.name}.yaml", data_folder, plan)}
    except MedsegError as error:
        return write_report(
            fold, plan, None, notes=[f"{NO_SCORES}, because the data set is not there: {error.message}"]
        )
    answered = [cases[id] for id in sorted(answers.keys() & cases.keys())]
    pairs = [Pair(case, case.label, answers[case.id], plan.data.reading) for case in answered if case.label]
    if not pairs:
        return write_report(fold, plan, None, notes=[f"{NO_SCORES}: the run has no validation answers"])
    scored = {pair.case for pair in pairs}
    without = [id for id in fold.kept_apart() or () if id not in scored]
    unscored = Unscored(dict.fromkeys(without, "there is no answer to it, or no label"))
    summary = summarize_pairs(pairs, plan.labels, plan.scoring, unscored, callback)
    return write_report(fold, plan, summary, [(pair, pair.about.channels[0]) for pair in pairs])
