"""Scores as a table for the terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from medseg.evaluation.summary import EMPTY_POLICY, StructureSummary, Summary

_MOST_NAMED = 12


def table(summary: Summary) -> Table:
    """One row per structure: cases, Dice and IoU over cases, empty sides, mean volumes."""
    units = {structure.volume_unit for structure in summary.structures.values()} - {""}
    unit = units.pop() if len(units) == 1 else "mixed units"
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    drawn.add_column("structure", overflow="fold")
    numbers = (
        "cases",
        "Dice\nmean",
        "Dice\nmedian",
        "IoU\nmean",
        "both\nempty",
        "one\nempty",
        f"reference\n{unit}",
        f"predicted\n{unit}",
    )
    for heading in numbers:
        drawn.add_column(heading, justify="right", no_wrap=True)
    for name, structure in summary.structures.items():
        drawn.add_row(Text(name), *_cells(structure))
    return drawn


def headline(summary: Summary) -> Table:
    """The overall figures with what each is a mean of, and how structures count that a case does not have."""
    cases = f"{len(summary.cases)} case{'s' * (len(summary.cases) != 1)}"
    structures = f"{len(summary.structures)} structure{'s' * (len(summary.structures) != 1)}"
    drawn = Table.grid(padding=(0, 2, 0, 0))
    drawn.add_column(no_wrap=True)
    drawn.add_column(no_wrap=True, justify="right")
    drawn.add_column()
    mean_of = f"mean over {cases} per structure, then over {structures}"
    drawn.add_row("mean Dice", _figure(summary.dice_mean, 4), mean_of)
    drawn.add_row("mean IoU", _figure(summary.iou_mean, 4), "likewise")
    drawn.add_row("mIoU", _figure(summary.miou, 4), summary.miou_definition)
    drawn.add_row("empty", "", EMPTY_POLICY)
    return drawn


def left_out(summary: Summary) -> list[str]:
    """A line that names the references without a prediction that were allowed, and one for the reverse."""
    groups = {
        "without prediction, counted": summary.without_prediction,
        "without reference, not scored": summary.without_reference,
    }
    return [
        f"{len(cases)} {what}: {', '.join(cases[:_MOST_NAMED])}{', ...' * (len(cases) > _MOST_NAMED)}"
        for what, cases in groups.items()
        if cases
    ]


def _cells(structure: StructureSummary) -> tuple[str, ...]:
    one_empty = structure.n_reference_empty + structure.n_prediction_empty
    return (
        str(structure.n),
        _figure(structure.dice_mean, 4),
        _figure(structure.dice_median, 4),
        _figure(structure.iou_mean, 4),
        str(structure.n_both_empty),
        str(one_empty),
        _figure(structure.volume_reference_mean, 1),
        _figure(structure.volume_prediction_mean, 1),
    )


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
