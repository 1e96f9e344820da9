"""Recognize pages that medseg wrote; those of others are neither deleted nor replaced."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

_GENERATOR, _HEAD_BYTES = b'<meta name="generator" content="medseg">', 1024
"""What every page says of its origin, and in how many bytes at its beginning."""


def page_link(path: str) -> str:
    r"""Return a path as a link of a page has it; names that are no text (other encodings) keep their bytes.

    >>> page_link("view/a b.html"), page_link("caf\udce9.html")
    ('view/a%20b.html', 'caf%E9.html')
    """
    return quote(path, errors="surrogateescape")


def is_own_page(path: Path) -> bool:
    """Return whether an HTML file is a page that medseg wrote, which says so in its head."""
    try:
        with path.open("rb") as stream:
            return _GENERATOR in stream.read(_HEAD_BYTES)
    except OSError:
        return False


def remove_own_page(path: Path) -> None:
    """Delete a page that medseg wrote; one of someone else stays."""
    if is_own_page(path):
        path.unlink()


def why_kept(path: Path) -> str:
    """Return a note that a page is not written, as a file of someone else has its name; empty where there is none.

    Args:
        path: the page.

    Returns:
        A sentence; empty if nothing is in the way of the page.
    """
    if not path.exists() or is_own_page(path):
        return ""
    return f"{path.name} in the folder of the answers is none of medseg's pages: it stays, and the page is not written"
