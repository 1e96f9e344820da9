"""Write tables as CSV, so that no spreadsheet program takes a cell for a formula, and undo that when reading.

Names of cases, patients and structures come from files, and a cell that begins with `=` is computed by a spreadsheet
program that opens the table (OWASP, "CSV Injection"). An apostrophe in front makes text of it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
"""Beginnings of formulas; and those with apostrophes before them, so that reading restores every text."""


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as CSV text, in which no cell is a formula.

    Args:
        header: names of the columns.
        rows: a value for each column; None is an empty cell.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in (header, *rows):
        writer.writerow([neutral_cell(value) if isinstance(value, str) else value for value in row])
    return text.getvalue()


def neutral_cell(text: str) -> str:
    """Return the text of a cell with an apostrophe before it if it would be a formula; numbers stay as they are.

    >>> neutral_cell("=1+1"), neutral_cell("-1.5"), neutral_cell("liver")
    ("'=1+1", '-1.5', 'liver')
    """
    return f"'{text}" if _FORMULA.match(text) and not _is_number(text) else text


def original_cell(text: str) -> str:
    """Return the text that `neutral_cell` made a cell of.

    >>> original_cell("'=1+1"), original_cell("'s")
    ('=1+1', "'s")
    """
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
