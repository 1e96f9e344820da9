"""Write a plan that a user may edit, with the names that it may have: of networks, losses, measures and others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from medseg.delivery.provenance.row_names import loss_names, network_names
from medseg.evaluation.score import MEASURES
from medseg.io.layouts.dataset import LAYOUTS
from medseg.plans import file
from medseg.plans.schema import Plan
from medseg.preprocessing.normalize import NORMALIZATIONS

NAMES: dict[str, Callable[[], Iterable[str]]] = {
    "NameOfNetwork": network_names,
    "NameOfNormalization": NORMALIZATIONS.keys,
    "NameOfLayout": LAYOUTS.keys,
    "NameOfMeasure": MEASURES.keys,
    "NameOfLoss": loss_names,
}
"""Definition in the JSON Schema of plans -> what returns the names that editors offer there."""


def save_plan(plan: Plan, path: Path) -> None:
    """Write a plan to be edited: as YAML, each decision with its reason as a comment, and the JSON Schema beside it.

    The schema offers the names that this process knows, those that you registered among them.

    Args:
        plan: the plan.
        path: the YAML file to write.
    """
    file.save_plan(plan, path, {definition: names() for definition, names in NAMES.items()})
