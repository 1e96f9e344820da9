"""The usual range of sizes, places, intensities and scans of the training cases; and how odd another case is in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import log
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, PositiveFloat, field_validator

from medseg.confidence.distance import FEWEST, ChannelDistance, Distance, fit_channels, fit_distance, rounded
from medseg.confidence.measures import CaseMeasures, Example, Shape
from medseg.core.sides import sided_pairs
from medseg.plans.sections.section import Fraction, Section

_LEAST_LOG_VOLUME = 0.05
"""Deviation of the logarithm of volumes below which a difference does not matter: 5 %."""
_LEAST_FIGURE = 0.05
"""As above for figures on scans: logarithms, and intensities in standard deviations."""
_LEAST_INTENSITY = 0.05
_LEAST_OFFSET_MM = 1.0
_LEAST_TILT = 0.05
_LEAST_SEPARATION = 6.0
"""Standard deviations between the usual tilts and those of mirror images, below which the one cannot be told from the
other: a structure that is symmetric, or of which the training cases have left and right ones under one name.

Midway between the two lies half of it, which usual tilts exceed with the probability Phi(-3), 1 in 700."""
_USUALLY = 0.95
"""A structure that this share of the references has should be there; and so for the side on which it lies."""

PAIR = " > "
"""Stands between the names of two structures."""

_LogVolume = Annotated[float, Field(ge=-100, le=100)]
"""Far more than any volume has, and little enough that its exponential is a number."""
_Pair = Annotated[list[str], Field(min_length=2, max_length=2)]
_AXES = 3
_TILTS = 2

Oddness = dict[tuple[str, str], float]
"""{(kind of flag, structure, or "" for the whole scan): how odd it is}; the larger, the odder."""


class Usual(Section):
    """Where the logarithm of a volume usually lies.

    Attributes:
        mean: its median.
        scale: its standard deviation.
    """

    mean: _LogVolume
    scale: PositiveFloat


class Reference(Section):
    """The usual range of the training cases; structures that too few cases have are missing from the dictionaries.

    Attributes:
        presence: {structure: share of the references that have any of it}.
        volume: {structure: logarithm of its volume in the references}.
        intensity: {structure: mean and deviation of each channel in the answers}.
        scan: figures on the scans.
        deep: what a fold's network sees in the cases that it was not trained on.
        arrangement: {"first > second": the way from the centre of one structure to that of the next, in mm}.
        tilt: {structure: how it leans (`Shape.tilt`)}, of those that lean otherwise than their mirror images.
        sides: [left, right] structures that lie so by the affine of nearly all references, or all the other way round.
    """

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("deep", "tilt")

    presence: dict[str, Fraction] = {}
    volume: dict[str, Usual] = {}
    intensity: dict[str, Distance] = {}
    scan: Distance | None = None
    deep: ChannelDistance | None = None
    arrangement: dict[str, Distance] = {}
    tilt: dict[str, Distance] = {}
    sides: list[_Pair] = []

    @field_validator("arrangement")
    @classmethod
    def _check_axes(cls, arrangement: dict[str, Distance]) -> dict[str, Distance]:
        for pair, distance in arrangement.items():
            if len(distance.mean) != _AXES:
                raise ValueError(f"expected 3 figures of {pair!r}, for x, y and z; it has {len(distance.mean)}")
        return arrangement

    @field_validator("tilt")
    @classmethod
    def _check_tilt(cls, tilt: dict[str, Distance]) -> dict[str, Distance]:
        for name, distance in tilt.items():
            if len(distance.mean) != _TILTS:
                raise ValueError(
                    f"expected 2 figures of {name!r}, for x with y and x with z; it has {len(distance.mean)}"
                )
        return tilt

    def oddness(self, measures: CaseMeasures) -> Oddness:
        """Return how odd an answer and its scan are.

        Args:
            measures: of both.
        """
        odd: Oddness = {}
        if self.scan is not None and len(measures.scan) == len(self.scan.mean):
            odd["scan", ""] = self.scan.of(measures.scan)
        if (
            self.deep is not None
            and self.deep.mean
            and len(measures.deep.get(self.deep.fold, ())) == len(self.deep.mean)
        ):
            odd["features", ""] = self.deep.of(measures.deep[self.deep.fold])
        for name, shape in measures.shapes.items():
            if shape.parts == 0:
                continue
            # many parts are odd, and the more so the less of the structure the largest of them holds
            odd["parts", name] = log(shape.parts) + (1 - shape.largest_share)
            odd["cut", name] = shape.cut
            if shape.tilt is not None and name in self.tilt:
                odd["mirrored", name] = self.tilt[name].mirrored(shape.tilt)
            if name in self.volume:
                usual = self.volume[name]
                # of logarithms: half and double the usual volume are equally odd
                odd["volume", name] = abs(log(shape.volume) - usual.mean) / usual.scale
            sureness = measures.sureness.get(name)
            colours = () if sureness is None else (*sureness.mean, *sureness.deviation)
            if colours and name in self.intensity and len(colours) == len(self.intensity[name].mean):
                odd["intensity", name] = self.intensity[name].of(colours)
        for pair, offset in _offsets(measures.shapes):
            if pair in self.arrangement:
                odd["arrangement", pair] = self.arrangement[pair].of(offset)
        return odd

    def missing(self, measures: CaseMeasures) -> list[str]:
        """Return structures that are not in an answer, although nearly all references have them."""
        return [
            name
            for name, share in self.presence.items()
            if share >= _USUALLY and name in measures.shapes and measures.shapes[name].parts == 0
        ]

    def swapped(self, measures: CaseMeasures) -> list[tuple[str, str]]:
        """Return pairs of structures, named left and right, that lie the other way round than in the references."""
        return [
            (left, right)
            for left, right in self.sides
            if _is_left(measures.shapes.get(left), measures.shapes.get(right)) is False
        ]


def fit_reference(examples: Sequence[Example], names: Sequence[str]) -> Reference:
    """Return the usual range of some cases.

    Args:
        examples: out-of-fold cases.
        names: the structures.
    """
    volume, intensity, presence, tilt = {}, {}, {}, {}
    for name in names:
        shapes = [example.reference[name] for example in examples if name in example.reference]
        log_volumes = [log(shape.volume) for shape in shapes if shape.parts]
        presence[name] = round(len(log_volumes) / max(len(shapes), 1), 4)
        if len(log_volumes) >= FEWEST:
            middle, deviation = float(np.median(log_volumes)), float(np.std(log_volumes))
            mean, scale = rounded([middle, max(deviation, _LEAST_LOG_VOLUME)])
            volume[name] = Usual(mean=mean, scale=scale)
        leaning = fit_distance([shape.tilt for shape in shapes if shape.tilt is not None], _LEAST_TILT)
        if leaning is not None and leaning.separation >= _LEAST_SEPARATION:
            tilt[name] = leaning
        sureness = [example.measures.sureness[name] for example in examples if name in example.measures.sureness]
        distance = fit_distance([(*s.mean, *s.deviation) for s in sureness if s.mean], _LEAST_INTENSITY)
        if distance is not None:
            intensity[name] = distance
    scans = [example.measures.scan for example in examples if example.measures.scan]
    return Reference(
        presence=presence,
        volume=volume,
        intensity=intensity,
        scan=fit_distance(scans, _LEAST_FIGURE),
        deep=_fit_deep(examples),
        arrangement=_fit_arrangement(examples),
        tilt=tilt,
        sides=_fit_sides(examples, names),
    )


def _fit_deep(examples: Sequence[Example]) -> ChannelDistance | None:
    """Return the distribution of the channels of the first fold that has figures of enough cases."""
    # one fold is enough, and a prediction then has to look at one more tile with one network only
    folds = sorted({fold for example in examples for fold in example.measures.deep})
    for fold in folds:
        vectors = [example.measures.deep[fold] for example in examples if fold in example.measures.deep]
        distance = fit_channels(fold, vectors)
        if distance is not None:
            return distance
    return None


def _fit_arrangement(examples: Sequence[Example]) -> dict[str, Distance]:
    offsets: dict[str, list[tuple[float, ...]]] = {}
    for example in examples:
        for pair, offset in _offsets(example.reference):
            offsets.setdefault(pair, []).append(offset)
    fitted = {pair: fit_distance(vectors, _LEAST_OFFSET_MM) for pair, vectors in offsets.items()}
    return {pair: distance for pair, distance in fitted.items() if distance is not None}


def _fit_sides(examples: Sequence[Example], names: Sequence[str]) -> list[list[str]]:
    """Return pairs that lie on one side of each other in nearly all references, the one that is further left first."""
    pairs = []
    for left, right in sided_pairs(names):
        sides = [_is_left(example.reference.get(left), example.reference.get(right)) for example in examples]
        known = [side for side in sides if side is not None]
        if len(known) >= FEWEST:
            share = sum(known) / len(known)
            pairs += [[left, right]] * (share >= _USUALLY) + [[right, left]] * (share <= 1 - _USUALLY)
    return pairs


def _is_left(left: Shape | None, right: Shape | None) -> bool | None:
    """Return whether a structure lies further left than another; None if one of them is not there."""
    if left is None or left.centre is None or right is None or right.centre is None:
        return None
    return left.centre[0] < right.centre[0]  # in RAS+, x runs to the right


def _offsets(shapes: dict[str, Shape]) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Yield the vector in mm from each structure to the next one that is present, in the order of names.

    Neighbours in that order are enough: what lies odd to one of them is seen.
    """
    names = list(shapes)
    for first, second in pairwise(names):
        here, there = shapes[first].centre, shapes[second].centre
        if here is not None and there is not None:
            yield f"{first}{PAIR}{second}", tuple(b - a for a, b in zip(here, there, strict=True))


def deep_oddness(examples: Sequence[Example], reference: Reference) -> dict[str, float]:
    """Return {case: oddness} of the deepest channels, each case beside those of other patients of its fold.

    Args:
        examples: out-of-fold cases.
        reference: what was fitted on them, which says which fold counts.
    """
    if reference.deep is None:
        return {}
    fold = reference.deep.fold
    inside = [example for example in examples if fold in example.measures.deep]
    odd = {}
    for example in inside:
        # not without the fold, as all cases with these channels are of one; slices of one patient resemble each other
        others = [other.measures.deep[fold] for other in inside if other.patient != example.patient]
        without = fit_channels(fold, others)
        if without is not None:
            odd[example.case] = without.of(example.measures.deep[fold])
    return odd
