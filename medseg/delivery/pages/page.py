"""One self-contained HTML page: sections of facts, tables, notes and figures. No script, no network, no font to fetch.

What a page says is handed in as data; how it looks stands in `page.html.j2` alone. Everything is escaped but the SVG
that `charts` draws.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from medseg.core.files import write_text

_TEMPLATE = "page.html.j2"


@dataclass(frozen=True)
class Facts:
    """Terms and what is to be said of them."""

    rows: Sequence[tuple[str, str]]
    kind: Literal["facts"] = "facts"


@dataclass(frozen=True)
class Table:
    """Cells as text. The first column names its row, the others are figures unless their number is in `words`.

    Attributes:
        shade: per row and figure 0 to 1, how dark the cell's ground is; None for a plain table.
        folded: only the caption shows until a reader opens it.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Sequence[int] = ()
    shade: Sequence[Sequence[float]] | None = None
    folded: bool = False
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class Notes:
    """Sentences, one an item; `tone` says how much they matter."""

    items: Sequence[str]
    tone: Literal["plain", "warning", "error"] = "plain"
    kind: Literal["notes"] = "notes"


@dataclass(frozen=True)
class Chart:
    """An SVG of `charts` with its caption."""

    caption: str
    svg: str
    kind: Literal["chart"] = "chart"


@dataclass(frozen=True)
class Picture:
    """A PNG, with what it shows in words for those who do not see it."""

    caption: str
    alt: str
    png: bytes
    kind: Literal["picture"] = "picture"

    @property
    def source(self) -> str:
        """The picture as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


Block = Facts | Table | Notes | Chart | Picture


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it; `id` is what the list of contents jumps to."""

    id: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        title: also the browser's tab.
        lead: the one sentence to take away.
        figures: the few figures that matter most, as (figure, what it is).
        sections: in order; those without a block are left out.
        footer: closing lines, small.
    """

    title: str
    lead: str
    figures: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    footer: Sequence[str] = field(default_factory=tuple)


def render(page: Page) -> str:
    """The page as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("medseg", "delivery"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = [section for section in page.sections if any(not _empty(block) for block in section.blocks)]
    return environment.get_template(_TEMPLATE).render(page=page, sections=sections, empty=_empty)


def write_page(path: Path, page: Page) -> None:
    """Write the page atomically."""
    write_text(path, render(page))


def _empty(block: Block) -> bool:
    """Whether there is nothing in a block to show: such a block is left out rather than shown as an empty panel."""
    if isinstance(block, Facts | Table):
        return not block.rows
    if isinstance(block, Notes):
        return not block.items
    return not (block.svg if isinstance(block, Chart) else block.png)
