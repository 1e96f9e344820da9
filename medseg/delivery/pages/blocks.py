"""The blocks of a page as data: facts, tables, notes, charts, pictures and contact sheets."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal


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
    """A table of cells as text, whose first column names the row. Readers can sort one of several rows.

    Attributes:
        caption: What the table shows.
        head: Headings of the columns.
        rows: Cells of each row.
        words: Numbers of the columns, counted from 0, that hold words; others after the first hold figures.
        shade: For each row and figure, how dark the ground of its cell is, from 0 to 1; None for a plain table.
        folded: Only the caption shows until a reader opens the table.
        foot: Cells of a last row that stays below the others, such as a mean; empty for none.
        links: {number of a row, counted from 0: where the name of the row leads}.
        kind: Which block this is, for the template.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Sequence[int] = ()
    shade: Sequence[Sequence[float]] | None = None
    folded: bool = False
    foot: Sequence[str] = ()
    links: Mapping[int, str] = field(default_factory=dict)
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
        link: Where the case can be looked at, relative to the page; empty where it cannot.
        wide: On a narrow screen it is moved sideways rather than made so small that its letters cannot be read.
        kind: Which block this is, for the template.
    """

    caption: str
    alt: str
    png: bytes
    link: str = ""
    wide: bool = False
    kind: Literal["picture"] = "picture"

    @property
    def source(self) -> str:
        """The picture as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True)
class Entry:
    """A line of the legend of a card.

    Attributes:
        name: What has the colour.
        figure: Its volume or the like, as text.
        colour: Red, green, blue in 8 bits.
    """

    name: str
    figure: str
    colour: tuple[int, int, int]


@dataclass(frozen=True)
class Card:
    """A case on a contact sheet.

    Attributes:
        title: Name of the case.
        slices: Its pictures.
        legend: Its structures.
        more: Further structures, which a reader can unfold.
        notes: Reasons to doubt it.
        missing: Why something is not shown, in a sentence; empty where all is.
        link: Where it can be looked at, relative to the page; empty where it cannot.
    """

    title: str
    slices: Sequence[Picture]
    legend: Sequence[Entry]
    more: Sequence[Entry] = ()
    notes: Sequence[str] = ()
    missing: str = ""
    link: str = ""


@dataclass(frozen=True)
class Sheet:
    """A contact sheet.

    Attributes:
        caption: What it shows.
        cards: A card for each case.
        kind: Which block this is, for the template.
    """

    caption: str
    cards: Sequence[Card]
    kind: Literal["sheet"] = "sheet"


Block = Facts | Table | Notes | Chart | Picture | Sheet


def is_empty(block: Block) -> bool:
    """Return whether a block has nothing to show: it is left out rather than shown as an empty panel."""
    if isinstance(block, Facts | Table):
        return not block.rows
    if isinstance(block, Notes):
        return not block.items
    if isinstance(block, Sheet):
        return not block.cards
    return not (block.svg if isinstance(block, Chart) else block.png)
