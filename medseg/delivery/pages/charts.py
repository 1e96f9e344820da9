"""Charts as inline SVG for a page: no script, colours from the page's style, a title and a description to be read out.

Sizes are in CSS pixels of a drawing that scales with its column. Lines are told apart by colour, by dashes and by a
label at their end, so that a chart also reads in grey.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, isfinite, log10

from medseg.core.wording import counted

_WIDTH, _HEIGHT = 560, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 160, 14, 46
_ROW, _LABEL, _FIGURES = 34, 140, 170
_TICKS = 5
_MOST_LINES = 8
_DASHES = ("", "6 3", "2 3", "8 3 2 3")
_LINE_GAP = 15


@dataclass(frozen=True)
class Axis:
    """What an axis shows, and the range it must at least cover; None leaves that end to the data."""

    label: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Spread:
    """The figures of one structure: one a case, their mean, and its interval where there is one."""

    values: Sequence[float]
    mean: float | None
    low: float | None = None
    high: float | None = None


def line_chart(title: str, lines: Mapping[str, Sequence[tuple[float, float | None]]], x: Axis, y: Axis) -> str:
    """Lines of (x, y) points by name; a point without y leaves a gap. Empty where nothing can be drawn.

    Beyond eight lines only the first (call it the mean) carries a label, and the others are drawn alike.
    """
    points = [(a, b) for line in lines.values() for a, b in line if b is not None and isfinite(b)]
    if not points:
        return ""
    across = _scale(x, [a for a, _ in points], _LEFT, _WIDTH - _RIGHT)
    up = _scale(y, [b for _, b in points], _HEIGHT - _BOTTOM, _TOP)
    parts = [*_grid(across, up, x.label, y.label)]
    ends: list[tuple[float, str, str]] = []
    for number, (name, line) in enumerate(lines.items()):
        style = "more" if len(lines) > _MOST_LINES and number else f"s{number % 7}"
        dash = _DASHES[(number // 7) % len(_DASHES)]
        for piece in _pieces(line):
            place = " ".join(f"{across.at(a):.1f},{up.at(b):.1f}" for a, b in piece)
            parts.append(f'<polyline class="line {style}" points="{place}" stroke-dasharray="{dash}"/>')
            if len(piece) == 1:
                parts.append(
                    f'<circle class="dot {style}" cx="{place.split(",")[0]}" cy="{place.split(",")[1]}" r="3"/>'
                )
        last = [b for _, b in line if b is not None and isfinite(b)]
        if last and style != "more":
            ends.append((up.at(last[-1]), style, f"{name} {_short(last[-1])}"))
    for height, style, text in _apart(ends):
        parts.append(f'<text class="end {style}" x="{_WIDTH - _RIGHT + 6}" y="{height + 4:.1f}">{escape(text)}</text>')
    return _svg(title, _describe_lines(lines, x, y), _WIDTH, _HEIGHT, parts)


def spread_chart(title: str, rows: Mapping[str, Spread], x: Axis) -> str:
    """One row a structure: a dot for each case, the mean as a diamond, its interval as a bar."""
    values = [value for spread in rows.values() for value in spread.values]
    if not values:
        return ""
    height = _TOP + _ROW * len(rows) + _BOTTOM
    across = _scale(x, values, _LABEL, _WIDTH - _FIGURES)
    parts = [_tick(across, tick, _TOP, height - _BOTTOM) for tick in across.ticks]
    parts.append(_text("axis", (_LABEL + _WIDTH - _FIGURES) / 2, height - 6, x.label, "middle"))
    for number, (name, spread) in enumerate(rows.items()):
        middle = _TOP + _ROW * (number + 0.5)
        parts.append(_text("row", _LABEL - 10, middle + 4, _cut(name, 17), "end"))
        for place, value in enumerate(spread.values):
            shift = ((place * 7919) % 13 - 6) * 1.3  # spread out so that equal cases are seen, the same each time
            parts.append(f'<circle class="case s0" cx="{across.at(value):.1f}" cy="{middle + shift:.1f}" r="2.4"/>')
        if spread.low is not None and spread.high is not None:
            low, high = across.at(spread.low), across.at(spread.high)
            parts.append(f'<line class="interval" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"/>')
        if spread.mean is not None:
            at = across.at(spread.mean)
            parts.append(f'<path class="mean" d="M{at:.1f} {middle - 6}l5 6l-5 6l-5 -6z"/>')
            parts.append(_text("row", _WIDTH - _FIGURES + 10, middle + 4, _interval(spread), "start"))
    description = "; ".join(
        f"{name}: {counted(len(spread.values), 'case')}, mean {_interval(spread)}"
        for name, spread in rows.items()
        if spread.values
    )
    return _svg(title, description, _WIDTH, height, parts)


@dataclass(frozen=True)
class _Scale:
    """Figures to pixels."""

    low: float
    high: float
    first: float
    last: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """The pixel of a value; values beyond an end stay on it."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.first + share * (self.last - self.first)


def _scale(axis: Axis, values: Sequence[float], first: float, last: float) -> _Scale:
    """Round ticks that cover the data, and the ends that the axis asks for."""
    low = min(values) if axis.low is None else axis.low
    high = max(values) if axis.high is None else axis.high
    if high <= low:
        low, high = (high - 1, high) if axis.high is not None else (low - 0.5, low + 0.5)
    rough = (high - low) / _TICKS
    size = 10.0 ** floor(log10(rough))
    step = next(factor * size for factor in (1, 2, 2.5, 5, 10) if factor * size >= rough)
    start = low if axis.low is not None else floor(low / step) * step
    end = high if axis.high is not None else ceil(high / step) * step
    count = floor((end - start) / step + 1e-9)
    return _Scale(start, end, first, last, tuple(start + step * number for number in range(count + 1)))


def _grid(across: _Scale, up: _Scale, x_label: str, y_label: str) -> list[str]:
    parts = []
    for tick in up.ticks:
        y = up.at(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text("tick", _LEFT - 6, y + 4, _short(tick), "end"))
    parts += [_tick(across, tick, _HEIGHT - _BOTTOM, _HEIGHT - _BOTTOM) for tick in across.ticks]
    parts.append(_text("axis", (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, x_label, "middle"))
    turned = f'transform="rotate(-90 12 {(_TOP + _HEIGHT - _BOTTOM) / 2})"'
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(f'<text class="axis" x="12" y="{middle}" text-anchor="middle" {turned}>{escape(y_label)}</text>')
    return parts


def _tick(across: _Scale, tick: float, top: float, bottom: float) -> str:
    """A line down from `top` (none where that is `bottom`) and its figure below."""
    x = across.at(tick)
    line = f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>' * (top < bottom)
    return line + _text("tick", x, bottom + 18, _short(tick), "middle")


def _pieces(line: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    """A line cut where a point has no y."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for a, b in line:
        if b is None or not isfinite(b):
            pieces.append([])
        else:
            pieces[-1].append((a, b))
    return [piece for piece in pieces if piece]


def _apart(ends: list[tuple[float, str, str]]) -> list[tuple[float, str, str]]:
    """Labels moved down where they would lie on one another, then up where they would leave the drawing."""
    placed: list[tuple[float, str, str]] = []
    for height, style, text in sorted(ends):
        free = placed[-1][0] + _LINE_GAP if placed else _TOP
        placed.append((max(height, free), style, text))
    over = max(0.0, placed[-1][0] - (_HEIGHT - _BOTTOM)) if placed else 0.0
    return [(height - over, style, text) for height, style, text in placed]


def _describe_lines(lines: Mapping[str, Sequence[tuple[float, float | None]]], x: Axis, y: Axis) -> str:
    ends = []
    for name, line in lines.items():
        defined = [b for _, b in line if b is not None and isfinite(b)]
        if defined:
            ends.append(f"{name} from {_short(defined[0])} to {_short(defined[-1])}")
    return f"{y.label} over {x.label}: {'; '.join(ends)}"


def _interval(spread: Spread) -> str:
    if spread.mean is None:
        return "not defined"
    if spread.low is None or spread.high is None:
        return _short(spread.mean)
    return f"{_short(spread.mean)} [{_short(spread.low)}, {_short(spread.high)}]"


def _short(value: float) -> str:
    """At most three digits behind the point, and none that say nothing."""
    return f"{value:.0e}" if 0 < abs(value) < 0.001 else f"{value:.3f}".rstrip("0").rstrip(".")


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"


def _text(style: str, x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(title: str, description: str, width: int, height: int, parts: Sequence[str]) -> str:
    head = f'<svg class="chart" role="img" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">'
    return "".join([head, f"<title>{escape(title)}</title><desc>{escape(description)}</desc>", *parts, "</svg>"])
