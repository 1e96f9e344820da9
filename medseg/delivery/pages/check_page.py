"""The page of `medseg check`: the findings, kind by kind, with pictures of the cases in question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from medseg.core.wording import counted
from medseg.delivery.pages.blocks import Block, Facts, Notes, Picture, Table
from medseg.delivery.pages.page import Page, Section
from medseg.planning.findings import KINDS, Finding

_MOST_ROWS = 500
"""Of one kind of finding, so that a browser opens the page at once; check.json has all."""
_FOOTER = "Errors leave a case out of a plan, warnings keep it. The same in a form for programs: check.json."


@dataclass(frozen=True)
class CheckFacts:
    """Facts on the data set as a whole, for the page.

    Attributes:
        name: Name of the data set.
        descriptions: (term, description), such as how many channels there are.
        cases: Number of cases.
        left_out: Ids of the cases with an error.
        notes: Other sentences about how the data set was read.
    """

    name: str
    descriptions: Sequence[tuple[str, str]]
    cases: int
    left_out: Sequence[str]
    notes: Sequence[str]


def check_page(facts: CheckFacts, findings: Sequence[Finding], pictures: Mapping[str, tuple[bytes, str]]) -> Page:
    """Return the page of a check.

    Args:
        facts: About the data set as a whole.
        findings: In the order of the page.
        pictures: {case: a PNG and what it shows}.
    """
    drawn: set[str] = set()
    sections = []
    for kind, group in groupby(findings, key=lambda finding: finding.kind):
        of_kind = list(group)
        mark = "error" if of_kind[0].severity == "error" else "warning"
        title = f"{KINDS[kind][0].upper()}{KINDS[kind][1:]} ({mark}, {len(of_kind)})"
        sections.append(Section(kind.replace(" ", "-"), title, _blocks(of_kind, pictures, drawn)))
    warnings = sum(finding.severity == "warning" for finding in findings)
    figures = [
        (str(facts.cases), "cases"),
        (str(facts.cases - len(facts.left_out)), "can be used"),
        (str(len(facts.left_out)), "left out, by errors"),
        (str(warnings), "warnings"),
    ]
    about = Section("read", "How it was read", [Facts([*facts.descriptions]), Notes(facts.notes)])
    return Page(f"Check of {facts.name}", _lead(findings, facts), figures, [*sections, about], [_FOOTER])


def _lead(findings: Sequence[Finding], facts: CheckFacts) -> str:
    if not findings:
        return f"Nothing wrong was found in {counted(facts.cases, 'case')}."
    if not facts.left_out:
        return "Every case can be used; look at what is unlike the rest before you train on it."
    return f"{len(facts.left_out)} of {counted(facts.cases, 'case')} left out: mend what is wrong and check again."


def _blocks(findings: list[Finding], pictures: Mapping[str, tuple[bytes, str]], drawn: set[str]) -> list[Block]:
    """Return blocks: what to do, a table of the cases, and a picture of each case not in `drawn`, which is updated.

    A remedy that all findings share stands once above the table, others in a column of it.
    """
    caption = "What was found" + f", the first {_MOST_ROWS}" * (len(findings) > _MOST_ROWS)
    blocks: list[Block] = []
    rows = [(finding.case or "all", finding.message, finding.remedy) for finding in findings[:_MOST_ROWS]]
    if len({finding.remedy for finding in findings}) == 1:
        blocks.append(Notes([findings[0].remedy], findings[0].severity))
        blocks.append(Table(caption, ("case", "finding"), [row[:2] for row in rows], words=(1,)))
    else:
        blocks.append(Table(caption, ("case", "finding", "what to do"), rows, words=(1, 2)))
    for finding in findings:
        if finding.case in pictures and finding.case not in drawn:
            drawn.add(finding.case)
            png, words = pictures[finding.case]
            blocks.append(Picture(f"{finding.case}: {words}", f"{finding.case}: {words}", png))
    return blocks
