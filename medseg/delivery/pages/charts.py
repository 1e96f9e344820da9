"""Charts as inline SVG for a page: no script, colours of the page's style, a title and a description to be read out.

Sizes are in CSS pixels of a drawing that scales with its column. Lines differ in colour and in dashes, and the legend
below has them in their order with their last figures.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, isfinite, log10

from medseg.core.wording import counted
from medseg.delivery.pages.figures import digits_for, with_interval

_WIDTH, _HEIGHT = 440, 230
"""Width of a chart, and height of a line chart without its legend, in CSS pixels: on a telephone a chart is hardly
smaller than it is drawn, so that its letters can be read there."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 22, 14, 46
"""Margins of a chart: for figures on the left, and figures and title below."""
_ROW, _ROW_TEXT, _SIDE, _END = 46, 18, 8, 14
"""Of a chart of spreads: height of a row, of which its name and figures take the upper part, margins beside it, and
further margins beside the axis, for half of the figures at its ends."""
_TICKS, _MOST_DIGITS = 5, 4
"""About as many ticks on an axis as its figures leave room for, and the most digits behind their point."""
_MOST_LINES = 8
_COLOURS = 7
"""Line colours in the style of the page (`s0` to `s6` in page.html.j2)."""
_DASHES = ("", "6 3", "2 3", "8 3 2 3")
_LEGEND_ROW, _SAMPLE = 20, 24
"""Height of a line of a legend, and width of the sample of a line in it."""
_LETTER = 7.6
"""Width of a letter of charts, on the safe side."""


@dataclass(frozen=True)
class Axis:
    """An axis of a chart.

    Attributes:
        label: Its title, with the unit.
        low: Its lower end; None leaves it to the data.
        high: Its upper end; None leaves it to the data.
    """

    label: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Spread:
    """The figures of one structure.

    Attributes:
        values: One for each case.
        mean: Their mean; None where it is not defined.
        low: Lower bound of the interval of the mean; None where there is none.
        high: Upper bound, likewise.
    """

    values: Sequence[float]
    mean: float | None
    low: float | None = None
    high: float | None = None


def line_chart(title: str, lines: Mapping[str, Sequence[tuple[float, float | None]]], x: Axis, y: Axis) -> str:
    """Return a chart of lines as SVG; empty where there is nothing to draw.

    Of more than eight lines only the first, such as a mean, has a label and a colour; the others look alike.

    Args:
        title: Title of the chart.
        lines: {name: (x, y) points}; a point without a finite y leaves a gap.
        x: The axis of x.
        y: The axis of y.
    """
    points = [(a, b) for line in lines.values() for a, b in line if b is not None and isfinite(b)]
    if not points:
        return ""
    x_scale = _scale(x, [a for a, _ in points], _LEFT, _WIDTH - _RIGHT)
    y_scale = _scale(y, [b for _, b in points], _HEIGHT - _BOTTOM, _TOP)  # y of SVG grows downwards
    parts = [*_grid(x_scale, y_scale, x.label, y.label)]
    entries: list[tuple[str, str, str]] = []
    for number, (name, line) in enumerate(lines.items()):
        style = "more" if len(lines) > _MOST_LINES and number else f"s{number % _COLOURS}"
        dash = _DASHES[(number // _COLOURS) % len(_DASHES)] if style != "more" else ""
        for piece in _pieces(line):
            pixels = [(f"{x_scale.at(a):.1f}", f"{y_scale.at(b):.1f}") for a, b in piece]
            path = " ".join(f"{across},{down}" for across, down in pixels)
            parts.append(f'<polyline class="line {style}" points="{path}" stroke-dasharray="{dash}"/>')
            if len(pixels) == 1:  # a line of one point would not be seen
                parts.append(f'<circle class="dot {style}" cx="{pixels[0][0]}" cy="{pixels[0][1]}" r="3"/>')
        finite = [b for _, b in line if b is not None and isfinite(b)]
        if finite and style != "more":
            entries.append((style, dash, f"{name} {_short(finite[-1])}"))
    if len(lines) > _MOST_LINES:
        entries.append(("more", "", f"the other {len(lines) - 1}"))
    legend, rows = _legend(entries)
    return _svg(title, _describe_lines(lines, x, y), _WIDTH, _HEIGHT + _LEGEND_ROW * rows, [*parts, *legend])


def _legend(entries: Sequence[tuple[str, str, str]]) -> tuple[list[str], int]:
    """Return the legend of (style, dash, text), in two columns where the texts are short, and how many lines it has."""
    widest = max((len(text) for _, _, text in entries), default=0) * _LETTER + _SAMPLE + 8
    columns = 2 if 2 * widest <= _WIDTH - _SIDE and len(entries) > 1 else 1
    room = int(((_WIDTH - _SIDE) / columns - _SAMPLE - 8) / _LETTER)
    texts = [_broken(text, room) for _, _, text in entries]
    lines = max(map(len, texts), default=1)
    parts = []
    for number, (style, dash, _) in enumerate(entries):
        left = _SIDE + number % columns * (_WIDTH - _SIDE) / columns
        middle = _HEIGHT + number // columns * lines * _LEGEND_ROW + _LEGEND_ROW / 2
        ends = f'x1="{left:.1f}" x2="{left + _SAMPLE:.1f}" y1="{middle:.1f}" y2="{middle:.1f}"'
        parts.append(f'<line class="line {style}" {ends} stroke-dasharray="{dash}"/>')
        for line, text in enumerate(texts[number]):
            parts.append(_text("row", left + _SAMPLE + 8, middle + 4 + line * _LEGEND_ROW, text, "start"))
    return parts, -(-len(entries) // columns) * lines


def spread_chart(title: str, rows: Mapping[str, Spread], x: Axis) -> str:
    """Return a chart of figures as SVG; empty where there is nothing to draw.

    A structure has a row: its name and mean with interval, and below them a dot for each case, the mean as a diamond,
    its interval as a bar.

    Args:
        title: Title of the chart.
        rows: {structure: its figures}.
        x: The axis of the figures.
    """
    values = [value for spread in rows.values() for value in spread.values]
    if not values:
        return ""
    digits = digits_for(figure for spread in rows.values() for figure in (spread.mean, spread.low, spread.high))
    shown = {name: with_interval(spread.mean, spread.low, spread.high, digits) for name, spread in rows.items()}
    room = int((_WIDTH - 2 * _SIDE) / _LETTER)
    names = {name: _broken(name, room) for name in rows}
    folded = any(len(names[name][-1]) + len(text) + 2 > room for name, text in shown.items())
    lines = max(map(len, names.values())) + folded
    row = _ROW + _ROW_TEXT * (lines - 1)
    height = _TOP + row * len(rows) + _BOTTOM
    scale = _scale(x, values, _SIDE + _END, _WIDTH - _SIDE - _END)
    parts = [_tick(scale, tick, _TOP, height - _BOTTOM) for tick in scale.ticks]
    parts.append(_text("axis", _WIDTH / 2, height - 6, x.label, "middle"))
    for number, (name, spread) in enumerate(rows.items()):
        top = _TOP + row * number
        middle = top + row - (_ROW - _ROW_TEXT) / 2
        for line, text in enumerate(names[name]):
            parts.append(_text("row", _SIDE, top + 13 + _ROW_TEXT * line, text, "start"))
        parts.append(_text("row", _WIDTH - _SIDE, top + 13 + _ROW_TEXT * (lines - 1), shown[name], "end"))
        for index, value in enumerate(spread.values):
            # Dots of equal cases are moved apart so that all are seen. A large prime scatters them over 13 heights in
            # an order that looks random but is the same each time.
            shift = ((index * 7919) % 13 - 6) * 1.3
            parts.append(f'<circle class="case s0" cx="{scale.at(value):.1f}" cy="{middle + shift:.1f}" r="2.4"/>')
        if spread.low is not None and spread.high is not None:
            low, high = scale.at(spread.low), scale.at(spread.high)
            parts.append(f'<line class="interval" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"/>')
        if spread.mean is not None:
            mean = scale.at(spread.mean)
            parts.append(f'<path class="mean" d="M{mean:.1f} {middle - 6}l5 6l-5 6l-5 -6z"/>')
    description = "; ".join(
        f"{name}: {counted(len(spread.values), 'case')}, mean {shown[name]}"
        for name, spread in rows.items()
        if spread.values
    )
    return _svg(title, description, _WIDTH, height, parts)


@dataclass(frozen=True)
class _Scale:
    """The way from figures to pixels along an axis.

    Attributes:
        low: The figure at the first pixel.
        high: The figure at the last pixel.
        first: The first pixel.
        last: The last pixel; before the first on an axis that goes up.
        ticks: The figures at the ticks.
        digits: Behind the point, of the figures at the ticks.
    """

    low: float
    high: float
    first: float
    last: float
    ticks: tuple[float, ...]
    digits: int

    def at(self, value: float) -> float:
        """Return the pixel of a value; values beyond an end are drawn at that end."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.first + share * (self.last - self.first)

    def written(self, tick: float) -> str:
        """Return the figure at a tick as text."""
        return f"{tick:.2g}" if self.digits > _MOST_DIGITS and tick else f"{tick:.{min(self.digits, _MOST_DIGITS)}f}"


def _scale(axis: Axis, values: Sequence[float], first: float, last: float) -> _Scale:
    """Return a scale with round ticks that covers the values and has the ends of its axis."""
    low = min(values) if axis.low is None else axis.low
    high = max(values) if axis.high is None else axis.high
    if high <= low:
        low, high = (high - 1, high) if axis.high is not None else (low - 0.5, low + 0.5)
    least_step = (high - low) / _TICKS
    power = 10.0 ** floor(log10(least_step))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= least_step)
    start = low if axis.low is not None else floor(low / step) * step
    end = high if axis.high is not None else ceil(high / step) * step
    count = floor((end - start) / step + 1e-9)  # rounding must not lose the last tick
    ticks = tuple(start + step * number for number in range(count + 1))
    return _Scale(start, end, first, last, ticks, next(n for n in range(20) if abs(round(step, n) - step) < step / 1e6))


def _grid(x_scale: _Scale, y_scale: _Scale, x_label: str, y_label: str) -> list[str]:
    """Return grid lines, figures at the ticks, and titles of both axes."""
    parts = []
    for tick in y_scale.ticks:
        y = y_scale.at(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text("tick", _LEFT - 6, y + 4, y_scale.written(tick), "end"))
    parts += [_tick(x_scale, tick, _HEIGHT - _BOTTOM, _HEIGHT - _BOTTOM) for tick in x_scale.ticks]
    parts.append(_text("axis", (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, x_label, "middle"))
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    upwards = f'transform="rotate(-90 12 {middle})"'
    parts.append(f'<text class="axis" x="12" y="{middle}" text-anchor="middle" {upwards}>{escape(y_label)}</text>')
    return parts


def _tick(scale: _Scale, tick: float, top: float, bottom: float) -> str:
    """Return a line from `top` down to `bottom`, none where these are equal, and the figure below it."""
    x = scale.at(tick)
    line = f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>' * (top < bottom)
    return line + _text("tick", x, bottom + 18, scale.written(tick), "middle")


def _pieces(line: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    """Return a line cut at the points that have no finite y."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for a, b in line:
        if b is None or not isfinite(b):
            pieces.append([])
        else:
            pieces[-1].append((a, b))
    return [piece for piece in pieces if piece]


def _describe_lines(lines: Mapping[str, Sequence[tuple[float, float | None]]], x: Axis, y: Axis) -> str:
    """Return the first and last figure of each line, for those who do not see the chart."""
    ends = []
    for name, line in lines.items():
        finite = [b for _, b in line if b is not None and isfinite(b)]
        if finite:
            ends.append(f"{name} from {_short(finite[0])} to {_short(finite[-1])}")
    return f"{y.label} over {x.label}: {'; '.join(ends)}"


def _short(value: float) -> str:
    """Return a figure with at most three digits behind the point and no zeros at the end."""
    return f"{value:.0e}" if 0 < abs(value) < 0.001 else f"{value:.3f}".rstrip("0").rstrip(".")


def _broken(text: str, letters: int) -> list[str]:
    """Return the lines of a text, each of at most a given number of letters; longer words are broken."""
    return textwrap.wrap(text, letters) or [""]


def _text(style: str, x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(title: str, description: str, width: int, height: int, parts: Sequence[str]) -> str:
    head = f'<svg class="chart" role="img" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">'
    return "".join([head, f"<title>{escape(title)}</title><desc>{escape(description)}</desc>", *parts, "</svg>"])
