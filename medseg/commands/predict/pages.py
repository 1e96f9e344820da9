"""The pages of a folder of answers, of which each leads to the other, and neither to a page that is not there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.commands.predict.index import draw_cases, write_index
from medseg.commands.predict.judged import write_quality
from medseg.commands.predict.result import PredictResult
from medseg.delivery.answers.answer import Outcome
from medseg.delivery.answers.case_pages import CasePages
from medseg.delivery.pages.own_page import is_own_page
from medseg.delivery.provenance.folder_files import INDEX
from medseg.models.model import Model


def write_pages(
    output: Path,
    source: Path,
    model: Model,
    pages: CasePages,
    result: PredictResult,
    outcomes: Sequence[Outcome],
) -> PredictResult:
    """Write index.html, if it is wanted, and quality.html, if the answers are judged.

    Args:
        output: folder of the answers.
        source: the scan or the folder of scans.
        model: made them.
        pages: what is made of each case.
        result: of the prediction.
        outcomes: of all its cases.

    Returns:
        The result with the page, and with notes on what could not be written or shown.
    """
    shown = draw_cases(output, pages, result, outcomes, model.plan.labels)
    expected = bool(shown) or is_own_page(output / INDEX)
    judged = write_quality(output, result, expected)
    final = write_index(output, source, model, pages, judged, shown)
    if judged.notes == result.notes and is_own_page(output / INDEX) != expected:  # it was written, and leads nowhere
        return write_quality(output, final, not expected)
    return final
