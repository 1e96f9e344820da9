"""Add to a prediction what its selection offers: calibrated maps, and a page on how far answers can be trusted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.result import PredictResult
from medseg.delivery.answers.case_pages import viewer_page
from medseg.delivery.pages.own_page import is_own_page, page_link, why_kept
from medseg.delivery.provenance.folder_files import QUALITY
from medseg.inference.treatment import scaling_of
from medseg.models.model import Model


def judged_by(model: Model, options: PredictOptions) -> dict[str, Any]:
    """Return the settings of the selection that change calibrated maps or quality judgements, for the ledger.

    Args:
        model: makes the answers.
        options: say which maps are written.
    """
    scaling = scaling_of(model) if _writes_probabilities(options) else None
    judged = model.selection is not None and model.selection.quality is not None
    return {
        **({} if scaling is None else {"temperatures": [*scaling.temperatures]}),
        **({"biases": [*scaling.biases]} if scaling is not None and scaling.biases else {}),
        **({"judged by": model.selection.made} if judged and model.selection is not None else {}),
    }


def judged_notes(model: Model, options: PredictOptions) -> list[str]:
    """Return notes on calibration, if probabilities are written, and on fits that were made with other settings.

    Args:
        model: makes the answers.
        options: say which maps are written.

    Returns:
        The notes, in sentences.
    """
    scaling = scaling_of(model) if _writes_probabilities(options) else None
    others, notes = _other_settings(model), []
    if scaling is not None:
        calibrated = "calibrated" if others is None else "not calibrated for this prediction"
        notes.append(
            f"probabilities and entropy are {calibrated}: {scaling.describe()} (--no-selection leaves them as they "
            "come from the network)"
        )
    if options.maps.spread and scaling_of(model) is not None:
        notes.append("mean and spread are of the probabilities as they come from the network, which are not calibrated")
    selection = model.selection
    if others is not None and selection is not None:
        used = [
            *(["temperatures"] if scaling is not None else []),
            *(["thresholds"] if selection.thresholds else []),
            *(["predicted Dice", "intervals", "flags"] if selection.quality is not None else []),
        ]
        if used:
            notes.append(f"{', '.join(used)} were fitted on answers with {others}: they are less certain here")
    return notes


def _other_settings(model: Model) -> str | None:
    """Return which settings of the sliding window the selection was fitted with, where this prediction has others."""
    if model.selection is None:
        return None
    of_member = {}
    for member, part in zip(model.selection.members, model.together, strict=True):
        differences = {} if member.averaging is None else member.averaging.differences(part.plan.inference)
        of_member[member.configuration] = " and ".join(
            f"inference.{key}={_written(before)} (now {_written(now)})" for key, (before, now) in differences.items()
        )
    if len({*of_member.values()}) == 1:  # what a user sets is set for all of them
        return next(iter(of_member.values())) or None
    return "; ".join(f"{text} in {name}" for name, text in of_member.items() if text)


def _written(value: object) -> str:
    """Return a setting as --set takes it."""
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"


def _writes_probabilities(options: PredictOptions) -> bool:
    return options.maps.probabilities or options.maps.entropy or options.instances


def write_quality(output: Path, result: PredictResult, indexed: bool) -> PredictResult:
    """Write the page of how far answers can be trusted, if they are judged.

    Args:
        output: folder of the answers.
        result: of the prediction.
        indexed: whether it leads to the page of all answers.

    Returns:
        The result, with a note where the page could not be written.
    """
    if result.quality:
        if why := why_kept(output / QUALITY):
            return replace(result, notes=(*result.notes, why))
        from medseg.delivery.pages.page import write_page  # most models do not judge their answers
        from medseg.delivery.pages.quality_page import quality_page

        pages = {case: viewer_page(case, output) for case in result.quality}
        shown = {case: page.relative_to(output).as_posix() for case, page in pages.items() if is_own_page(page)}
        links = {case: page_link(path) for case, path in shown.items()}
        try:
            page = quality_page(result.quality, result.volumes, result.units, result.warnings, links, indexed)
            write_page(output / QUALITY, page)
        except Exception as error:  # a page may not cost the answers their manifest
            return replace(result, notes=(*result.notes, f"{QUALITY} could not be written: {error}"))
    return result
