"""Write the files of an evaluation: metrics.json, metrics.csv, pooled.csv and report.html."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medseg import __version__
from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.core.names import name_problem
from medseg.core.wording import counted
from medseg.delivery.answers.case_pages import SMALL_VOXELS, viewer_page, write_viewer
from medseg.delivery.pages.blocks import Picture
from medseg.delivery.pages.figures import figure
from medseg.delivery.pages.own_page import is_own_page, page_link, remove_own_page, why_kept
from medseg.delivery.pages.page import Page, Section, write_page
from medseg.delivery.pages.run_sections import run_section
from medseg.delivery.pages.score_sections import (
    cases_section,
    comparison_section,
    confusion_section,
    details_section,
    failures_section,
    headline,
    scores_section,
    subgroup_section,
)
from medseg.delivery.pictures.case_panel import View, case_panel, describe_view, dice_line, worst_median_best
from medseg.evaluation.label_files import Pair
from medseg.evaluation.result import Compared, Evaluation
from medseg.evaluation.summary import CaseScore, Summary
from medseg.evaluation.tables import write_metrics_csv, write_metrics_json, write_pooled_csv
from medseg.io.formats.table import says_sides, split_suffix
from medseg.io.images import read_image
from medseg.models.run_files import METRICS as METRICS_JSON
from medseg.models.run_files import METRICS_CSV, POOLED_CSV, REPORT_CASES
from medseg.models.run_files import REPORT as PAGE

Scans = Sequence[tuple[Pair, Path | None]]
"""Pairs of prediction and reference with the file of their scan, where it is known."""
FOOTER = ("Made by medseg. For research use; not a medical device.",)


def write_results(
    folder: Path, evaluation: Evaluation, scans: Scans, facts: Sequence[tuple[str, str]], title: str = "Evaluation"
) -> tuple[Path, ...]:
    """Write the tables and the page of an evaluation, and return their paths.

    Args:
        folder: Where they are written.
        evaluation: The evaluation.
        scans: The pairs that were scored, with their scans.
        facts: (term, description) of how it was evaluated, for the page.
        title: Title of the page.
    """
    write_metrics_json(folder / METRICS_JSON, evaluation.summary, evaluation.labels, _extra_tables(evaluation))
    write_metrics_csv(folder / METRICS_CSV, evaluation.summary)
    write_pooled_csv(folder / POOLED_CSV, evaluation.summary)
    more = [subgroup_section(attribute, groups) for attribute, groups in evaluation.subgroups.items()]
    if evaluation.compared:
        more.insert(0, comparison_section(evaluation.compared))
    scores = score_sections(folder, evaluation.summary, evaluation.labels, scans, more)
    page = Page(
        title=title,
        lead=lead(evaluation.summary),
        figures=headline(evaluation.summary),
        sections=[*scores.first, *scores.rest, run_section([*facts, ("medseg", __version__)])],
        footer=FOOTER,
    )
    write_page(folder / PAGE, page)
    pages = sorted(filter(is_own_page, (folder / REPORT_CASES).glob("*.html")))
    return folder / METRICS_JSON, folder / METRICS_CSV, folder / POOLED_CSV, folder / PAGE, *pages


def _extra_tables(evaluation: Evaluation) -> dict[str, Any]:
    """Return the further tables of metrics.json: the comparison with other predictions, subgroups, and pairs."""
    tables: dict[str, Any] = {}
    comparisons = [_comparison(compared) for compared in evaluation.compared]
    if comparisons:
        tables |= comparisons[0]
    if len(comparisons) > 1:
        tables["comparisons"] = [
            {"with": str(compared.path), **comparison}
            for compared, comparison in zip(evaluation.compared, comparisons, strict=True)
        ]
    if evaluation.subgroups:
        tables["subgroups"] = {
            attribute: {
                value: {
                    structure: {measure: asdict(figures) for measure, figures in scores.figures.items()}
                    for structure, scores in structures.items()
                }
                for value, structures in groups.items()
            }
            for attribute, groups in evaluation.subgroups.items()
        }
    if evaluation.similar:
        tables["paired_by_similar_names"] = evaluation.similar
    return tables


def _comparison(compared: Compared) -> dict[str, Any]:
    """Return the differences from other predictions, and the cases that these lack."""
    differences = {
        structure: {measure: asdict(difference) for measure, difference in measures.items()}
        for structure, measures in compared.differences.items()
    }
    return {"comparison": differences, "not_compared": compared.not_compared}


@dataclass(frozen=True)
class ScoreSections:
    """The sections that show scores.

    Attributes:
        first: Failures, the scores of each structure, and pictures of cases.
        rest: Comparisons, subgroups, confusion, every measure.
    """

    first: Sequence[Section] = ()
    rest: Sequence[Section] = ()


def score_sections(
    folder: Path, summary: Summary, labels: Labels, scans: Scans, more: Sequence[Section] = ()
) -> ScoreSections:
    """Return the sections that show scores, and write the viewers that their pictures lead to.

    Args:
        folder: Of the page, to which links are relative; viewers are written beside it.
        summary: The scores.
        labels: The structures.
        scans: The pairs that were scored, with their scans.
        more: Sections that come after the pictures of cases.
    """
    links = _viewers(folder, scans)
    cases = cases_section(_pictures(folder, summary, labels, scans, links), summary, links)
    return ScoreSections(
        [failures_section(summary), scores_section(summary), cases],
        [*more, confusion_section(summary, labels), details_section(summary)],
    )


def _viewers(folder: Path, scans: Scans) -> dict[str, str]:
    """Return {case: its viewer's page, relative to a folder} of the cases whose answers have one beside them."""
    pages = {pair.case: viewer_page(split_suffix(pair.prediction)[0], pair.prediction.parent) for pair, _ in scans}
    return {case: _link(page, folder) for case, page in pages.items() if page.is_file()}


def _link(page: Path, folder: Path) -> str:
    return page_link(Path(os.path.relpath(page, folder)).as_posix())


def lead(summary: Summary) -> str:
    """Return the sentence to take away: the mean Dice."""
    cases = counted(len(summary.cases), "case")
    if summary.dice_mean is None:
        return f"{cases} scored; no structure has a Dice."
    overall = summary.overall["dice"]
    bounds = "" if overall.low is None else f" (95 % interval {figure(overall.low)} to {figure(overall.high)})"
    failed = f"; {len(summary.failed)} failed" if summary.failed else ""
    structures = counted(len(summary.structures), "structure")
    return f"Mean Dice {figure(summary.dice_mean)}{bounds} over {cases} and {structures}{failed}."


def _pictures(folder: Path, summary: Summary, labels: Labels, scans: Scans, links: Mapping[str, str]) -> list[Picture]:
    """Return pictures of the worst, the median and the best case, each with a link to a viewer where there is one."""
    files = {pair.case: (pair, scan) for pair, scan in scans}
    for page in (folder / REPORT_CASES).glob("*.html"):  # of earlier scores
        remove_own_page(page)
    pictures = []
    for word, case in worst_median_best(summary.cases):
        view = _view(*files[case.case], word, case, labels)
        caption = f"{word.capitalize()} case: {case.case}" if word else case.case
        caption += f"; {dice_line(case)}"
        words, png = describe_view(view, case, labels), case_panel([view], labels)
        link = links.get(case.case, "")
        if not link:
            try:
                link = _write_viewer(folder, *files[case.case], view, labels)
            except Exception as error:  # whatever libraries raise: scores never depend on it
                why = error.strerror if isinstance(error, OSError) else type(error).__name__
                caption += f"; there is no viewer: {why}"
        pictures.append(Picture(caption, words, png, link, wide=True))
    return pictures


def _write_viewer(folder: Path, pair: Pair, scan: Path | None, view: View, labels: Labels) -> str:
    """Write a page that shows a case with reference and prediction, and return the link to it.

    The link is empty, and nothing is written, where there is no scan on their grid, where it is large, and where a file
    of someone else has the page's name.
    """
    page = folder / REPORT_CASES / f"{pair.case}.html"
    if scan is None or view.image is None or view.image.array[0].size > SMALL_VOXELS:
        return ""
    if name_problem(pair.case) or why_kept(page):
        return ""
    layers = {"prediction": view.prediction} | ({"reference": view.reference} if view.reference else {})
    write_viewer(page, view.image, layers, labels, says_sides(scan), (folder.absolute(), scan.absolute().parent))
    return _link(page, folder)


def _view(pair: Pair, scan: Path | None, word: str, case: CaseScore, labels: Labels) -> View:
    reference, prediction = pair.read(labels)
    title = f"{word}: {pair.case}" if word else pair.case
    return View(title, prediction, reference, _scan_on_grid(scan, reference), dice_line(case))


def _scan_on_grid(path: Path | None, grid: Image) -> Image | None:
    """Return the scan to draw below the labels; None where it cannot be read or lies on another grid."""
    if path is None:
        return None
    try:
        scan = read_image(path)
    except DataError:
        return None
    return scan if scan.same_grid(grid) else None
