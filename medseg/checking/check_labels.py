"""Rules on the labels of a set: structures absent where they are expected, masks that mark the wrong things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medseg.checking.outliers import FEWEST, company_needed
from medseg.core.case import Case
from medseg.core.labels import Labels
from medseg.planning.findings import Finding
from medseg.planning.survey import CaseFacts

_NEARLY_ALL = 0.95
_OFTEN, _SOME = 0.2, 0.1
_FULL, _FULL_BORDER, _FULL_ALONE, _HALF = 0.8, 0.65, 0.95, 0.5
_OUTSIDE, _OUTSIDE_ALONE = 0.1, 0.5
_MOST_SHOWN = 5


def check_labels(
    facts: Sequence[CaseFacts], cases: Mapping[str, Case], labels: Labels | None, ignore: int | None = None
) -> list[Finding]:
    """Findings on the labels of the cases that could be read.

    Args:
        facts: of these cases.
        cases: by id.
        labels: None where nothing declares the structures, so that each value but 0 becomes one.
        ignore: a value that becomes none.
    """
    found = _empty(facts, cases) + _full(facts, cases) + _outside(facts, cases)
    if labels is not None:
        return found + _missing(facts, cases, labels.members) + _unused(facts, labels)
    values = sorted({value for one in facts for value in one.voxels} - {0, ignore})
    members = {f"the value {value}": (value,) for value in values}
    return found + _missing(facts, cases, members) + _rare(facts, cases, values)


def _empty(facts: Sequence[CaseFacts], cases: Mapping[str, Case]) -> list[Finding]:
    """Labels that mark nothing: one finding each, or one for all where they are many."""
    empty = [one for one in facts if one.content.foreground_share == 0]
    remedy = "If the structure is there, the label was lost; if it is not, the case is a good negative example."
    if len(empty) > max(1, _OFTEN * len(facts)):
        names = ", ".join(one.id for one in empty[:_MOST_SHOWN])
        message = f"{len(empty)} of {len(facts)} labels mark nothing ({names}, ...)."
        return [Finding("empty label", "", message, remedy)]
    return [
        Finding("empty label", one.id, f"{cases[one.id].label} marks nothing.", remedy, cases[one.id].label)
        for one in empty
    ]


def unannotated(facts: Sequence[CaseFacts], cases: Mapping[str, Case]) -> list[Finding]:
    """For sets in which a structure that a label does not hold was not annotated: labels that hold none, as errors.

    What a table says was annotated stands.
    """
    remedy = "If it is empty for a good reason, say so in a table: --cases with the columns id and annotated."
    empty = [one.id for one in facts if one.content.foreground_share == 0 and cases[one.id].annotated is None]
    return [
        Finding(
            "missing label",
            id,
            f"{cases[id].label} holds no structure, so that nothing was annotated in this case.",
            remedy,
            cases[id].label,
        )
        for id in empty
    ]


def _missing(
    facts: Sequence[CaseFacts], cases: Mapping[str, Case], members: Mapping[str, tuple[int, ...]]
) -> list[Finding]:
    """Structures that a label does not have and nearly all others do; empty labels are named as such."""
    missing: dict[str, list[str]] = {}
    for name, values in members.items():
        asked = [one for one in facts if _annotated(cases[one.id], name) and one.content.foreground_share > 0]
        lacking = [one for one in asked if one.voxels.keys().isdisjoint(values)]
        if lacking and len(asked) >= FEWEST and len(asked) - len(lacking) >= _NEARLY_ALL * (len(asked) - 1):
            for one in lacking:
                missing.setdefault(one.id, []).append(name)
    remedy = (
        "Annotate it; or, if it was not annotated here, name those that were in the column `annotated` of the table of "
        "cases; or keep the case if the patient does not have it."
    )
    return [
        Finding(
            "missing structure",
            id,
            f"{cases[id].label} does not have {' and '.join(names)}, which nearly all other cases have.",
            remedy,
            cases[id].label,
        )
        for id, names in missing.items()
    ]


def _annotated(case: Case, structure: str) -> bool:
    return case.annotated is None or structure in case.annotated


def _unused(facts: Sequence[CaseFacts], labels: Labels) -> list[Finding]:
    """Structures that are declared and occur nowhere."""
    values = {value for one in facts for value in one.voxels}
    remedy = "It cannot be learnt: leave it out of the structures, or correct its value."
    return [
        Finding("unused structure", "", f"No case has {name} (value {', '.join(map(str, own))}).", remedy)
        for name, own in labels.members.items()
        if facts and values.isdisjoint(own)
    ]


def _rare(facts: Sequence[CaseFacts], cases: Mapping[str, Case], values: Sequence[int]) -> list[Finding]:
    """Values in a few labels of a set that does not declare its structures, of which each value becomes one."""
    count = {value: sum(value in one.voxels for one in facts) for value in values}
    usual = [value for value, times in count.items() if times > _HALF * len(facts)]
    if len(facts) < FEWEST or not usual:
        return []
    remedy = (
        "If it is a stray value, mend the file or map it to another (--map OLD=NEW); if it is a structure, name all of "
        "them (--structures NAME=VALUE)."
    )
    found = []
    for one in facts:
        odd = [value for value in one.voxels if value in count and count[value] <= company_needed(len(facts))]
        if odd:
            shown = f"value{'s' * (len(odd) > 1)} {', '.join(map(str, sorted(odd)))}"
            message = f"{cases[one.id].label} holds the {shown}, which hardly any other case has."
            found.append(Finding("rare label", one.id, message, remedy, cases[one.id].label))
    return found


def _full(facts: Sequence[CaseFacts], cases: Mapping[str, Case]) -> list[Finding]:
    """Masks that cover nearly everything, or all of the border, where the others do not."""
    if not facts:
        return []
    alone = len(facts) < FEWEST
    limits = np.array([_FULL_ALONE, 1.0] if alone else [_FULL, _FULL_BORDER])
    shares = np.array([(one.content.foreground_share, one.content.border_share) for one in facts])
    middle = np.median(shares, axis=0)
    full = ((shares >= limits) & (alone | (middle <= _HALF * limits))).any(axis=1)
    remedy = "Black and white may be exchanged in this mask: exchange them back, or draw it anew."
    found = []
    for number in np.flatnonzero(full).tolist():
        label = cases[facts[number].id].label
        share, border = shares[number].tolist()
        message = f"{label} marks {share:.0%} of its voxels and {border:.0%} of its border; "
        message += f"the middle case marks {middle[0]:.0%} and {middle[1]:.0%}."
        found.append(Finding("full label", facts[number].id, message, remedy, label))
    return found


def _outside(facts: Sequence[CaseFacts], cases: Mapping[str, Case]) -> list[Finding]:
    """Labels that lie to a good part where the scan holds air or padding, where those of other cases do not."""
    shares = np.array([one.content.outside_share for one in facts])
    limit = _OUTSIDE_ALONE if len(facts) < FEWEST else _OUTSIDE
    odd = np.flatnonzero(shares >= limit)
    if len(facts) >= FEWEST and (shares >= limit / 2).sum() > max(company_needed(len(facts)), _SOME * len(facts)):
        return []
    remedy = "Label and scan may belong to different cases, or one was moved or cut: look at them together."
    return [
        Finding(
            "label outside",
            facts[number].id,
            f"{cases[facts[number].id].label}: {shares[number]:.0%} of what it marks lies where the scan is empty (its "
            f"most frequent value, {facts[number].content.channels[0].flat:g}).",
            remedy,
            cases[facts[number].id].label,
        )
        for number in odd.tolist()
    ]
