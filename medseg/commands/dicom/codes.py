"""`medseg codes`: the built-in table of DICOM codes, to read, and to copy into a table of one's own."""

from __future__ import annotations

import re
from pathlib import Path

from medseg.core.csv_text import csv_text
from medseg.core.errors import DataError, PlanError
from medseg.core.files import check_folder, write_text
from medseg.delivery.dicom.codes import COLUMNS, Entry, nearest, table_entries
from medseg.plans.terminology import Coding


def find_codes(name: str | None = None) -> list[Entry]:
    """Return the rows of the built-in table, or those of which a name holds all words of a text.

    Args:
        name: the text; None for all rows.

    Raises:
        PlanError: there is no such row.
    """
    if name is None:
        return [*table_entries()]
    words = {*re.findall(r"[a-z0-9]+", name.lower())} - {"left", "right"}
    found = [entry for entry in table_entries() if words and any(words <= {*other.split()} for other in entry.names)]
    if not found:
        similar = nearest(name)
        meant = f"Did you mean {', '.join(similar)}? " if similar else ""
        raise PlanError(
            f"The table of codes has no structure that is called {name}.",
            f"{meant}`medseg codes` lists all; a CSV file can give codes of your own: --codes FILE.csv.",
        )
    return found


def write_codes(path: Path, entries: list[Entry]) -> int:
    """Write rows of the table as `--codes FILE.csv` reads them; what is one of a pair also with each side.

    Args:
        path: the CSV file.
        entries: the rows.

    Returns:
        How many lines were written.

    Raises:
        DataError: there is such a file.
    """
    check_folder(path.parent)
    if path.exists():  # perhaps with rows of the user's own
        raise DataError(f"{path} is there already.", "Name another file, or move this one away.")
    codings = {name: coding for entry in entries for name, coding in entry.sided().items()}
    rows = [[name, *_cells(coding)] for name, coding in codings.items()]
    write_text(path, csv_text(["structure", *COLUMNS], rows))
    return len(rows)


def _cells(coding: Coding) -> list[str]:
    """Return codes as the columns `COLUMNS` have them."""
    values = [getattr(coding, column) for column in COLUMNS]
    return ["|".join(value) if isinstance(value, tuple) else value or "" for value in values]
