"""Write a plan that a user may edit, with the names that it may have: of networks, losses, measures and others."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from medseg.evaluation.score import MEASURES
from medseg.io.layouts.dataset import LAYOUTS
from medseg.networks.table import NETWORKS
from medseg.plans import file
from medseg.plans.schema import Plan
from medseg.preprocessing.normalize import NORMALIZATIONS
from medseg.training.losses.table import LOSSES

NAMES: dict[str, Iterable[str]] = {
    "NameOfNetwork": NETWORKS,
    "NameOfNormalization": NORMALIZATIONS,
    "NameOfLayout": LAYOUTS,
    "NameOfMeasure": MEASURES,
    "NameOfLoss": LOSSES,
}
"""Definition in the JSON Schema of plans -> the table whose names editors offer there."""


def save_plan(plan: Plan, path: Path) -> None:
    """Write a plan to be edited: as YAML, each decision with its reason as a comment, and the JSON Schema beside it.

    The schema offers the names that this process knows, those that you registered among them.

    Args:
        plan: the plan.
        path: the YAML file to write.
    """
    file.save_plan(plan, path, NAMES)
