"""Pictures of cases with the contours of their structures.

matplotlib is imported where it draws, and only its Figure objects are used: nothing global is touched, so that
pictures may be drawn from several threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.core.wording import first_few
from medseg.delivery.pictures import drawing
from medseg.delivery.pictures.planes import Plane, planes_through
from medseg.evaluation.summary import CaseScore

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DARK, _QUIET = "#111418", "#A3ACB5"
_WIDTH, _TALLEST = 9.0, 3.0
"""Width of a picture and greatest height of a row, in inches."""
_MARGIN, _GAP, _TITLE, _LEGEND_ROW = 0.2, 0.1, 0.46, 0.2
"""Also in inches: around all, between planes, above a row, and per line of the legend."""
_LETTER = 0.6
"""Mean width of a letter, as a share of the height of the font."""
_ACROSS = 3
"""So many 2D images share a row."""
_ONE_HEIGHT = 2.0
"""Planes whose heights differ by at most this factor are drawn at one height, which fills the row."""
_LEGEND_COLUMNS, _LEGEND_KEY_LETTERS, _MOST_IN_LEGEND, _MOST_IN_DETAIL = 6, 9, 24, 6
_LINE: dict[str, Any] = {"linestyle": "-", "linewidth": 1.0}
_DASHED: dict[str, Any] = {"linestyle": (0, (2.2, 1.4)), "linewidth": 1.6}


@dataclass(frozen=True)
class View:
    """A case to draw; its images lie on one grid.

    Attributes:
        title: Title above it.
        prediction: Label map (1, z, y, x) of values as in files.
        reference: Likewise; None where there is none.
        image: The scan (channel, z, y, x); None to draw the labels as areas on a dark ground.
        detail: A second line below the title.
    """

    title: str
    prediction: Image
    reference: Image | None = None
    image: Image | None = None
    detail: str = ""


@dataclass(frozen=True)
class _Cell:
    """One plane of a view.

    Attributes:
        view: The case.
        plane: The slice.
        window: Intensities of the scan that are black and white; None without a scan.
        size: Height and width, in units that are the same for all cells of a row.
        first: It is the first plane of its view, above which the title stands.
        alone: It is the only plane of its view.
    """

    view: View
    plane: Plane
    window: tuple[float, float] | None
    size: tuple[float, float]
    first: bool
    alone: bool


def worst_median_best(cases: Sequence[CaseScore]) -> list[tuple[str, CaseScore]]:
    """Return the cases of lowest, median and highest mean Dice with these words; fewer if there are not three."""
    scored = sorted((case.dice_mean, case.case, case) for case in cases if case.dice_mean is not None)
    ranked = [case for _, _, case in scored]
    if len(ranked) < 3:
        return list(zip(("worst", "best") if len(ranked) == 2 else ("",), ranked, strict=False))
    return [("worst", ranked[0]), ("median", ranked[(len(ranked) - 1) // 2]), ("best", ranked[-1])]


def dice_line(case: CaseScore) -> str:
    """Return the mean Dice of a case and the Dice of its structures, in one line."""
    dice = {name: overlap.dice for name, overlap in case.overlaps.items() if overlap.dice is not None}
    if case.dice_mean is None or len(case.overlaps) == 1:
        return "no structure" if case.dice_mean is None else f"Dice {case.dice_mean:.3f}"
    shown = [f"{name} {value:.2f}" for name, value in list(dice.items())[:_MOST_IN_DETAIL]]
    more = [f"and {len(dice) - len(shown)} more"] * (len(dice) > len(shown))
    return f"mean Dice {case.dice_mean:.3f}:  {',  '.join(shown + more)}"


def case_panel(views: Sequence[View], labels: Labels) -> bytes:
    """Return a PNG of cases, one below the other, 2D ones side by side.

    The reference is a line, the prediction a dashed line. A 3D case is shown in three planes through the centre of its
    reference, in the proportions of its spacing, with the patient's sides where the affine says them. A structure has
    the same colour in every picture.

    Args:
        views: The cases.
        labels: Their structures.

    Raises:
        ValueError: There is no view, or the images of one view lie on different grids.
        DataError: A label map holds a value that no structure declares.
    """
    if not views:
        raise ValueError("there is nothing to draw")
    rows = _rows([_cells(view, labels) for view in views])
    heights = [_scale(row) * max(cell.size[0] for cell in row) for row in rows]
    handles = _legend_handles(rows, labels)
    longest = max((len(handle.get_label()) for handle in handles), default=0)
    widest = _LETTER * 9 / 72 * (longest + _LEGEND_KEY_LETTERS)
    lines = -(-len(handles) // max(1, min(_LEGEND_COLUMNS, int(_WIDTH / widest))))
    columns = -(-len(handles) // max(1, lines))
    legend = _LEGEND_ROW * lines + _MARGIN
    top = height = sum(heights) + len(rows) * (_TITLE + _GAP) + legend
    figure = drawing.new_figure(_WIDTH, height, _DARK)
    for row, row_height in zip(rows, heights, strict=True):
        _draw_row(figure, row, top - _TITLE, row_height, labels)
        top -= _TITLE + row_height + _GAP
    position: dict[str, Any] = {
        "loc": "lower center",
        "bbox_to_anchor": (0.5, 0.7 * _MARGIN / height),
        "borderpad": 0,
        "borderaxespad": 0,
    }
    if handles:
        figure.legend(handles=handles, ncols=columns, frameon=False, fontsize=9, labelcolor=drawing.LIGHT, **position)
    return drawing.png(figure)


def describe_view(view: View, case: CaseScore, labels: Labels) -> str:
    """Return a description of the picture of a scored case, for those who do not see it.

    Args:
        view: What is drawn.
        case: Its scores.
        labels: The structures.
    """
    planes = "one plane" if 1 in view.prediction.shape_zyx else "an axial, a coronal and a sagittal plane"
    under = "the scan" if view.image is not None else "a dark ground"
    named = [name for name in labels.names if name in case.overlaps and case.overlaps[name].n_reference]
    shown = first_few(named, _MOST_IN_DETAIL)
    return f"{case.case}: {planes} of {under} with reference and prediction of {shown or 'no structure'}; {view.detail}"


def _cells(view: View, labels: Labels) -> list[_Cell]:
    """Return the planes of a view: three, or the one of a 2D image."""
    shown = view.reference if view.reference is not None else view.prediction
    for other in (view.prediction, view.image):
        if other is not None and not shown.same_grid(other):
            raise ValueError(f"{view.title}: grids of {shown.shape_zyx} and {other.shape_zyx} voxels differ")
    foreground = _foreground(shown, labels)
    if not foreground.any():
        foreground = _foreground(view.prediction, labels)
    window = None if view.image is None else drawing.window(view.image, foreground)
    planes = planes_through(shown, foreground)
    shapes = [plane.cut(shown.array).shape[1:] for plane in planes]
    sizes = [
        (shape[0] * plane.pixel[0], shape[1] * plane.pixel[1]) for plane, shape in zip(planes, shapes, strict=True)
    ]
    heights = [height for height, _ in sizes]
    if max(heights) <= _ONE_HEIGHT * min(heights):
        sizes = [(1.0, width / height) for height, width in sizes]
    return [
        _Cell(view, plane, window, size, plane is planes[0], len(planes) == 1)
        for plane, size in zip(planes, sizes, strict=True)
    ]


def _foreground(values: Image, labels: Labels) -> NDArray[np.bool_]:
    """Return (z, y, x), true in structures."""
    foreground = np.ones(values.shape_zyx, np.bool_)
    for nothing in (labels.background, labels.ignore):
        if nothing is not None:
            foreground &= values.array[0] != nothing  # a tenth of the time of `np.isin`
    return foreground


def _rows(views: list[list[_Cell]]) -> list[list[_Cell]]:
    """Return the cells of each row: one row for each 3D view, while 2D views share rows."""
    flat = [cells[0] for cells in views if len(cells) == 1]
    shared = [flat[start : start + _ACROSS] for start in range(0, len(flat), _ACROSS)]
    return [cells for cells in views if len(cells) > 1] + shared


def _scale(row: list[_Cell]) -> float:
    """Return the inches per unit of size with which a row fills the width, or reaches its greatest height."""
    width = _WIDTH - 2 * _MARGIN - (len(row) - 1) * _GAP
    return min(width / sum(cell.size[1] for cell in row), _TALLEST / max(cell.size[0] for cell in row))


def _draw_row(figure: Figure, row: list[_Cell], top: float, height: float, labels: Labels) -> None:
    """Draw a row whose upper edge is at `top` inches, centred, with titles above it."""
    scale = _scale(row)
    total_width, total_height = figure.get_size_inches()
    left = (total_width - scale * sum(cell.size[1] for cell in row) - (len(row) - 1) * _GAP) / 2
    for cell in row:
        cell_height, cell_width = scale * cell.size[0], scale * cell.size[1]
        bottom = top - (height + cell_height) / 2
        box = (left / total_width, bottom / total_height, cell_width / total_width, cell_height / total_height)
        _draw_cell(figure, cell, box, labels)
        if cell.first:
            x, y = left / total_width, top + 0.06
            room = cell_width if cell.alone else total_width - 2 * _MARGIN
            title, detail = _fit(cell.view.title, room, 10), _fit(cell.view.detail, room, 8)
            raised = 0.16 if detail else 0
            figure.text(x, (y + raised) / total_height, title, color=drawing.LIGHT, fontsize=10, va="bottom")
            figure.text(x, y / total_height, detail, color=_QUIET, fontsize=8, va="bottom")
        left += cell_width + _GAP


def _fit(text: str, inches: float, points: int) -> str:
    """Return a text, cut so that it is no wider than a number of inches."""
    most = int(inches * 72 / (points * _LETTER))
    return text if len(text) <= most else text[: most - 1] + "…"


def _draw_cell(figure: Figure, cell: _Cell, box: tuple[float, float, float, float], labels: Labels) -> None:
    """Draw a plane into a box (left, bottom, width, height), in shares of the figure."""
    view, plane = cell.view, cell.plane
    axes = figure.add_axes(box)
    shape = plane.cut(view.prediction.array).shape[1:]
    axes.set_facecolor("black")
    axes.set(xlim=(0, shape[1] * plane.pixel[1]), ylim=(shape[0] * plane.pixel[0], 0), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if view.image is not None and cell.window is not None:
        drawing.draw_scan(axes, plane, view.image, *cell.window)
    if view.reference is not None:
        filled = view.image is None
        drawing.draw_structures(axes, plane, view.reference, labels, 0.5 if filled else 0, None if filled else _LINE)
        drawing.draw_structures(axes, plane, view.prediction, labels, 0, _DASHED)
    else:
        drawing.draw_structures(axes, plane, view.prediction, labels, 0.5 if view.image is None else 0.2, _LINE)
    axes.set(xlim=(0, shape[1] * plane.pixel[1]), ylim=(shape[0] * plane.pixel[0], 0))
    drawing.draw_sides(axes, plane)
    if view.prediction.spacing_known:
        drawing.draw_scale_bar(axes, plane, shape)


def _legend_handles(rows: list[list[_Cell]], labels: Labels) -> list[Any]:
    """Return the entries of the legend: structures that are to be seen, in their colours, and what the lines mean."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    cells = [cell for row in rows for cell in row]
    maps = [(cell.plane, shown) for cell in cells for shown in (cell.view.reference, cell.view.prediction)]
    seen = {name for plane, shown in maps if shown for name in drawing.structures_in(labels, plane.cut(shown.array))}
    names = [name for name in labels.names if name in seen]
    handles: list[Any] = [Patch(color=drawing.colour(labels, name), label=name) for name in names[:_MOST_IN_LEGEND]]
    if len(names) > _MOST_IN_LEGEND:
        handles.append(Patch(alpha=0, label=f"and {len(names) - _MOST_IN_LEGEND} more"))
    if any(cell.view.reference for cell in cells):
        filled = all(cell.view.image is None for cell in cells)
        reference = (
            Patch(color=_QUIET, label="reference")
            if filled
            else Line2D([], [], color=_QUIET, label="reference", **_LINE)
        )
        handles += [reference, Line2D([], [], color=_QUIET, label="prediction", **_DASHED)]
    return handles
