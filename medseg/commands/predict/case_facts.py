"""Facts on the scans from a table of the user's, which stand beside the volumes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.core.case import CASE_COLUMNS, rows_by_case

_SHOWN = "patient"
"""The column of those with a meaning that is a fact; the others say how to read and train on a case."""


def case_facts(table: Path | None, ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the facts on each scan, in the order of the table's columns; {} without a table.

    Args:
        table: the CSV file.
        ids: the scans.

    Returns:
        {case: {column: text}}, of the scans that the table names.

    Raises:
        DataError: the file is no table, or names none of the scans.
    """
    if table is None:
        return {}
    rows = rows_by_case(table, ids, "scans")
    of_medseg = any("channels" in row for _, row in rows.values())  # there, weight is how often a case is drawn
    hidden = {*CASE_COLUMNS, "case"} - ({_SHOWN} if of_medseg else {_SHOWN, "weight"})
    return {
        id: {column: text for column, text in rows[id][1].items() if column not in hidden} for id in ids if id in rows
    }
