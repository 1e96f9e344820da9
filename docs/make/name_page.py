"""The names that a plan and files may have, with a line on each, made of medseg's tables: a new row needs no page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from medseg.evaluation.score import MEASURES
from medseg.io.formats.table import FORMATS
from medseg.networks.table import NETWORKS
from medseg.preprocessing.normalize import NORMALIZATIONS
from medseg.training.losses.table import LOSSES

Rows = dict[str, str]
"""Name -> what it is."""


def tables() -> dict[str, Rows]:
    """Return the rows of each table under the heading that they have on the page."""
    return {
        "Networks": {name: f"{_images(row.dimensions)}; {row.paper}" for name, row in NETWORKS.items()},
        "Losses": {name: _first_line(loss) for name, loss in LOSSES.items()},
        "Normalizations": {name: _first_line(scheme) for name, scheme in NORMALIZATIONS.items()},
        "Measures": {name: f"{measure.title}: {measure.definition}" for name, measure in MEASURES.items()},
        "File formats": {suffix: _ways(row.write is not None) for suffix, row in FORMATS.items()},
    }


def pages() -> dict[str, str]:
    """Return the page by its path on the site."""
    lines = [
        "# Names",
        "",
        "Every name that this version knows. Pages on a subject say when to use which.",
        "",
    ]
    for heading, rows in tables().items():
        lines += [f"## {heading}", "", "| name | |", "|---|---|", *_lines(rows.items()), ""]
    return {"plan-keys/names.md": "\n".join(lines)}


def _lines(rows: Iterable[tuple[str, str]]) -> list[str]:
    return [f"| `{name}` | {text.replace('|', chr(92) + '|')} |" for name, text in rows]


def _images(dimensions: tuple[int, ...]) -> str:
    return " and ".join(f"{number}D" for number in dimensions)


def _first_line(row: Callable[..., Any]) -> str:
    """Return the first line of what makes a row; for a class of MONAI its name."""
    if isinstance(row, partial):
        return f"MONAI's `{row.args[0]}`."
    return (row.__doc__ or "").strip().split("\n")[0]


def _ways(written: bool) -> str:
    return "read and written" if written else "read"
