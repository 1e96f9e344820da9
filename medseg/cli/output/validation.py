"""The scores of a validation while a run trains, as a few lines for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.cells import cell_len, set_cell_size

_MOST_ROWS = 6
"""Structures in the table: of more, those that are worst."""
_LONGEST_NAME = 32
"""Cells of a name: with the four columns of figures and what stands before it, a line has less than 80."""
_COLUMNS = {"dice": "Dice", "iou": "IoU", "train_dice": "train Dice", "train_iou": "train IoU"}


def validation_lines(step: int, steps: int, record: Mapping[str, Any]) -> list[str]:
    """Return the scores of a validation: a headline, and a row for each structure or for those that are worst.

    Args:
        step: number of steps that are done.
        steps: number of steps of the run.
        record: `dice` and, where they were measured, `iou`, `train_dice` and `train_iou`, each {structure: mean over
            the cases, None where no case has it}; `loss`, the validation loss.

    >>> record = {"dice": {"liver": 0.9, "tumour": None}, "iou": {"liver": 0.8182, "tumour": None}, "loss": 0.25}
    >>> for line in validation_lines(50, 200, record):
    ...     print(line)
    step 50 of 200: mean Dice 0.900, validation loss 0.250
      structure    Dice     IoU
      liver       0.900   0.818
      tumour          -       -
    """
    dice: Mapping[str, float | None] = record["dice"]
    known = [value for value in dice.values() if value is not None]
    headline = [f"mean Dice {sum(known) / len(known):.3f}"] if known else ["no structure in these cases"]
    headline += [f"validation loss {record['loss']:.3f}"] if record.get("loss") is not None else []
    columns = [key for key in _COLUMNS if record.get(key)]
    shown, rest = [*dice], ""
    if len(dice) > _MOST_ROWS:
        worst_first = sorted((name for name in dice if dice[name] is not None), key=lambda name: dice[name] or 0.0)
        shown, better = worst_first[:_MOST_ROWS], worst_first[_MOST_ROWS:]
        rest = _rest(len(better), dice[better[0]] if better else None, len(dice) - len(known))
    width = min(_LONGEST_NAME, max(map(cell_len, ("structure", *shown))))
    lines = [f"step {step} of {steps}: {', '.join(headline)}"]
    lines += [_row("structure", [_COLUMNS[key] for key in columns], columns, width)]
    for name in shown:
        lines.append(_row(name, [_figure(record[key].get(name)) for key in columns], columns, width))
    return [*lines, *([f"  {rest}"] if rest else [])]


def _row(name: str, cells: list[str], columns: list[str], width: int) -> str:
    """Return a line with a name of a width in cells, and figures below their headings."""
    if cell_len(name) > width:
        name = set_cell_size(name, width - 1) + "…"
    figures = [f"{cell:>{max(len(_COLUMNS[key]), 5)}}" for cell, key in zip(cells, columns, strict=True)]
    return "   ".join([f"  {set_cell_size(name, width)}", *figures])


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _rest(better: int, least: float | None, absent: int) -> str:
    """Return a line on the structures that the table leaves out: how many score better, and how many no case has."""
    parts = [f"{better} more, Dice {_figure(least)} or better"] if better else []
    return "; ".join([*parts, *([f"{absent} in none of these cases"] if absent else [])])
