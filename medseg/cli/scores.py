"""Scores as the records of --json hold them."""

from __future__ import annotations

from typing import Any

from medseg.evaluation.summary import Summary


def scores(summary: Summary | None) -> dict[str, Any]:
    """Means over cases of every measure, per structure and over all; nothing where nothing was scored."""
    if summary is None:
        return {}
    return {
        "cases": len(summary.cases),
        "overall": {name: one.mean for name, one in summary.overall.items()},
        "miou": summary.miou,
        "structures": {
            name: {measure: one.mean for measure, one in structure.figures.items()}
            for name, structure in summary.structures.items()
        },
    }
