"""Read the validation scores of a model's folds from their folders, for model cards and imported runs."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any

from medseg.core.json_text import parse_json
from medseg.models.card import FoldScore
from medseg.models.model import Model
from medseg.models.nnunet.folder import SUMMARY
from medseg.models.record import read_record
from medseg.models.run_files import RunFolder


def fold_scores(model: Model) -> Iterator[FoldScore]:
    """Yield the scores of those of a model's folds that have any, in medseg's runs and nnU-Net's model folders."""
    for fold in model.folds:
        files = RunFolder(model.folder).fold(fold)
        record = read_record(files)
        if files.metrics.is_file():
            summary = _read(files.metrics)
            structures = summary.get("structures", {})
            dice = {name: _mean_dice(structure) for name, structure in structures.items()}
            cases = len(summary.get("cases", []))
        elif (files.path / SUMMARY).is_file():
            summary = _read(files.path / SUMMARY)
            dice = _nnunet_dice(summary, model)
            cases = len(summary.get("metric_per_case", []))
        elif record is not None and record.scores is not None:  # an imported run
            dice, cases = dict(record.scores.dice), record.scores.cases
        else:
            continue
        figures = {name: _number(value) for name, value in dice.items()}
        yield FoldScore(fold, cases, figures, None if record is None else record.steps)


def _mean_dice(structure: Any) -> Any:
    """Return the mean Dice of a structure in metrics.json."""
    try:
        return structure["measures"]["dice"]["mean"]
    except (KeyError, TypeError):
        return None


def _nnunet_dice(summary: dict[str, Any], model: Model) -> dict[str, Any]:
    """Return {structure: mean Dice}; nnU-Net's keys are label values, or regions as tuples of them: `1`, `(1, 2)`."""
    means = summary.get("mean", {})
    dice = {}
    for name, values in model.plan.labels.members.items():
        for key in (str(values[0]) if len(values) == 1 else "", str(tuple(values)), str([*values])):
            if isinstance(means.get(key), dict):
                dice[name] = means[key].get("Dice")
    return dice


def _read(path: Path) -> dict[str, Any]:
    """Return a summary; an unreadable one counts as empty, as scores are only shown."""
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and isfinite(value) else None
