"""What a table of the user's says of the cases that are scored: patient, annotated structures, attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medseg.core.case import Case, parse_row, rows_by_case, unmatched_rows
from medseg.evaluation.label_files import Pair


def with_table(cases: list[Case], path: Path) -> list[Case]:
    """Return the cases with patient, annotated structures and attributes from a table; rows of other cases are unused.

    Args:
        cases: those that are scored.
        path: the table.

    Raises:
        DataError: as `rows_by_case`.
    """
    of_cases = rows_by_case(path, [case.id for case in cases], "label files")
    rows = {
        id: parse_row({**row, "id": id, "channels": "-"}, path, line, Path()) for id, (line, row) in of_cases.items()
    }
    return [_with_row(case, rows[case.id]) if case.id in rows else case for case in cases]


def table_notes(pairs: Sequence[Pair], table: Path | None) -> list[str]:
    """Return a note on the cases that the table has no row for: patient and attributes are not known of these.

    Args:
        pairs: of the cases that are scored.
        table: the table; None for none.
    """
    if table is None:
        return []
    ids = [pair.case for pair in pairs]
    return unmatched_rows(Path(table), [*rows_by_case(Path(table), ids, "label files")], ids, "case")


def _with_row(case: Case, row: Case) -> Case:
    return replace(
        case,
        patient=row.patient if row.patient != case.id else case.patient,  # a row without one repeats the id
        annotated=row.annotated or case.annotated,
        attributes={**case.attributes, **row.attributes},
    )
