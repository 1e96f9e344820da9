"""The page of a training run: its scores, what was run, the curves, the data and the plan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.delivery.pages.live_page import newest_picture, picture_section
from medseg.delivery.pages.page import Page, write_page
from medseg.delivery.pages.run_sections import (
    curves_section,
    data_section,
    plan_section,
    record_facts,
    run_section,
    start_section,
    weights_section,
)
from medseg.delivery.pages.score_files import FOOTER, Scans, ScoreSections, lead, score_sections
from medseg.delivery.pages.score_sections import headline
from medseg.evaluation.summary import Summary
from medseg.models.record import RunRecord, read_record
from medseg.models.run_files import FoldFolder
from medseg.plans.schema import Plan
from medseg.training.run.log import read_log

NO_SCORES = "no scores"
"""With it a note begins that says why a page has none."""


def write_report(
    fold: FoldFolder, plan: Plan, summary: Summary | None, scans: Scans = (), notes: Sequence[str] = ()
) -> Path:
    """Write the page of a fold, and return its path.

    Args:
        fold: with record and log; the record's notes are shown among the facts of the run.
        plan: the plan that the fold was trained by.
        summary: scores of its validation cases; None where there are none.
        scans: the pairs that were scored, with their scans.
        notes: more notes.
    """
    record = read_record(fold) or RunRecord()
    configuration = record.configuration or fold.run.path.name
    apart = fold.kept_apart() or ()
    left_out = [f"not trained on {case}: {why}" for case, why in (record.failed or {}).items() if case not in apart]
    facts = [*record_facts(record), *(("note", note) for note in [*(record.notes or ()), *left_out, *notes])]
    scores = ScoreSections() if summary is None else score_sections(fold.path, summary, plan.labels, scans)
    page = Page(
        title=f"{plan.name}, {configuration}, fold {fold.fold}",
        lead=_lead_without_scores(fold, notes) if summary is None else lead(summary),
        figures=[] if summary is None else headline(summary),
        sections=[
            *scores.first,
            curves_section(read_log(fold.log)),
            picture_section(newest_picture(fold)),
            *scores.rest,
            run_section(facts),
            *([weights_section(record.encoder_weights)] if record.encoder_weights else []),
            *([start_section(record.init)] if record.init else []),
            data_section(plan),
            plan_section(plan, configuration),
        ],
        footer=FOOTER,
    )
    write_page(fold.report, page)
    return fold.report


def _lead_without_scores(fold: FoldFolder, notes: Sequence[str]) -> str:
    """Return why the page of a fold has no scores."""
    if fold.kept_apart() == []:
        return "Trained on every case; none was kept apart."
    why = next((note for note in notes if note.startswith(NO_SCORES)), NO_SCORES)
    return f"{why[0].upper()}{why[1:].rstrip('.')}."
