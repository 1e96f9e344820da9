"""Pictures: cases with their contours, and the curves of a training run.

matplotlib is imported where it draws, and only its Figure objects are used: nothing global is touched, so that
pictures may be drawn from several threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medseg.delivery.planes import Plane, planes_through
from medseg.evaluation.summary import CaseScore
from medseg.files import atomic
from medseg.image import Image
from medseg.labels import Labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito, Color Universal Design (2008), told apart with any colour vision; the order suits a dark ground.
COLOURS = ("#56B4E9", "#E69F00", "#00B883", "#F0E442", "#CC79A7", "#D55E00", "#3A8FE0")

_DARK, _LIGHT, _QUIET = "#111418", "#F2F2F2", "#A3ACB5"
_WIDTH, _TALLEST = 9.0, 3.0
_MARGIN, _GAP, _TITLE, _LEGEND_ROW = 0.2, 0.12, 0.46, 0.26
_DPI = 150
_ACROSS = 3
_LEGEND_COLUMNS, _MOST_IN_LEGEND, _MOST_IN_TITLE = 5, 25, 6
_BARS_MM = (500, 200, 100, 50, 20, 10, 5, 2, 1)


@dataclass(frozen=True)
class View:
    """A case to draw; all that is given lies on one grid.

    Attributes:
        title: what stands above it.
        prediction: label map (1, z, y, x) of values as they stand in files.
        reference: likewise, or None.
        image: the scan, or None: then the labels are drawn filled on a dark ground.
        detail: a second line below the title.
    """

    title: str
    prediction: Image
    reference: Image | None = None
    image: Image | None = None
    detail: str = ""


@dataclass(frozen=True)
class _Cell:
    """One plane of one view, with its height and width in units that its row shares."""

    view: View
    plane: Plane
    size: tuple[float, float]
    title: str = ""
    detail: str = ""


def worst_median_best(cases: Sequence[CaseScore]) -> list[tuple[str, CaseScore]]:
    """The cases with the lowest, middle and highest mean Dice and what to call them; fewer if there are fewer."""
    ranked = sorted((case for case in cases if case.dice_mean is not None), key=lambda case: (case.dice_mean, case.case))
    words = {0: ("",), 1: ("",), 2: ("worst", "best")}.get(len(ranked), ("worst", "median", "best"))
    places = {0: (), 1: (0,), 2: (0, 1)}.get(len(ranked), (0, (len(ranked) - 1) // 2, len(ranked) - 1))
    return [(word, ranked[place]) for word, place in zip(words, places, strict=False)]


def dice_line(case: CaseScore) -> str:
    """The mean Dice of a case and the Dice of each structure, in a line."""
    dice = {name: overlap.dice for name, overlap in case.overlaps.items() if overlap.dice is not None}
    if case.dice_mean is None or len(dice) == 1:
        return "no structure" if case.dice_mean is None else f"Dice {case.dice_mean:.3f}"
    shown = [f"{name} {value:.2f}" for name, value in dice.items()][:_MOST_IN_TITLE]
    more = [f"{len(dice) - len(shown)} more"] * (len(dice) > len(shown))
    return f"mean Dice {case.dice_mean:.3f}:  {',  '.join(shown + more)}"


def case_panel(path: Path, views: Sequence[View], labels: Labels) -> None:
    """Draw cases one below the other (2D ones side by side): reference as a line, prediction dashed.

    A 3D case is shown in three planes through the centre of its reference, in the proportions of its spacing, with
    sides named where the affine says them. A structure keeps its colour from picture to picture.

    Raises:
        ValueError: there is no view.
    """
    rows = _rows(views, labels)
    heights = [_row_scale(row) * max(cell.size[0] for cell in row) for row in rows]
    handles = _legend_handles(rows, labels)
    legend = _LEGEND_ROW * -(-len(handles) // _LEGEND_COLUMNS) + _MARGIN
    height = sum(heights) + len(rows) * (_TITLE + _GAP) + legend + _MARGIN
    figure = _figure(_WIDTH, height, _DARK)
    top = height - _MARGIN
    for row, row_height in zip(rows, heights, strict=True):
        top -= _TITLE
        _draw_row(figure, row, top, row_height, labels)
        top -= row_height + _GAP
    figure.legend(
        handles=handles, loc="lower center", ncols=min(len(handles), _LEGEND_COLUMNS), frameon=False, fontsize=9,
        labelcolor=_LIGHT, bbox_to_anchor=(0.5, 0.5 * _MARGIN / height), borderpad=0, borderaxespad=0,
    )  # fmt: skip
    _save(figure, path)


def prediction_panel(path: Path, views: Sequence[View], labels: Labels) -> None:
    """Draw predictions over their scans, likewise; the reference of a view only decides where the planes lie."""
    case_panel(path, [_only_prediction(view) for view in views], labels)
