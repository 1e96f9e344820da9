"""Thresholds that scores must reach, for pipelines: `Dice=0.8`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medseg.core.errors import DataError
from medseg.evaluation.score import MEASURES
from medseg.evaluation.summary import Summary


def parse_threshold(text: str) -> tuple[str, str, float]:
    """`Dice=0.8` or `liver:Dice=0.8` to (structure, measure, value); the structure is empty for all of them.

    Raises:
        DataError: it says something else, or names a measure of which less is better.
    """
    match = re.fullmatch(r"(?:(?P<structure>.+):)?(?P<measure>[^:=]+)=(?P<value>[0-9]*\.?[0-9]+)", text.strip())
    names = {title: name for name, measure in MEASURES.items() for title in (name, measure.title.lower())}
    high = [measure.title for measure in MEASURES.values() if measure.better == "high"]
    name = names.get(match["measure"].strip().lower()) if match else None
    if match is None or name is None or MEASURES[name].better != "high":
        raise DataError(
            f"{text!r} is no threshold.",
            f"Write Dice=0.8, or liver:Dice=0.8; measures of which more is better: {', '.join(high)}.",
        )
    return match["structure"] or "", name, float(match["value"])


def below(summary: Summary, thresholds: Sequence[str]) -> list[str]:
    """Sentences on what lies below a threshold (`parse_threshold`), or has no score to compare.

    Raises:
        DataError: a threshold is none, or names a structure or measure that was not scored.
    """
    said = []
    for structure, measure, least in map(parse_threshold, thresholds):
        if structure and structure not in summary.structures:
            raise DataError(f"There is no structure {structure!r}; there are {', '.join(summary.structures)}.")
        scores = summary.structures[structure].figures if structure else summary.overall
        if measure not in scores:
            raise DataError(f"{measure} was not measured.", f"Measured are {', '.join(summary.measures)}.")
        mean = scores[measure].mean
        if mean is None or mean < least:
            found = "not defined" if mean is None else f"{mean:.4f}"
            said.append(f"{structure or 'mean'} {measure} is {found}, below {least:g}")
    return said
