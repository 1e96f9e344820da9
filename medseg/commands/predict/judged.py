"""What a selection adds to a prediction: calibrated maps, and a page of how far answers can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.result import PredictResult
from medseg.inference.treatment import temperatures_of
from medseg.models.model import Model

QUALITY = "quality.html"


def judged_by(model: Model, options: PredictOptions) -> dict[str, Any]:
    """Return what decides calibrated maps and what is said of answers, for the ledger.

    Args:
        model: makes the answers.
        options: say which maps are written.
    """
    temperatures = temperatures_of(model) if _writes_probabilities(options) else None
    judged = model.selection is not None and model.selection.quality is not None
    return {
        **({} if temperatures is None else {"temperatures": temperatures}),
        **({"judged by": model.selection.made} if judged and model.selection is not None else {}),
    }


def judged_notes(model: Model, options: PredictOptions) -> list[str]:
    """Say whether probabilities are calibrated, where any are written.

    Args:
        model: makes the answers.
        options: say which maps are written.
    """
    temperatures = temperatures_of(model) if _writes_probabilities(options) else None
    if temperatures is None:
        return []
    divisors = ", ".join(f"{value:g}" for value in temperatures)
    return [
        f"probabilities and entropy are calibrated: logits are divided by {divisors} (--no-selection leaves them as "
        "they come from the network)"
    ]


def _writes_probabilities(options: PredictOptions) -> bool:
    return options.maps.probabilities or options.maps.entropy or options.instances


def write_quality(output: Path, result: PredictResult) -> None:
    """Write the page of how far answers can be trusted, if they are judged.

    Args:
        output: folder of the answers.
        result: of the prediction.
    """
    if result.quality:
        from medseg.delivery.pages.page import write_page  # most models do not judge their answers
        from medseg.delivery.pages.quality_page import quality_page

        write_page(output / QUALITY, quality_page(result.quality, result.volumes, result.units, result.warnings))
