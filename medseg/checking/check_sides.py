"""The rule on sides: a left and a right structure that have changed places in one case, as a mirrored header does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medseg.checking.outliers import FEWEST, deviation
from medseg.core.case import Case
from medseg.core.labels import Labels
from medseg.core.sides import sided_pairs
from medseg.core.wording import counted
from medseg.planning.findings import Finding
from medseg.planning.survey import CaseFacts

_NEARLY_ALL = 0.95
"""Share of the other cases that must agree on the sides for one to be odd."""
_CLEARLY = 0.3
"""Structures that change places are about as far apart as in the others; a shift of both to one side stays below this
share of that distance."""
_DEVIATIONS = 5.0
"""And structures near each other change places by chance: an exchange is further from the median than this many robust
standard deviations of the offsets."""
_REMEDY = (
    "Look at it in a viewer: if the scan is mirrored, correct its header; if the names are exchanged, correct the "
    "label. Or leave the case out with --exclude IDS.txt."
)


def check_sides(facts: Sequence[CaseFacts], cases: Mapping[str, Case], labels: Labels | None) -> list[Finding]:
    """Return a finding on each case in which left and right structures lie the other way round than in the others.

    Args:
        facts: facts on the cases that could be read.
        cases: the cases by id.
        labels: the declared structures; None if none are declared, so that nothing is known of sides.
    """
    if labels is None:
        return []
    odd: dict[str, list[str]] = {}
    for left, right in sided_pairs(labels.names):
        ends = [(_centre_x(case, labels.members[left]), _centre_x(case, labels.members[right])) for case in facts]
        both = [index for index, pair in enumerate(ends) if None not in pair]
        if len(both) < FEWEST:
            continue
        offsets = np.array([ends[index] for index in both], float) @ [-1.0, 1.0]  # from the left to the right structure
        usual = float(np.median(offsets))
        swapped = offsets * np.sign(usual) < -_CLEARLY * abs(usual)
        swapped &= np.abs(offsets - usual) > _DEVIATIONS * deviation(offsets)
        agreeing = int((offsets * usual > 0).sum())
        if agreeing >= _NEARLY_ALL * (len(both) - 1):
            for number in np.flatnonzero(swapped).tolist():
                text = f"{left} and {right} lie the other way round than in {counted(agreeing, 'other case')}"
                odd.setdefault(facts[both[number]].id, []).append(text)
    findings = []
    for id, texts in odd.items():
        more = f", and so do {counted(len(texts) - 1, 'other pair')}" if len(texts) > 1 else ""
        findings.append(Finding("sides", id, f"{cases[id].label}: {texts[0]}{more}.", _REMEDY, cases[id].label))
    return findings


def _centre_x(case: CaseFacts, values: Sequence[int]) -> float | None:
    """Return the mean position from left to right of a structure of these values; None if it is not there."""
    voxels = {value: case.voxels[value] for value in values if value in case.extents}
    if not voxels:
        return None
    return sum(count * case.extents[value].centre_x for value, count in voxels.items()) / sum(voxels.values())
