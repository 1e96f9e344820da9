"""The page of a folder of answers: index.html, and the pictures and viewers that it leads to."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.result import PredictResult
from medseg.core.case import Case
from medseg.core.labels import Labels
from medseg.delivery.answers import case_pages
from medseg.delivery.answers.answer import Outcome
from medseg.delivery.answers.case_pages import FOLDER, SMALL_VOXELS, CasePages
from medseg.delivery.pages.own_page import is_own_page, remove_own_page, why_kept
from medseg.delivery.provenance.folder_files import INDEX, QUALITY
from medseg.delivery.provenance.manifest import without_uids
from medseg.models.model import Model
from medseg.plans.sections.data import Data

if TYPE_CHECKING:
    from medseg.delivery.pages.index_page import CaseShown

_MOST_UNASKED = 20
"""Scans of which a page is written without being asked."""
_MOST_NAMED = 5


def pages_of(options: PredictOptions, cases: Sequence[Case], data: Data, folders: Sequence[Path]) -> CasePages:
    """Return what to make for each case of the page: as the user asked, else by the number of scans.

    Args:
        options: say whether a page is wanted.
        cases: the scans.
        data: says how they are read.
        folders: no page names their paths.
    """
    wanted = len(cases) <= _MOST_UNASKED if options.page is None else options.page
    return CasePages(wanted, None if options.page else SMALL_VOXELS, data, tuple(folders))


def folder_of(source: Path) -> Path:
    """Return the folder that scans come from."""
    return source if source.is_dir() else source.parent


def remove_earlier(output: Path, replaced: Sequence[Case]) -> None:
    """Remove the page, and what it shows of answers that are about to be replaced; those that stay keep theirs.

    A file of someone else that has the page's name stays.

    Args:
        output: folder of the answers.
        replaced: the cases whose answers are made again.
    """
    remove_own_page(output / INDEX)
    for case in replaced:
        case_pages.remove(case, output)
    with suppress(OSError):  # it is not there, or holds what is shown of other answers
        (output / FOLDER).rmdir()


def draw_cases(
    output: Path, pages: CasePages, result: PredictResult, outcomes: Sequence[Outcome], labels: Labels
) -> list[CaseShown]:
    """Return what the page shows; what an earlier run did not draw of the answers that it left is drawn now.

    Args:
        output: folder of the answers.
        pages: what is made of each case.
        result: of the prediction.
        outcomes: of all its cases.
        labels: the structures.

    Returns:
        Nothing where no page is wanted, or a file of someone else is in its way.
    """
    if not pages.wanted or why_kept(output / INDEX):
        return []
    from medseg.delivery.pages.index_page import MOST_CARDS

    outcome_of = {outcome.case.id: outcome for outcome in outcomes}
    return [
        _shown(outcome_of[id], output, pages, result, labels, with_slices=number < MOST_CARDS)
        for number, id in enumerate(result.files)
    ]


def write_index(
    output: Path, source: Path, model: Model, pages: CasePages, result: PredictResult, shown: Sequence[CaseShown]
) -> PredictResult:
    """Write the page, if it is wanted. It leads to the page of quality flags if that is there.

    Args:
        output: folder of the answers.
        source: the scan or the folder of scans; as in the manifest, the page names no folder and no UIDs.
        model: made them.
        pages: what is made of each case.
        result: of the prediction.
        shown: what `draw_cases` returned.

    Returns:
        The result with the page, and with a note on what it cannot show.
    """
    if not pages.wanted or not result.files:
        return result
    if why := why_kept(output / INDEX):
        return replace(result, notes=(*result.notes, why))
    from medseg.delivery.pages.index_page import index_page
    from medseg.delivery.pages.page import write_page

    folders = (output, folder_of(source))
    not_shown = {case.case: case.problem for case in shown if case.problem}
    shown = [_without_paths(case, folders) for case in shown]
    notes = [f"{INDEX} does not show {id}: {why}" for id, why in [*not_shown.items()][:_MOST_NAMED]]
    notes += [f"and {len(not_shown) - _MOST_NAMED} more"] * (len(not_shown) > _MOST_NAMED)
    title = f"{model.plan.name}, {model.configuration_name}"
    judged = bool(result.quality) and is_own_page(output / QUALITY)
    try:
        failed, labels = without_uids(result.failed, folders), model.plan.labels
        page = index_page(title, shown, failed, labels, judged, _passed_over(result, folders))
        write_page(output / INDEX, page)
    except Exception as error:  # a page may not cost the answers their volumes and manifest
        return replace(result, notes=(*result.notes, f"{INDEX} could not be written: {error}"))
    return replace(result, notes=(*result.notes, *notes), page=output / INDEX)


def _passed_over(result: PredictResult, folders: tuple[Path, Path]) -> dict[str, int]:
    """Return {sentence on scans that have no answer: how many they are}, without UIDs.

    Args:
        result: of the prediction.
        folders: that of the answers, and that of the scans, in which the paths are.
    """
    told = [replace(entry, path=entry.path.relative_to(folders[1])).told() for entry in result.passed_over]
    return dict(zip(without_uids(told, folders), (entry.scans for entry in result.passed_over), strict=True))


def _without_paths(case: CaseShown, folders: Sequence[Path]) -> CaseShown:
    """Return the page's entry of an answer, with folders and UIDs removed from its texts."""
    notes, problem = without_uids([*case.notes], folders), without_uids(case.problem, folders)
    return replace(case, notes=notes, problem=problem)


def _shown(
    outcome: Outcome, output: Path, pages: CasePages, result: PredictResult, labels: Labels, with_slices: bool
) -> CaseShown:
    """Return the page's entry of an answer; pictures that an earlier run did not draw are drawn now."""
    from medseg.delivery.pages.index_page import CaseShown

    case, problem = outcome.case, outcome.not_shown
    id, shape = case.id, outcome.about["grid"]["shape_zyx"]
    if id in result.kept and not pages.complete(case, output, shape):
        problem = pages.write(case, result.files[id], output, labels)
    viewer = case_pages.viewer_page(id, output)
    link = viewer.relative_to(output).as_posix() if is_own_page(viewer) else ""
    slices = case_pages.read_slices(case, output) if with_slices else ()
    return CaseShown(id, slices, link, prod(shape), result.volumes[id], result.units[id], result.doubts(id), problem)
