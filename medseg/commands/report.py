"""`medseg report`: the page of a training run, made anew from what lies in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.case import Case
from medseg.commands.score_files import FOOTER, PAGE, Scans, lead, score_sections
from medseg.commands.scoring import Pair, summarize_pairs
from medseg.commands.workspace import Workspace, plan_cases
from medseg.delivery.manifest import made_anew
from medseg.delivery.page import Page, Section, write_page
from medseg.delivery.run_sections import (
    curves_section,
    data_section,
    plan_section,
    record_facts,
    run_section,
    start_section,
)
from medseg.delivery.score_sections import headline
from medseg.errors import MedsegError, ModelError
from medseg.evaluation.summary import Summary, Unscored
from medseg.io.names import images_by_stem
from medseg.models.run import PLAN, read_record
from medseg.plan_file import load_plan
from medseg.progress import Callback, silent
from medseg.schema import Plan
from medseg.training.log import read_log

LOG = "log.jsonl"


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
    folder = Path(run) if run is not None and (Path(run) / PLAN).is_file() else place.model_path(run)
    folds = [folder] if (folder / PLAN).is_file() else sorted(path.parent for path in folder.glob(f"fold_*/{PLAN}"))
    if not folds:
        raise ModelError(f"{folder} holds no run: there is no fold_0/{PLAN} in it.", "`medseg train` makes one.")
    pages = tuple(_rebuild(fold, place, data, callback) for fold in folds)
    for page in pages:
        made_anew(page.parent, page)
    return pages


def write_report(fold: Path, plan: Plan, summary: Summary | None, scans: Scans = (), notes: Sequence[str] = ()) -> Path:
    """Write the page of a fold.

    Args:
        fold: its folder, with record and log.
        summary: scores of its validation cases; None where there are none.
        scans: the pairs that were scored, with their scans.
        notes: shown in what was run.
    """
    record = read_record(fold)
    configuration = str(record.get("configuration", fold.parent.name))
    facts = [*record_facts(record), *(("note", note) for note in notes)]
    scores: list[Section] = [] if summary is None else score_sections(summary, plan.labels, scans)
    page = Page(
        title=f"{plan.name}, {configuration}, fold {fold.name.removeprefix('fold_')}",
        lead="Trained on every case; none was kept apart." if summary is None else lead(summary),
        figures=[] if summary is None else headline(summary),
        sections=[
            *scores[:1],
            run_section(facts),
            *([start_section(record["init"])] if record.get("init") else []),
            curves_section(read_log(fold / LOG)),
            *scores[1:],
            data_section(plan),
            plan_section(plan, configuration),
        ],
        footer=FOOTER,
    )
    write_page(fold / PAGE, page)
    return fold / PAGE


def _rebuild(fold: Path, place: Workspace, data: Path | None, callback: Callback) -> Path:
    plan = load_plan(fold / PLAN)
    answers, _ = images_by_stem(fold / "validation")
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
