"""Check scores against thresholds, for pipelines: `Dice=0.8`."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from medseg.core.errors import DataError
from medseg.evaluation.score import MEASURES
from medseg.evaluation.summary import Summary
from medseg.plans.sections.scoring import Scoring


def parse_threshold(text: str) -> tuple[str, str, float]:
    """Parse a threshold into (structure, measure, value); the structure is empty for the mean over all of them.

    Returns:
        Structure (empty for the mean over all), key of the measure, and the value.

    Raises:
        DataError: the text has another form, or names a measure of which less is better.

    >>> parse_threshold("liver:Dice=0.8")
    ('liver', 'dice', 0.8)
    """
    match = re.fullmatch(r"(?:(?P<structure>.+):)?(?P<measure>[^:=]+)=(?P<value>[0-9]*\.?[0-9]+)", text.strip())
    names = {title: name for name, measure in MEASURES.items() for title in (name, measure.title.lower())}
    high = [measure.title for measure in MEASURES.values() if measure.better == "high"]
    name = names.get(match["measure"].strip().lower()) if match else None
    if match is None or name is None or MEASURES[name].better != "high":
        raise DataError(
            f"{text!r} is not a threshold.",
            f"Write Dice=0.8, or liver:Dice=0.8; measures of which more is better: {', '.join(high)}.",
        )
    return match["structure"] or "", name, float(match["value"])


def check_thresholds(thresholds: Sequence[str], structures: Collection[str], scoring: Scoring) -> None:
    """Refuse thresholds that cannot be held against the scores, before these are computed.

    Args:
        thresholds: texts such as `Dice=0.8`; see `parse_threshold`.
        structures: names of the structures that are scored.
        scoring: which measures are taken; figures of registered ones are not looked at.

    Raises:
        DataError: one is not valid, or names a structure or measure that is not scored.
    """
    taken = {"surface": scoring.surface is not None, "lesions": scoring.lesions, "instances": scoring.instances}
    for structure, measure, _ in map(parse_threshold, thresholds):
        if structure and structure not in structures:
            raise DataError(f"There is no structure {structure!r}; there are {', '.join(structures)}.")
        part = MEASURES[measure].source.partition(".")[0]
        if not taken.get(part, True):
            raise DataError(f"{measure} is not measured.", f"Add --{part} to the command.")


def below(summary: Summary, thresholds: Sequence[str]) -> list[str]:
    """Return sentences on the means that lie below a threshold or are not defined.

    Args:
        summary: the scores.
        thresholds: texts such as `Dice=0.8`; see `parse_threshold`.

    Raises:
        DataError: a threshold is not valid, or names a structure or measure that was not scored.
    """
    sentences = []
    for structure, measure, threshold in map(parse_threshold, thresholds):
        if structure and structure not in summary.structures:
            raise DataError(f"There is no structure {structure!r}; there are {', '.join(summary.structures)}.")
        scores = summary.structures[structure].figures if structure else summary.overall
        if measure not in scores:
            raise DataError(f"{measure} was not measured.", f"Measured are {', '.join(summary.measures)}.")
        mean = scores[measure].mean
        if mean is None or mean < threshold:
            value = "not defined" if mean is None else f"{mean:.4f}"
            sentences.append(f"{structure or 'mean'} {measure} is {value}, below {threshold:g}")
    return sentences
