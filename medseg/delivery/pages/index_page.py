"""The page of a folder of answers: a contact sheet, volumes, what to doubt, and what failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medseg.core.colours import rgb_number
from medseg.core.labels import Labels
from medseg.core.wording import counted, first_few, in_a_line
from medseg.delivery.answers.case_pages import CaseSlice
from medseg.delivery.pages.blocks import Block, Card, Entry, Notes, Picture, Sheet, Table
from medseg.delivery.pages.figures import digits_for, figure
from medseg.delivery.pages.own_page import page_link
from medseg.delivery.pages.page import Page, Section
from medseg.delivery.provenance.folder_files import QUALITY

MOST_CARDS = 200
"""So that a browser opens the page at once: each has up to six pictures. The table has all cases."""
_MOST_IN_LEGEND = 8
_MOST_COLUMNS, _MOST_UNFOLDED = 8, 60
_FOOTER = (
    "This page holds slices of the scans, and the pages that it leads to hold the scans: treat them as such.",
    "Made by medseg. For research use; not a medical device.",
)


@dataclass(frozen=True)
class CaseShown:
    """An answer, and what there is to look at.

    Attributes:
        case: Id of the case.
        slices: Pictures of it.
        link: Its viewer's page, relative to this one; empty where there is none.
        voxels: Of its scan.
        volumes: {structure: volume}.
        unit: Of the volumes.
        notes: Warnings on the scan and flags of the answer, in sentences.
        problem: Why something could not be drawn; empty where all could.
    """

    case: str
    slices: Sequence[CaseSlice]
    link: str
    voxels: int
    volumes: Mapping[str, float]
    unit: str
    notes: Sequence[str] = ()
    problem: str = ""


def index_page(
    title: str,
    shown: Sequence[CaseShown],
    failed: Mapping[str, str],
    labels: Labels,
    judged: bool = False,
    passed_over: Mapping[str, int] | None = None,
) -> Page:
    """Return the page.

    Args:
        title: What made the answers.
        shown: The answers, in the order of the page.
        failed: {case: why it has no answer}.
        labels: The structures.
        judged: Whether the page of quality flags lies beside this one.
        passed_over: {sentence on scans that could be read and have no answer: how many they are}.
    """
    doubtful = [case for case in shown if case.notes]
    figures = [(str(len(shown)), "answer" if len(shown) == 1 else "answers")]
    figures += [(str(len(failed)), "failed")] if failed else []
    figures += [(str(sum(passed_over.values())), "passed over")] if passed_over else []
    figures += [(str(len(doubtful)), "with a warning")]
    digits = {name: digits_for(case.volumes.get(name) for case in shown) for name in labels.names}
    caption = "Of each structure the slice where it is largest, outlined; a name leads to the scan with its answer."
    if any(picture.title.startswith("axial") for case in shown for picture in case.slices):
        caption += " The patient's right is on the left."
    if len(shown) > MOST_CARDS:
        caption += f" The first {MOST_CARDS} of {len(shown)} cases; the table has all."
    cards = [_card(case, labels, digits) for case in shown[:MOST_CARDS]]
    sections = [
        Section("failed", "Failed", [Notes([f"{case}: {why}" for case, why in failed.items()], "error")]),
        *([Section("passed_over", "Passed over", [Notes([*passed_over], "warning")])] if passed_over else []),
        Section("sheet", "Contact sheet", [Sheet(caption, cards)]),
        Section("volumes", "Volumes", [_volumes(shown, labels, digits)]),
    ]
    beside = [(QUALITY, "Which answers to distrust")] if judged else []
    return Page("Answers", f"{counted(len(shown), 'scan')} segmented by {title}.", figures, sections, _FOOTER, beside)


def _card(case: CaseShown, labels: Labels, digits: Mapping[str, int]) -> Card:
    entries = [
        Entry(name, _size(case, name, digits), rgb_number(number))
        for number, name in enumerate(labels.names)
        if name in case.volumes
    ]
    entries.sort(key=lambda entry: not case.volumes[entry.name])  # what is not there comes last
    slices = [_picture(case, shown) for shown in case.slices]
    first, more = entries[:_MOST_IN_LEGEND], entries[_MOST_IN_LEGEND:]
    return Card(case.case, slices, first, more, case.notes, _missing(case), page_link(case.link))


def _size(case: CaseShown, name: str, digits: Mapping[str, int]) -> str:
    volume = case.volumes[name]
    return f"{figure(volume, digits[name])} {case.unit}" if volume else "none"


def _picture(case: CaseShown, shown: CaseSlice) -> Picture:
    which = shown.title or "the image"
    names = f", where {first_few(shown.names)} {'is' if len(shown.names) == 1 else 'are'} largest" * bool(shown.names)
    return Picture(which, f"{case.case}: {which}, structures outlined{names}", shown.png)


def _missing(case: CaseShown) -> str:
    """Return why something is not shown."""
    if case.problem:
        return f"Not shown: {case.problem}"
    if not case.link:
        return (
            f"No page to look at the scan, as it has {case.voxels / 1e6:.1f} million voxels; the command with "
            "--continue --page writes it."
        )
    return ""


def _volumes(shown: Sequence[CaseShown], labels: Labels, digits: Mapping[str, int]) -> Block:
    """Return the table of volumes: a column for each structure; of many, a row for each structure of each case."""
    caption = "Volume of each structure"
    links = {number: page_link(case.link) for number, case in enumerate(shown) if case.link}
    units = {case.unit for case in shown}
    one_unit = f" ({next(iter(units))})" if len(units) == 1 else ""  # else each row says its own
    unit_head = [] if one_unit else ["unit"]
    if len(labels.names) > _MOST_COLUMNS:
        lines = [
            (number, [case.case, name, figure(volume, digits[name]), *([] if one_unit else [case.unit])])
            for number, case in enumerate(shown)
            for name, volume in case.volumes.items()
        ]
        of_lines = {line: links[number] for line, (number, _) in enumerate(lines) if number in links}
        rows = [row for _, row in lines]
        head, folded = ["case", "structure", f"volume{one_unit}", *unit_head], len(rows) > _MOST_UNFOLDED
        return Table(caption, head, rows, words=[1, 3], links=of_lines, folded=folded)
    names, warnings = labels.names, [in_a_line(case.notes) for case in shown]
    warned = any(warnings)
    table = [
        [
            case.case,
            *(figure(case.volumes.get(name), digits[name]) for name in names),
            *([] if one_unit else [case.unit]),
            *([warning] if warned else []),
        ]
        for case, warning in zip(shown, warnings, strict=True)
    ]
    head = ["case", *(f"{name}{one_unit}" for name in names), *unit_head, *(["warnings"] if warned else [])]
    return Table(caption, head, table, words=range(len(names) + 1, len(head)), links=links)
