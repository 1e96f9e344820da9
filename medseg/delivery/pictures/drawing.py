"""Drawing one plane of a case: the scan in grey or colour, structures as lines or areas, sides and a scale bar.

Axes of matplotlib are handed in, with the plane's own mm (or pixels) as their units; nothing global is touched.
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.colours import colour_number
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.delivery.pictures.planes import Plane

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LIGHT = "#F2F2F2"
WINDOW_PERCENTILES = (0.5, 99.5)
"""Intensities shown as black and white: a few odd voxels do not take up the range."""

_DPI = 150
_CONTEXT_VOXELS = 10
_CT_SOFT = (-160.0, 240.0)
"""HU that are black and white in a CT."""
_AIR_HU, _AIR_SHARE, _SAMPLED = 60, 0.03, 1_000_000
"""A scan of whose voxels, or a sample of them, such a share lies so close to the -1000 HU of air is a CT."""
_BARS_MM = (200, 100, 50, 20, 10, 5, 2, 1)
_BAR_FRACTION = 0.35
"""A scale bar is the longest of these lengths that takes at most this share of the width."""


def colour(labels: Labels, structure: str) -> tuple[float, float, float]:
    """Return the colour (red, green, blue; 0 to 1) that a structure has in every picture.

    After the seventh structure the colours come again lighter, then darker, then as they are.

    Args:
        labels: All structures, in their order.
        structure: Name of one of them.
    """
    return colour_number(labels.names.index(structure))


def structures_in(labels: Labels, slice_: NDArray) -> dict[str, NDArray[np.bool_]]:
    """Return the masks of the structures that occur in a slice, by name.

    Args:
        labels: The structures.
        slice_: (row, column) label values as in files.

    Raises:
        DataError: A value belongs to no structure.
    """
    indices = labels.encode(slice_, "the label map")
    # The last column stands for voxels to ignore (index -1): they belong to no structure.
    membership = np.pad(labels.membership, ((0, 0), (0, 1)))
    occurs = np.isin(np.arange(membership.shape[1]), indices)
    rows = zip(labels.names, membership, strict=True)
    return {name: members[indices] for name, members in rows if (members & occurs).any()}


def is_colour(image: Image) -> bool:
    """Return whether the channels are red, green and blue: three of 8 bits, from a format that stores no spacing."""
    return image.array.shape[0] == 3 and image.array.dtype == np.uint8 and not image.spacing_known


def window(image: Image, foreground: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the intensities to show as black and white.

    Percentiles in and around the structures, so that what lies far from them does not take up the range. Of a CT that
    shows air, which is told by its values of about -1000, the usual window of soft tissue (W 400 L 40), unless the
    structures themselves are mostly air, as lungs are.

    Args:
        image: The scan (channel, z, y, x).
        foreground: (z, y, x), true in structures; where it is empty, the whole scan counts.
    """
    if not is_colour(image) and _shows_air(image.array[0]):
        structures = image.array[0][foreground]
        if not structures.size or np.median(structures) > _CT_SOFT[0]:
            return _CT_SOFT
    box = [slice(None)] * 3
    for axis in range(3):
        where = np.flatnonzero(foreground.any(axis=tuple(other for other in range(3) if other != axis)))
        if where.size:
            box[axis] = slice(max(0, where[0] - _CONTEXT_VOXELS), where[-1] + 1 + _CONTEXT_VOXELS)
    shown = image.array if is_colour(image) else image.array[:1]
    z, y, x = box
    low, high = map(float, np.percentile(shown[:, z, y, x], WINDOW_PERCENTILES))
    return low, high if high > low else low + 1


def _shows_air(array: NDArray) -> bool:
    """Return whether a channel is of a CT, by the values of air in it."""
    sample = array.reshape(-1)[:: max(1, array.size // _SAMPLED)]
    return float(np.mean(np.abs(sample.astype(np.float32) + 1000) < _AIR_HU)) > _AIR_SHARE


def draw_scan(axes: Axes, plane: Plane, image: Image, low: float, high: float) -> None:
    """Draw a slice of a scan: in colour, or its first channel in grey.

    Args:
        axes: Where to draw, in the unit of the plane's pixels.
        plane: The slice.
        image: The scan (channel, z, y, x).
        low: Intensity that is black.
        high: Intensity that is white.
    """
    slice_ = plane.cut(image.array)
    shown = np.clip((slice_.astype(np.float32) - low) / (high - low), 0, 1)
    pixels = np.moveaxis(shown, 0, -1) if is_colour(image) else shown[0]
    extent = (0.0, slice_.shape[2] * plane.pixel[1], slice_.shape[1] * plane.pixel[0], 0.0)
    # bounds and colour map have no effect on colour pixels
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, extent=extent, interpolation="bilinear")


def draw_structures(
    axes: Axes, plane: Plane, values: Image, labels: Labels, area: float, line: dict[str, Any] | None
) -> None:
    """Draw the structures of a label map in a slice.

    Args:
        axes: Where to draw, in the unit of the plane's pixels.
        plane: The slice.
        values: Label map (1, z, y, x) of values as in files.
        labels: The structures.
        area: Opacity of their areas; 0 draws none.
        line: `linewidth` and `linestyle` of their outlines; None draws none.
    """
    height, width = plane.pixel
    for name, mask in structures_in(labels, plane.cut(values.array)[0]).items():
        rows, columns = (np.flatnonzero(mask.any(axis=axis))[[0, -1]] for axis in (1, 0))
        inside = mask[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1]
        # One more pixel on each side, so that an outline closes.
        padded = np.pad(inside.astype(float), 1)
        x = (np.arange(columns[0] - 1, columns[1] + 2) + 0.5) * width
        y = (np.arange(rows[0] - 1, rows[1] + 2) + 0.5) * height
        if area:
            axes.contourf(x, y, padded, levels=(0.5, 2.0), colors=[colour(labels, name)], alpha=area, antialiased=True)
        if line is not None:
            style = {"linewidths": line["linewidth"], "linestyles": [line["linestyle"]]}
            drawn = axes.contour(x, y, padded, levels=(0.5,), colors=[colour(labels, name)], **style)
            drawn.set_path_effects(_outlined(line["linewidth"] + 1.0, opacity=0.55))


def draw_sides(axes: Axes, plane: Plane) -> None:
    """Write which side of the patient is on the left and on top, where the affine says so.

    Args:
        axes: Where to draw.
        plane: The slice.
    """
    style: dict[str, Any] = {"color": LIGHT, "fontsize": 8, "fontweight": "bold", "transform": axes.transAxes}
    axes.text(0.02, 0.5, plane.left, ha="left", va="center", path_effects=_outlined(2.0), **style)
    axes.text(0.5, 0.98, plane.top, ha="center", va="top", path_effects=_outlined(2.0), **style)


def draw_scale_bar(axes: Axes, plane: Plane, shape: tuple[int, ...]) -> None:
    """Draw a bar of a round length, at most about a third of the width, in the lower right corner.

    Args:
        axes: Where to draw, in mm.
        plane: The slice.
        shape: (row, column) of the slice.
    """
    rows, columns = shape[0] * plane.pixel[0], shape[1] * plane.pixel[1]
    length = next((bar for bar in _BARS_MM if bar <= _BAR_FRACTION * columns), _BARS_MM[-1])
    right, y = columns * 0.97, rows * 0.955
    bar = axes.plot([right - length, right], [y, y], color=LIGHT, linewidth=2, solid_capstyle="butt")
    bar[0].set_path_effects(_outlined(3.2))
    axes.annotate(
        f"{length} mm",
        (right - length / 2, y),
        (0, 2.5),
        textcoords="offset points",
        ha="center",
        va="bottom",
        color=LIGHT,
        fontsize=7,
        path_effects=_outlined(2.0),
    )


def new_figure(width: float, height: float, ground: str) -> Figure:
    """Return an empty figure that Agg draws, whatever backend matplotlib uses elsewhere.

    Args:
        width: In inches.
        height: In inches.
        ground: Colour of the ground.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor=ground)
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # matplotlib's font has no Chinese, Japanese and others: it draws boxes, and the page has the names as text
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")
        figure.savefig(stream, format="png", facecolor=figure.get_facecolor())
    return stream.getvalue()


def _outlined(width: float, opacity: float = 1.0) -> list[Any]:
    """Return path effects that draw a dark rim, so that lines and letters stand out on bright tissue, too."""
    from matplotlib.patheffects import Normal, Stroke

    return [Stroke(linewidth=width, foreground="black", alpha=opacity), Normal()]
