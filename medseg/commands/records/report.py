"""`medseg report`: the page of a training run, made anew from what lies in its folder."""

from __future__ import annotations

from pathlib import Path

from medseg.core.case import Case
from medseg.core.errors import MedsegError, ModelError
from medseg.core.progress import Callback, silent
from medseg.delivery.pages.run_page import write_report
from medseg.delivery.provenance.manifest import update_hash
from medseg.evaluation.label_files import Pair, summarize_pairs
from medseg.evaluation.summary import Unscored
from medseg.io.layouts.names import images_by_stem
from medseg.models.run_files import PLAN, FoldFolder, RunFolder
from medseg.models.workspace import Workspace, plan_cases
from medseg.plans.file import load_plan
from medseg.plans.schema import Plan


def report(
    run: str | Path | None = None, workspace: str | Path = ".", data: Path | None = None, callback: Callback = silent
) -> tuple[Path, ...]:
    """Write report.html of each trained fold of a run, from its plan, log and validation answers.

    Args:
        run: a fold's folder, a run's, or its name in the workspace; None for the only one there is.
        data: where the data set lies now, if not where the plan says; without it there are no scores in the page.

    Raises:
        ModelError: there is no such run.
    """
    place = Workspace(Path(workspace))
    folder = Path(run) if run is not None and FoldFolder(Path(run)).plan.is_file() else place.model_path(run)
    folds = [FoldFolder(folder)] if FoldFolder(folder).plan.is_file() else RunFolder(folder).folds_with(PLAN)
    if not folds:
        raise ModelError(f"{folder} holds no run: there is no fold_0/{PLAN} in it.", "`medseg train` makes one.")
    pages = tuple(_rebuild(fold, place, data, callback) for fold in folds)
    for page in pages:
        update_hash(page.parent, page)
    return pages


def _rebuild(fold: FoldFolder, place: Workspace, data: Path | None, callback: Callback) -> Path:
    plan = load_plan(fold.plan)
    answers, _ = images_by_stem(fold.validation)
    try:
        cases = {case.id: case for case in _cases(plan, place, data)}
    except MedsegError as error:
        return write_report(fold, plan, None, notes=[f"no scores, because the data set is not there: {error.message}"])
    known = [cases[id] for id in sorted(answers.keys() & cases.keys())]
    pairs = [Pair(case, case.label, answers[case.id], plan.data.reading) for case in known if case.label]
    if not pairs:
        return write_report(fold, plan, None, notes=["no scores: the run has no validation answers"])
    summary = summarize_pairs(pairs, plan.labels, plan.scoring, Unscored(), callback)
    return write_report(fold, plan, summary, [(pair, pair.about.channels[0]) for pair in pairs])


def _cases(plan: Plan, place: Workspace, data: Path | None) -> list[Case]:
    return plan_cases(place.plans / f"{plan.name}.yaml", place.data_folder(plan, data), plan)
