"""Judge an answer without a reference: predicted Dice, intervals, and named flags. Flags inform, they drop nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import exp
from typing import Any

from medseg.confidence.distance import rounded
from medseg.confidence.measures import CaseMeasures
from medseg.confidence.quality import DICE, Quality
from medseg.confidence.reference import PAIR, Oddness
from medseg.confidence.regression import figures_of
from medseg.confidence.volume_interval import volume_bounds

MISSING = "missing"
"""The kind of the flag on a structure that should be in an answer."""
MEANINGS = {
    DICE: "the Dice that is predicted is lower than that of nearly all good answers",
    "scan": "grid, intensities or sharpness of the scan are unlike those of the training scans",
    "features": "the deepest layer of the network sees something that it did not see in training scans",
    "volume": "the structure is smaller or larger than in the training cases",
    "parts": "the structure is in more parts than in answers to training cases",
    "intensity": "where the structure is answered, the scan is darker, brighter or less uniform than in training",
    "cut": "the structure reaches the edge of the scan, and is cut by it",
    "arrangement": "two structures lie otherwise to each other than in the training cases",
    "mirrored": "the structure leans as in a mirror image, from left to right, of the training cases",
    MISSING: "a structure that nearly all training cases have is not in the answer",
    "sides": "structures named left and right lie on the other side of each other than in the training cases",
}
"""{kind of flag: what it says}, in the order in which flags are listed."""


@dataclass(frozen=True)
class Flag:
    """A reason to doubt an answer.

    Attributes:
        kind: one of `MEANINGS`.
        structure: of which structure, or pair; empty for the whole scan.
        value: how odd it is.
        limit: above which the flag is raised.
        text: in words.
    """

    kind: str
    structure: str
    value: float
    limit: float
    text: str

    @property
    def structures(self) -> tuple[str, ...]:
        """The structures that it is about; of a pair both, of the whole scan none."""
        return tuple(self.structure.split(PAIR)) if self.structure else ()

    @property
    def name(self) -> str:
        """Kind and structure, such as `volume: Anterior`."""
        return f"{self.kind}: {self.structure}" if self.structure else self.kind


@dataclass(frozen=True)
class StructureQuality:
    """The expected quality of one structure of an answer; None where it is not known.

    Attributes:
        dice: predicted Dice.
        dice_low: lower bound of its 90 % interval.
        dice_high: upper bound.
        volume_low: lower bound of the 90 % interval of the volume, in the unit of the volume.
        volume_high: upper bound.
    """

    dice: float | None = None
    dice_low: float | None = None
    dice_high: float | None = None
    volume_low: float | None = None
    volume_high: float | None = None


@dataclass(frozen=True)
class Assessment:
    """The expected quality of an answer.

    Attributes:
        structures: {structure: what is expected of it}.
        flags: reasons to doubt it.
        scan: figures on the scan, in standard deviations of the training scans; empty where these are not known.
    """

    structures: dict[str, StructureQuality]
    flags: tuple[Flag, ...]
    scan: tuple[float, ...] = ()

    @property
    def dice(self) -> float | None:
        """Mean of the predicted Dice of its structures; None without any."""
        known = [quality.dice for quality in self.structures.values() if quality.dice is not None]
        return sum(known) / len(known) if known else None

    def to_json(self) -> dict[str, Any]:
        """Return it as values that JSON holds; `from_json` reads them."""
        return asdict(self) | {"flags": [asdict(flag) for flag in self.flags], "scan": list(self.scan)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Assessment:
        """Return the assessment that `to_json` wrote.

        Args:
            values: what it returned.
        """
        structures = {name: StructureQuality(**quality) for name, quality in values["structures"].items()}
        return cls(structures, tuple(Flag(**flag) for flag in values["flags"]), tuple(values["scan"]))


def assess(measures: CaseMeasures, quality: Quality, unit: str = "") -> Assessment:
    """Judge an answer.

    Args:
        measures: of the answer and its scan.
        quality: the quality model.
        unit: of the volumes, for the words of flags.

    Returns:
        Predicted Dice and volume interval of each structure, and flags.
    """
    odd = quality.reference.oddness(measures)
    structures = {}
    for name, shape in measures.shapes.items():
        if shape.parts == 0 or name not in measures.sureness:
            structures[name] = StructureQuality()
            continue
        predicted = quality.predicted_dice(figures_of(measures, odd, name), name)
        bounds = volume_bounds(quality.volume.get(name, ()), measures, name)
        structures[name] = StructureQuality(*_rounded(predicted, 3), *_rounded(bounds, 2))
        if predicted is not None:
            odd[DICE, name] = 1 - predicted[0]
    flags = _flags(odd, quality, measures, unit)
    order = list(MEANINGS)
    of_scan = quality.reference.scan
    known = of_scan is not None and len(measures.scan) == len(of_scan.mean)
    scan = tuple(rounded(of_scan.standard(measures.scan), 4)) if of_scan is not None and known else ()
    return Assessment(structures, tuple(sorted(flags, key=lambda flag: order.index(flag.kind))), scan)


def _flags(odd: Oddness, quality: Quality, measures: CaseMeasures, unit: str) -> list[Flag]:
    flags = []
    for (kind, name), value in odd.items():
        limit = quality.thresholds.get(kind, {}).get(name)
        if limit is not None and value > limit * (1 + 1e-5):
            flags.append(Flag(kind, name, round(value, 4), limit, _text(kind, name, odd, quality, measures, unit)))
    for name in quality.reference.missing(measures):
        flags.append(Flag(MISSING, name, 1.0, 0.0, f"{name} is not in the answer; nearly all training cases have it"))
    for left, right in quality.reference.swapped(measures):
        text = f"{left} and {right} lie on the other side of each other than in the training cases"
        flags.append(Flag("sides", f"{left}{PAIR}{right}", 1.0, 0.0, text))
    return flags


def _text(kind: str, name: str, odd: Oddness, quality: Quality, measures: CaseMeasures, unit: str) -> str:
    """Return a flag in words, with the figure where it is one that people know."""
    value, limit = odd[kind, name], quality.thresholds[kind][name]
    if kind == DICE:
        return f"the predicted Dice of {name} is {1 - value:.2f}; that of good answers is at least {1 - limit:.2f}"
    if kind == "volume":
        usual = quality.reference.volume[name]
        span = limit * usual.scale
        low, high = exp(usual.mean - span), exp(usual.mean + span)
        seen = measures.shapes[name].volume
        return f"{name} has a volume of {seen:.3g}; usual are {low:.3g} to {high:.3g} {unit}".rstrip()
    if kind == "parts":
        parts = measures.shapes[name].parts
        return f"{name} is in {parts} part{'s' if parts > 1 else ''}: more or larger ones than in training cases"
    if kind == "cut":
        share = measures.shapes[name].cut
        return f"{name} reaches the edge of the scan with {share:.0%} of its widest section; usual is up to {limit:.0%}"
    subject = f"{name}: " if name else ""
    return f"{subject}{MEANINGS[kind]} (distance {value:.3g}, usual up to {limit:.3g})"


def _rounded(values: tuple[float | None, ...] | None, count: int) -> list[float | None]:
    known = (None,) * count if values is None else values
    return [None if value is None else float(f"{value:.5g}") for value in known]
