"""The page of a selection: the candidates, the choice and its reasons, and the postprocessing of answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from medseg.core.wording import counted, four_digits
from medseg.delivery.pages.blocks import Block, Facts, Notes, Table
from medseg.delivery.pages.figures import digits_for, figure
from medseg.delivery.pages.page import Page, Section, write_page
from medseg.evaluation.score import MEASURES
from medseg.evaluation.statistics import METHOD
from medseg.selection.record import Gain, Selection

_CROSSED = "options are chosen on all folds but one, and their gain is measured on that one"


def write_selection_page(
    path: Path,
    selection: Selection,
    problems: Mapping[str, str],
    notes: Sequence[str],
    more: Sequence[Section] = (),
) -> None:
    """Write the page of a selection.

    Args:
        path: of the page.
        selection: the selection.
        problems: {case: why it has no out-of-fold answer}.
        notes: for the user.
        more: further sections.
    """
    evidence = selection.evidence
    assert evidence is not None
    measure = MEASURES[evidence.measure].title
    figures = [
        (str(evidence.cases), "out-of-fold cases"),
        (str(len(evidence.candidates)), "candidates"),
        (str(len(selection.postprocessing) + len(selection.thresholds)), "operations kept"),
    ]
    sections = [
        Section("candidates", "Candidates", [_candidates(selection, measure)]),
        Section("structures", f"{measure} of each structure", [_structures(selection)]),
        Section("postprocessing", "Postprocessing", _postprocessing(selection)),
        *more,
        Section("notes", "Notes", [Notes([*notes], "warning"), Notes(_said(problems), "error")]),
    ]
    lead = f"{selection.title} answers: {evidence.reason}."
    footer = [METHOD, "Each case was segmented by the fold that was not trained on it.", f"medseg {selection.medseg}"]
    write_page(path, Page(f"Selection of {selection.plan}", lead, figures, sections, footer))


def _candidates(selection: Selection, measure: str) -> Table:
    evidence = selection.evidence
    assert evidence is not None
    chosen = [member.configuration for member in selection.members]
    rows = []
    digits = digits_for(candidate.seconds for candidate in evidence.candidates)
    for candidate in evidence.candidates:
        behind = candidate.behind_best
        rows.append(
            [
                " + ".join(candidate.configurations),
                four_digits(candidate.score),
                interval(candidate.low, candidate.high),
                "" if behind is None else f"{behind.difference:+.4f}",
                "" if behind is None else interval(behind.low, behind.high, signed=True),
                figure(candidate.seconds, digits),
                "chosen" if candidate.configurations == chosen else "worse" if candidate.distinguishable else "",
            ]
        )
    head = [
        *("candidate", f"mean {measure}", "interval", "to the best", "interval of the difference"),
        *("seconds a case, all folds", ""),
    ]
    return Table(f"{counted(evidence.cases, 'case')} of {counted(evidence.patients, 'patient')}", head, rows, words=[6])


def _structures(selection: Selection) -> Table:
    evidence = selection.evidence
    assert evidence is not None
    names = list(evidence.candidates[0].structures)
    rows = [
        [" + ".join(candidate.configurations), *(four_digits(candidate.structures.get(name)) for name in names)]
        for candidate in evidence.candidates
    ]
    return Table("Mean over cases", ["candidate", *names], rows)


def _postprocessing(selection: Selection) -> list[Block]:
    kept = [(step.describe(), step.evidence) for step in selection.postprocessing]
    kept += [(f"{name} above a probability of {at.value:g}", at.evidence) for name, at in selection.thresholds.items()]
    tried = [(other.what, other.evidence, other.reason) for other in selection.rejected]
    head = ["operation", "gain", "interval"]
    kept_rows = [[what, *_gain(gain)] for what, gain in kept]
    blocks: list[Block] = [Facts([("gain", f"mean over structures of the mean over cases; {_CROSSED}")])]
    if not kept:
        why = ": nothing that was tried improves them beyond chance" if tried else ""
        blocks.append(Notes([f"Answers stay as they are{why}."]))
    blocks.append(Table("Kept", head, kept_rows))
    rows = [[what, *_gain(gain), reason] for what, gain, reason in tried]
    blocks.append(Table("Tried and not kept", [*head, "why"], rows, words=[3]))
    return blocks


def _gain(gain: Gain | None) -> list[str]:
    return ["", ""] if gain is None else [f"{gain.difference:+.4f}", interval(gain.low, gain.high, signed=True)]


def _said(problems: Mapping[str, str]) -> list[str]:
    return [f"{case}: {' '.join(why.split())}" for case, why in problems.items()]


def interval(low: float | None, high: float | None, signed: bool = False) -> str:
    """Return an interval as text; a dash for none.

    Args:
        low: lower bound.
        high: upper bound.
        signed: whether bounds have a sign, as differences do.
    """
    if low is None or high is None:
        return "-"
    return f"{low:+.4f} to {high:+.4f}" if signed else f"{low:.4f} to {high:.4f}"
