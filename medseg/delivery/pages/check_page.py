"""The page of a check: what was found, kind by kind, with pictures of the cases that are suspected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from medseg.core.wording import counted
from medseg.delivery.pages.page import Block, Facts, Notes, Page, Picture, Section, Table
from medseg.planning.findings import KINDS, Finding

_MOST_ROWS = 500


@dataclass(frozen=True)
class CheckFacts:
    """What the page says about the data set as a whole.

    Attributes:
        name: of the data set.
        said: terms and what is to be said of them.
        cases: how many there are.
        left_out: ids of those with an error.
        notes: other sentences about how the data set was read.
    """

    name: str
    said: Sequence[tuple[str, str]]
    cases: int
    left_out: Sequence[str]
    notes: Sequence[str]


def check_page(facts: CheckFacts, findings: Sequence[Finding], pictures: Mapping[str, tuple[bytes, str]]) -> Page:
    """The page.

    Args:
        facts: about the data set.
        findings: in the order of the page, with messages as they are to be read.
        pictures: by case, a PNG and what it shows.
    """
    drawn: set[str] = set()
    sections = []
    for kind, group in groupby(findings, key=lambda one: one.kind):
        ones = list(group)
        mark = "error" if ones[0].severity == "error" else "warning"
        title = f"{KINDS[kind][0].upper()}{KINDS[kind][1:]} ({mark}, {len(ones)})"
        sections.append(Section(kind.replace(" ", "-"), title, [*_blocks(ones, pictures, drawn)]))
    warnings = sum(one.severity == "warning" for one in findings)
    figures = [
        (str(facts.cases), "cases"),
        (str(facts.cases - len(facts.left_out)), "can be used"),
        (str(len(facts.left_out)), "left out, by errors"),
        (str(warnings), "warnings"),
    ]
    about = Section("read", "How it was read", [Facts([*facts.said]), Notes(facts.notes)])
    return Page(f"Check of {facts.name}", _lead(findings, facts), figures, [*sections, about], [_FOOTER])


_FOOTER = "Errors leave a case out of a plan, warnings keep it. The same in a form for programs: check.json."


def _lead(findings: Sequence[Finding], facts: CheckFacts) -> str:
    if not findings:
        return f"Nothing wrong was found in {counted(facts.cases, 'case')}."
    if not facts.left_out:
        return "Every case can be used; look at what is unlike the rest before you train on it."
    return f"{len(facts.left_out)} of {counted(facts.cases, 'case')} left out: mend what is wrong and check again."


def _blocks(findings: list[Finding], pictures: Mapping[str, tuple[bytes, str]], drawn: set[str]) -> list[Block]:
    """What to do, the cases, and a picture of each that was not shown before."""
    shown = findings[:_MOST_ROWS]
    caption = "What was found" + f", the first {_MOST_ROWS}" * (len(findings) > _MOST_ROWS)
    blocks: list[Block] = []
    if len({one.remedy for one in findings}) == 1:
        blocks.append(Notes([findings[0].remedy], findings[0].severity))
        rows = [(one.case or "all", one.message) for one in shown]
        blocks.append(Table(caption, ("case", "finding"), rows, words=(1,)))
    else:
        rows_with_remedy = [(one.case or "all", one.message, one.remedy) for one in shown]
        blocks.append(Table(caption, ("case", "finding", "what to do"), rows_with_remedy, words=(1, 2)))
    for one in findings:
        if one.case in pictures and one.case not in drawn:
            drawn.add(one.case)
            png, words = pictures[one.case]
            blocks.append(Picture(f"{one.case}: {words}", f"{one.case}: {words}", png))
    return blocks
