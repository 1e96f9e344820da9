"""One self-contained HTML page: sections of facts, tables, notes, pictures and figures. No network, no font to fetch.

What a page says is handed in as data; how it looks is in `page.html.j2` alone. Everything is escaped except the SVG
of `charts`. The only script that a browser may run is `page.js`, which sorts tables; the page names its hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.core.files import write_text
from medseg.delivery.pages.blocks import Block, is_empty

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATE, _SCRIPT = "page.html.j2", "page.js"


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
    """The content of a page.

    Attributes:
        title: Title of the page and of the browser's tab.
        lead: The one sentence to take away.
        figures: The few figures that matter most, as (figure, what it is).
        sections: Sections in their order; those with nothing to show are left out.
        footer: Lines in small print at the end.
        beside: Pages in the same folder, as (file, words of the link); they come last in the list of contents.
        refresh_seconds: The browser loads the page again after this time; None for a page that stays as it is.
    """

    title: str
    lead: str
    figures: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    footer: Sequence[str] = field(default_factory=tuple)
    beside: Sequence[tuple[str, str]] = ()
    refresh_seconds: int | None = None


def render(page: Page) -> str:
    """Return a page as HTML."""
    sections = [section for section in page.sections if any(not is_empty(block) for block in section.blocks)]
    script = _script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return _template().render(page=page, sections=sections, empty=is_empty, script=script, digest=digest)


@cache
def _script() -> str:
    return Path(__file__).parents[1].joinpath(_SCRIPT).read_text(encoding="utf-8")


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
