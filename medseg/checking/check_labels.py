"""Rules on the labels of a data set: structures that are missing or unexpected, masks that mark the wrong thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medseg.checking.outliers import FEWEST, company_needed
from medseg.core.case import Case
from medseg.core.labels import Labels
from medseg.core.wording import first_few
from medseg.planning.findings import Finding
from medseg.planning.survey import CaseFacts

_NEARLY_ALL = 0.95
"""Share of the other cases that must have a structure for it to be missing in one."""
_MANY_EMPTY = 0.2
"""More empty labels than this share of the cases are one finding for all of them."""
_COMMON = 0.5
"""A value in more than this share of the labels is usual."""
_FULL, _FULL_BORDER = 0.8, 0.65
"""Shares of the voxels, and of the border, that a mask marks if black and white may be exchanged in it."""
_FULL_IN_SMALL_SETS = 0.95
"""The same share of the voxels where there are too few cases to compare with."""
_OUTSIDE, _OUTSIDE_IN_SMALL_SETS = 0.1, 0.5
"""Share of a label in air or padding that is odd: if cases can be compared, and if they are too few."""
_SOME_OUTSIDE = 0.1
"""If more than this share of the cases has labels in air, that is how the set is made."""


def check_labels(
    facts: Sequence[CaseFacts],
    cases: Mapping[str, Case],
    labels: Labels | None,
    ignore: int | None = None,
    background: bool = True,
) -> list[Finding]:
    """Return findings on the labels of the cases that could be read.

    Args:
        facts: facts on these cases.
        cases: the cases by id.
        labels: the declared structures; None if none are declared, so that each value but 0 becomes a structure.
        ignore: the value of voxels without annotation, which never becomes a structure.
        background: whether there is a background; else 0 is a structure, and all of an image is marked.
    """
    findings = _empty(facts, cases)
    if background:
        findings += _full(facts, cases) + _outside(facts, cases)
    if labels is not None:
        return findings + _missing(facts, cases, labels.members) + _unused(facts, labels)
    values = sorted({value for case in facts for value in case.voxels} - {0 if background else None, ignore})
    members = {f"the value {value}": (value,) for value in values}
    return findings + _missing(facts, cases, members) + _rare(facts, cases, values)


def _empty(facts: Sequence[CaseFacts], cases: Mapping[str, Case]) -> list[Finding]:
    """Return findings on labels that mark nothing: one for each, or one for all if they are many."""
    empty = [case for case in facts if case.content.foreground_share == 0]
    remedy = "If the structure is there, the label was lost; if it is not, the case is a good negative example."
    if len(empty) > max(1, _MANY_EMPTY * len(facts)):
        message = f"{len(empty)} of {len(facts)} labels mark nothing ({first_few([case.id for case in empty])})."
        return [Finding("empty label", "", message, remedy)]
    return [
        Finding("empty label", case.id, f"{cases[case.id].label} marks nothing.", remedy, cases[case.id].label)
        for case in empty
    ]


def unannotated(facts: Sequence[CaseFacts], cases: Mapping[str, Case]) -> list[Finding]:
    """Return an error for each label that holds no structure, in sets where absent structures were not annotated.

    Cases of which a table says what was annotated are left alone.

    Args:
        facts: facts on the cases that could be read.
        cases: the cases by id.
    """
    remedy = "If it is empty for a good reason, say so in a table: --cases with the columns id and annotated."
    empty = [case.id for case in facts if case.content.foreground_share == 0 and cases[case.id].annotated is None]
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
    """Return findings on structures that a label lacks and nearly all others have; empty labels have their own finding.

    `members` is structure -> the values that make it up.
    """
    missing: dict[str, list[str]] = {}
    for name, values in members.items():
        compared = [case for case in facts if _annotated(cases[case.id], name) and case.content.foreground_share > 0]
        lacking = [case for case in compared if case.voxels.keys().isdisjoint(values)]
        having = len(compared) - len(lacking)
        if lacking and len(compared) >= FEWEST and having >= _NEARLY_ALL * (len(compared) - 1):
            for case in lacking:
                missing.setdefault(case.id, []).append(name)
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
    """Return whether a structure was annotated in a case."""
    return case.annotated is None or structure in case.annotated


def _unused(facts: Sequence[CaseFacts], labels: Labels) -> list[Finding]:
    """Return findings on structures that are declared and occur nowhere."""
    values = {value for case in facts for value in case.voxels}
    remedy = "It cannot be learnt: leave it out of the structures, or correct its value."
    return [
        Finding("unused structure", "", f"No case has {name} (value {', '.join(map(str, members))}).", remedy)
        for name, members in labels.members.items()
        if facts and values.isdisjoint(members)
    ]


def _rare(facts: Sequence[CaseFacts], cases: Mapping[str, Case], values: Sequence[int]) -> list[Finding]:
    """Return findings on values in a few labels of a set without declared structures: each would become a structure."""
    count = {value: sum(value in case.voxels for case in facts) for value in values}
    usual = [value for value, times in count.items() if times > _COMMON * len(facts)]
    if len(facts) < FEWEST or not usual:
        return []
    remedy = (
        "If it is a stray value, repair the file or map it to another one (--map OLD=NEW); if it is a structure, "
        "name all structures (--structures NAME=VALUE)."
    )
    findings = []
    for case in facts:
        rare = [value for value in case.voxels if value in count and count[value] <= company_needed(len(facts))]
        if rare:
            named = f"value{'s' * (len(rare) > 1)} {', '.join(map(str, sorted(rare)))}"
            message = f"{cases[case.id].label} holds the {named}, which hardly any other case has."
            findings.append(Finding("rare label", case.id, message, remedy, cases[case.id].label))
    return findings


def _full(facts: Sequence[CaseFacts], cases: Mapping[str, Case]) -> list[Finding]:
    """Return findings on masks that cover nearly everything, or most of the border, if the others do not."""
    if not facts:
        return []
    too_few = len(facts) < FEWEST
    limits = np.array([_FULL_IN_SMALL_SETS, 1.0] if too_few else [_FULL, _FULL_BORDER])
    shares = np.array([(case.content.foreground_share, case.content.border_share) for case in facts])
    median = np.median(shares, axis=0)
    full = ((shares >= limits) & (too_few | (median <= limits / 2))).any(axis=1)
    remedy = "Black and white may be exchanged in this mask: exchange them back, or draw it again."
    findings = []
    for index in np.flatnonzero(full).tolist():
        label = cases[facts[index].id].label
        share, border = shares[index].tolist()
        message = f"{label} marks {share:.0%} of its voxels and {border:.0%} of its border; "
        message += f"the median case marks {median[0]:.0%} and {median[1]:.0%}."
        findings.append(Finding("full label", facts[index].id, message, remedy, label))
    return findings


def _outside(facts: Sequence[CaseFacts], cases: Mapping[str, Case]) -> list[Finding]:
    """Return findings on labels that lie partly in air or padding of the scan, while labels of other cases do not."""
    shares = np.array([case.content.outside_share for case in facts])
    limit = _OUTSIDE_IN_SMALL_SETS if len(facts) < FEWEST else _OUTSIDE
    outside = np.flatnonzero(shares >= limit)
    most_alike = max(company_needed(len(facts)), _SOME_OUTSIDE * len(facts))
    if len(facts) >= FEWEST and (shares >= limit / 2).sum() > most_alike:
        return []
    remedy = "Label and scan may belong to different cases, or one was moved or cut: look at them together."
    return [
        Finding(
            "label outside",
            facts[index].id,
            f"{cases[facts[index].id].label}: {shares[index]:.0%} of what it marks lies where the scan is empty (its "
            f"most frequent value, {facts[index].content.channels[0].flat:g}).",
            remedy,
            cases[facts[index].id].label,
        )
        for index in outside.tolist()
    ]
