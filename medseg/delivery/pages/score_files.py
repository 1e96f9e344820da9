"""What an evaluation writes: metrics.json, metrics.csv and report.html."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medseg import __version__
from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.core.wording import counted
from medseg.delivery.pages.page import Page, Section, write_page
from medseg.delivery.pages.pictures import View, case_panel, describe_view, dice_line, worst_median_best
from medseg.delivery.pages.run_sections import run_section
from medseg.delivery.pages.score_sections import (
    cases_section,
    comparison_section,
    confusion_section,
    failures_section,
    figure,
    headline,
    scores_section,
    subgroup_section,
)
from medseg.evaluation.label_files import Pair
from medseg.evaluation.result import Evaluation
from medseg.evaluation.summary import CaseScore, Summary
from medseg.evaluation.tables import write_metrics_csv, write_metrics_json
from medseg.io.images import read_image
from medseg.models.run_files import METRICS as METRICS_JSON
from medseg.models.run_files import REPORT as PAGE

METRICS_CSV = "metrics.csv"
Scans = Sequence[tuple[Pair, Path | None]]
"""Pairs with the scan that they belong to, where it is known."""


def write_results(folder: Path, found: Evaluation, scans: Scans, facts: Sequence[tuple[str, str]]) -> tuple[Path, ...]:
    """Write tables and page of an evaluation."""
    beside: dict[str, Any] = {}
    if found.comparison:
        beside["comparison"] = {
            name: {measure: asdict(one) for measure, one in measures.items()}
            for name, measures in found.comparison.items()
        }
        beside["not_compared"] = found.not_compared
    if found.subgroups:
        beside["subgroups"] = {
            attribute: {
                value: {name: {m: asdict(d) for m, d in one.figures.items()} for name, one in structures.items()}
                for value, structures in groups.items()
            }
            for attribute, groups in found.subgroups.items()
        }
    write_metrics_json(folder / METRICS_JSON, found.summary, found.labels, beside)
    write_metrics_csv(folder / METRICS_CSV, found.summary)
    more = [subgroup_section(attribute, groups) for attribute, groups in found.subgroups.items()]
    if found.comparison:
        more.insert(0, comparison_section(found.comparison, ("these predictions", "the others"), found.not_compared))
    page = Page(
        title="Evaluation",
        lead=lead(found.summary),
        figures=headline(found.summary),
        sections=[
            run_section([*facts, ("medseg", __version__)]),
            *score_sections(found.summary, found.labels, scans, more),
        ],
        footer=FOOTER,
    )
    write_page(folder / PAGE, page)
    return folder / METRICS_JSON, folder / METRICS_CSV, folder / PAGE


FOOTER = ("Made by medseg. For research use; not a medical device.",)


def score_sections(summary: Summary, labels: Labels, scans: Scans, more: Sequence[Section] = ()) -> list[Section]:
    """The sections that show scores, failures first if there are any."""
    scores = [scores_section(summary), *more, cases_section(_pictures(summary, labels, scans), summary)]
    return [failures_section(summary), *scores, confusion_section(summary, labels)]


def lead(summary: Summary) -> str:
    """The sentence to take away."""
    cases = counted(len(summary.cases), "case")
    if summary.dice_mean is None:
        return f"{cases} scored; no structure has a Dice."
    overall = summary.overall["dice"]
    bounds = "" if overall.low is None else f" (95 % interval {figure(overall.low)} to {figure(overall.high)})"
    failed = f"; {len(summary.failed)} failed" if summary.failed else ""
    structures = counted(len(summary.structures), "structure")
    return f"Mean Dice {figure(summary.dice_mean)}{bounds} over {cases} and {structures}{failed}."


def _pictures(summary: Summary, labels: Labels, scans: Scans) -> list[tuple[str, str, bytes]]:
    files = {pair.case: (pair, scan) for pair, scan in scans}
    found = []
    for word, case in worst_median_best(summary.cases):
        view = _view(*files[case.case], word, case)
        caption = f"{word.capitalize()} case: {case.case}" if word else case.case
        found.append((caption, describe_view(view, case, labels), case_panel([view], labels)))
    return found


def _view(pair: Pair, scan: Path | None, word: str, case: CaseScore) -> View:
    reference, prediction = pair.read()
    title = f"{word}: {pair.case}" if word else pair.case
    return View(title, prediction, reference, _scan_on_grid(scan, reference), dice_line(case))


def _scan_on_grid(path: Path | None, grid: Image) -> Image | None:
    """The scan below the labels; None where it cannot be read or lies elsewhere: the labels are drawn alone then."""
    if path is None:
        return None
    try:
        scan = read_image(path)
    except DataError:
        return None
    return scan if scan.same_grid(grid) else None
