"""Scores as a table for the terminal."""

from __future__ import annotations

from rich.table import Table

from medseg.evaluation.summary import StructureSummary, Summary


def table(summary: Summary) -> Table:
    """One row per structure: cases, Dice and IoU over cases, empty sides, mean volumes."""
    units = {structure.volume_unit for structure in summary.structures.values()} - {""}
    unit = units.pop() if len(units) == 1 else "mixed units"
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    drawn.add_column("structure")
    numbers = (
        "cases",
        "Dice mean",
        "median",
        "IoU mean",
        "both empty",
        "one empty",
        f"reference {unit}",
        f"predicted {unit}",
    )
    for heading in numbers:
        drawn.add_column(heading, justify="right")
    for name, structure in summary.structures.items():
        drawn.add_row(name, *_cells(structure))
    return drawn


def headline(summary: Summary) -> str:
    """The overall figures in two lines, and what the mIoU is a mean of."""
    cases = f"{len(summary.cases)} case{'s' * (len(summary.cases) != 1)}"
    return (
        f"mean Dice {_figure(summary.dice_mean, 4)}, mean IoU {_figure(summary.iou_mean, 4)} "
        f"(over {cases} per structure, then over {len(summary.structures)} structures)\n"
        f"mIoU {_figure(summary.miou, 4)} ({summary.miou_definition})"
    )


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
