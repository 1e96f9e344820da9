"""The questions of the search for postprocessing: which thresholds, operations and sizes are tried, in which order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

import numpy as np

from medseg.commands.select.kept_answers import THRESHOLDS, USUAL, KeptCase
from medseg.commands.select.search import Option, Treatment, step_option, threshold_option
from medseg.core.labels import Labels
from medseg.selection.operations import component_middles
from medseg.selection.record import Step

_SHARES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Smallest sizes that are tried, as shares of the median size of the structure in the references."""
_MARGIN = 0.05
"""Of the width of the scan's content, by which the positions that references have are widened."""


def questions(labels: Labels, cases: Sequence[KeptCase], position: bool) -> Iterator[list[Option]]:
    """Yield the questions in their order, each a list of options.

    Args:
        labels: the structures.
        cases: the cases whose answers were kept.
        position: whether components may be removed for where they lie.
    """
    if labels.activation == "sigmoid":
        for name in labels.names:
            nearest_first = sorted(THRESHOLDS, key=lambda value: abs(value - USUAL))  # of equals the first is taken
            yield [threshold_option(name, value) for value in nearest_first if value != USUAL]
    if labels.background is None:  # what is removed would have to be another structure
        return
    sizes, middles = _of_references(labels, cases, position)
    if len(labels.names) > 1:
        yield [step_option(Step(operation="largest_component", structures=[*labels.names]))]
    for name in labels.names:
        smallest = [
            Step(operation="minimum_size", structures=[name], size=size, unit=cases[0].frame.unit)
            for size in _smallest_sizes(sizes[name], cases[0].frame.unit == "voxels")
        ]
        yield [step_option(Step(operation="largest_component", structures=[name])), *map(step_option, smallest)]
        if position and middles[name]:
            yield [_position_option(name, middles[name])]
        yield [step_option(Step(operation="fill_holes", structures=[name]))]


def _of_references(
    labels: Labels, cases: Sequence[KeptCase], position: bool
) -> tuple[dict[str, list[float]], dict[str, list[tuple[str, float]]]]:
    """Return the sizes of structures in the references, and (fold, middle) of their components from left to right."""
    sizes: dict[str, list[float]] = {name: [] for name in labels.names}
    middles: dict[str, list[tuple[str, float]]] = {name: [] for name in labels.names}
    for case in cases:
        reference, _ = case.read([])
        for name, members in zip(labels.names, labels.membership, strict=True):
            mask = np.isin(reference, np.flatnonzero(members))
            count = int(mask.sum())
            if count:
                sizes[name].append(count * case.frame.voxel_size)
            if count and position and case.frame.right_axis is not None:
                turned = case.geometry.turn(mask[None])[0]
                middles[name] += [(case.fold, float(middle)) for middle in component_middles(turned, case.frame)]
    return sizes, middles


def _smallest_sizes(sizes: Sequence[float], whole: bool) -> list[float]:
    """Return smallest sizes to try, rounded to two digits."""
    if not sizes:
        return []
    tried = [float(f"{share * median(sizes):.2g}") for share in _SHARES]
    return sorted({float(round(size)) if whole else size for size in tried} - {0.0, 1.0 if whole else 0.0})


def _position_option(name: str, middles: Sequence[tuple[str, float]]) -> Option:
    """Return the option to remove components whose middle lies where none in the references of other folds does."""

    def step(fold: str | None) -> Step:
        known = [middle for owner, middle in middles if owner != fold] or [middle for _, middle in middles]
        low, high = max(0.0, min(known) - _MARGIN), min(1.0, max(known) + _MARGIN)
        return Step(operation="position", structures=[name], range=[round(low, 4), round(high, 4)])

    def extend(before: Treatment, fold: str | None) -> Treatment:
        return Treatment(before.thresholds, (*before.steps, step(fold)))

    return Option(step(None).describe(), extend)
