"""One self-contained HTML page: sections of facts, tables, notes and figures. No script, no network, no font to fetch.

What a page says is handed in as data; how it looks is in `page.html.j2` alone. Everything is escaped except the SVG
of `charts`.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medseg.core.files import write_text

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATE = "page.html.j2"


@dataclass(frozen=True)
class Facts:
    """A list of terms with their descriptions.

    Attributes:
        rows: (term, description).
        kind: Which block this is, for the template.
    """

    rows: Sequence[tuple[str, str]]
    kind: Literal["facts"] = "facts"


@dataclass(frozen=True)
class Table:
    """A table of cells as text, whose first column names the row.

    Attributes:
        caption: What the table shows.
        head: Headings of the columns.
        rows: Cells of each row.
        words: Numbers of the columns, counted from 0, that hold words; others after the first hold figures.
        shade: For each row and figure, how dark the ground of its cell is, from 0 to 1; None for a plain table.
        folded: Only the caption shows until a reader opens the table.
        kind: Which block this is, for the template.
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
    """A list of sentences.

    Attributes:
        items: The sentences.
        tone: How much they matter.
        kind: Which block this is, for the template.
    """

    items: Sequence[str]
    tone: Literal["plain", "warning", "error"] = "plain"
    kind: Literal["notes"] = "notes"


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        caption: What it shows.
        svg: The SVG, from `charts`; it is not escaped.
        kind: Which block this is, for the template.
    """

    caption: str
    svg: str
    kind: Literal["chart"] = "chart"


@dataclass(frozen=True)
class Picture:
    """A picture.

    Attributes:
        caption: What stands below it.
        alt: What it shows, for those who do not see it.
        png: The picture as PNG.
        kind: Which block this is, for the template.
    """

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
    """A section of a page.

    Attributes:
        id: Anchor to which the list of contents links.
        title: Heading.
        blocks: What stands below the heading.
    """

    id: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        title: Title of the page and of the browser's tab.
        lead: The one sentence to take away.
        figures: The few figures that matter most, as (figure, what it is).
        sections: Sections in their order; those with nothing to show are left out.
        footer: Lines in small print at the end.
        refresh_seconds: The browser loads the page again after this time; None for a page that stays as it is.
    """

    title: str
    lead: str
    figures: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    footer: Sequence[str] = field(default_factory=tuple)
    refresh_seconds: int | None = None


def render(page: Page) -> str:
    """Return a page as HTML."""
    sections = [section for section in page.sections if any(not _empty(block) for block in section.blocks)]
    return _template().render(page=page, sections=sections, empty=_empty)


@cache
def _template() -> Template:
    """Return the template of all pages, compiled once: the page of a run in training is written again and again."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("medseg", "delivery"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(_TEMPLATE)


def write_page(path: Path, page: Page) -> None:
    """Write a page as HTML; the file is replaced in one step."""
    write_text(path, render(page))


def _empty(block: Block) -> bool:
    """Return whether a block has nothing to show: it is left out rather than shown as an empty panel."""
    if isinstance(block, Facts | Table):
        return not block.rows
    if isinstance(block, Notes):
        return not block.items
    return not (block.svg if isinstance(block, Chart) else block.png)
