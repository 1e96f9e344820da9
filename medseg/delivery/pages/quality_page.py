"""The page of how far answers can be trusted: every case from the most doubtful to the least, with its flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medseg.confidence.assessment import MEANINGS, Assessment, StructureQuality
from medseg.core.wording import counted
from medseg.delivery.pages.blocks import Block, Facts, Notes, Table
from medseg.delivery.pages.figures import digits_for, figure
from medseg.delivery.pages.page import Page, Section
from medseg.delivery.provenance.folder_files import INDEX

_MOST_ROWS = 500
"""So that a browser opens the page at once; volumes.csv has all."""
_FOOTER = (
    "Nothing here knows the truth: predictions hold for scans like those that the model was trained on. The same "
    "figures are in volumes.csv and manifest.json."
)


def quality_page(
    assessments: Mapping[str, Assessment],
    volumes: Mapping[str, Mapping[str, float]],
    units: Mapping[str, str],
    warnings: Mapping[str, Sequence[str]],
    links: Mapping[str, str] | None = None,
    indexed: bool = False,
) -> Page:
    """Return the page.

    Args:
        assessments: {case: what is expected of its answer}.
        volumes: {case: {structure: volume}}.
        units: {case: unit of its volumes}.
        warnings: {case: how its scan differs from the training scans}.
        links: {case: the page of the viewer that shows it}; None where there are none.
        indexed: Whether the page of all answers lies beside this one.
    """
    ordered = sorted(assessments, key=lambda case: _doubt(assessments[case], warnings.get(case, ())))
    flagged = [case for case in ordered if assessments[case].flags or warnings.get(case)]
    known = [value for case in ordered if (value := assessments[case].dice) is not None]
    figures = [(str(len(ordered)), "answers"), (str(len(flagged)), "with a flag or a warning")]
    if known:
        figures.append((f"{sum(known) / len(known):.3f}", "mean of the predicted Dice"))
    reasons = [
        Section(f"case-{number}", case, _reasons(assessments[case], warnings.get(case, ())))
        for number, case in enumerate(flagged[:_MOST_ROWS])
    ]
    table = Section(
        "cases", "All answers, the most doubtful first", [_table(ordered, assessments, volumes, units, links or {})]
    )
    meanings = Section("meanings", "What the flags say", [Facts([*MEANINGS.items()])])
    sections = [table, *reasons, meanings]
    beside = [(INDEX, "All answers")] if indexed else []
    return Page("Quality of the answers", _lead(len(flagged), len(ordered)), figures, sections, [_FOOTER], beside)


def _lead(flagged: int, total: int) -> str:
    if not flagged:
        return f"Nothing about {counted(total, 'answer')} is unlike the training cases."
    return f"Look at {flagged} of {counted(total, 'answer')} first: each carries a reason to doubt it."


def _doubt(assessment: Assessment, warnings: Sequence[str]) -> tuple[bool, float]:
    """Return a sort key of cases: those with a reason to doubt them come first, then those of low predicted Dice."""
    return not (assessment.flags or warnings), 1.0 if assessment.dice is None else assessment.dice


def _reasons(assessment: Assessment, warnings: Sequence[str]) -> list[Block]:
    return [Notes([*warnings, *(f"{flag.kind}: {flag.text}" for flag in assessment.flags)], "warning")]


def _table(
    cases: Sequence[str],
    assessments: Mapping[str, Assessment],
    volumes: Mapping[str, Mapping[str, float]],
    units: Mapping[str, str],
    links: Mapping[str, str],
) -> Table:
    rows: list[tuple[str, ...]] = []
    leads: dict[int, str] = {}
    names_of = dict.fromkeys(name for case in cases for name in volumes.get(case, {}))
    digits = {name: digits_for(volumes.get(case, {}).get(name) for case in cases) for name in names_of}
    for case in cases[:_MOST_ROWS]:
        names = ", ".join(flag.name for flag in assessments[case].flags)
        for name, quality in assessments[case].structures.items():
            volume = volumes.get(case, {}).get(name)
            size = ""
            if volume is not None:
                span = _span(quality.volume_low, quality.volume_high, digits[name])
                size = f"{figure(volume, digits[name])}{span} {units[case]}"
            if case in links:
                leads[len(rows)] = links[case]
            rows.append((case, name, _dice(quality), size, names))
    caption = "Predicted Dice and volume, with intervals that hold the truth in nine of ten cases"
    if len(cases) > _MOST_ROWS:
        caption += f"; the first {_MOST_ROWS} cases"
    if leads:
        caption += "; a name leads to the case in the viewer"
    return Table(caption, ("case", "structure", "predicted Dice", "volume", "flags"), rows, words=(1, 4), links=leads)


def _dice(quality: StructureQuality) -> str:
    return "" if quality.dice is None else f"{quality.dice:.2f}{_span(quality.dice_low, quality.dice_high, 2)}"


def _span(low: float | None, high: float | None, digits: int) -> str:
    return "" if low is None or high is None else f" ({low:.{digits}f} to {high:.{digits}f})"
