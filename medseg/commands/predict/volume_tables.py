"""The volumes of a prediction as tables: a row for each structure, a row for each case, and a workbook."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.core.case import headings
from medseg.core.csv_text import csv_text
from medseg.core.errors import PlanError
from medseg.core.files import atomic, write_text
from medseg.core.installing import pip_install
from medseg.delivery.provenance.folder_files import VOLUME_TABLES, VOLUMES, VOLUMES_WIDE, WORKBOOK

if TYPE_CHECKING:
    from medseg.commands.predict.result import PredictResult

_FIGURES = ["low", "high", "dice", "dice_low", "dice_high"]
_NUMBER = re.compile(r"(?:(?!(?:[^0-9]*[0-9]){16})-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?)?")  # a workbook holds 15 digits
JUDGED = [*_FIGURES, "flags"]
"""Columns of volumes.csv where answers are judged."""
_WIDEST = 48
"""Characters of a column of the workbook."""


def check_workbook(wanted: bool) -> None:
    """Refuse a workbook where the package that writes it is missing: now, and not after hours.

    Args:
        wanted: whether one is asked for.

    Raises:
        PlanError: XlsxWriter is not installed.
    """
    if not wanted:
        return
    try:
        import xlsxwriter  # noqa: F401
    except ImportError:
        raise PlanError(
            "--xlsx needs the package XlsxWriter, which is not installed.",
            f"{pip_install('xlsx')} installs it; {VOLUMES_WIDE} has the same without it.",
        ) from None


def write_volume_tables(output: Path, result: PredictResult, workbook: bool) -> str | None:
    """Write volumes.csv and volumes_wide.csv, and the workbook if it is asked for; an earlier one never stays.

    Args:
        output: folder of the answers.
        result: the prediction.
        workbook: whether to write volumes.xlsx, too.

    Returns:
        Why there is no workbook although one is asked for, in a sentence; else None.
    """
    write_text(output / VOLUMES, csv_text(*long_table(result)))
    write_text(output / VOLUMES_WIDE, csv_text(*wide_table(result)))
    try:
        (output / WORKBOOK).unlink(missing_ok=True)
        if workbook:
            _write_workbook(output / WORKBOOK, result)
    except Exception as error:  # whatever a library raises of a copy of these tables must not cost the answers
        return f"{WORKBOOK} was not written ({error}); {VOLUMES_WIDE} and {VOLUMES} say the same"
    return None


def remove_volume_tables(output: Path) -> None:
    """Delete the tables of an earlier prediction, so that a run that is killed leaves none of its volumes."""
    for name in VOLUME_TABLES:
        (output / name).unlink(missing_ok=True)


def long_table(result: PredictResult) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows of volumes.csv: case, structure, volume, unit, and what to doubt.

    Where answers are judged, also the interval of the volume, predicted Dice with its interval, and flags.

    Args:
        result: the prediction.
    """
    rows = [
        [case, name, f"{volume:.6g}", result.units[case], _warnings(result, case)]
        + (_judged(result, case, name) if result.quality else [])
        for case, volumes in result.volumes.items()
        for name, volume in volumes.items()
    ]
    return ["case", "structure", "volume", "unit", "warning", *(JUDGED if result.quality else [])], rows


def wide_table(result: PredictResult) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows of volumes_wide.csv: case, unit, a volume for each structure, and what to doubt.

    A scan without an answer has a row as well, without figures, so that no patient is missing from the sheet unnoticed.

    Args:
        result: the prediction.
    """
    structures = list(dict.fromkeys(name for volumes in result.volumes.values() for name in volumes))
    rows = [
        [
            *(case, result.units[case]),
            *(f"{volumes[name]:.6g}" if name in volumes else "" for name in structures),
            _warnings(result, case),
            *([_flags(result, case)] if result.quality else []),
        ]
        for case, volumes in result.volumes.items()
    ]
    rows += [
        [case, "", *("" for _ in structures), f"failed: {' '.join(problem.split())}", *([""] if result.quality else [])]
        for case, problem in result.failed.items()
    ]
    columns = ["case", "unit", *structures, "warning", *(["flags"] if result.quality else [])]
    facts = fact_columns(result, columns)
    rows = [[*row, *(result.facts.get(row[0], {}).get(name, "") for name in facts)] for row in rows]
    return [*columns, *facts.values()], rows


def fact_columns(result: PredictResult, taken: Sequence[str] = ()) -> dict[str, str]:
    """Return {column of the user's table: its heading}; one that is taken gets the word `table` in front.

    Args:
        result: the prediction.
        taken: headings of other columns.
    """
    names = dict.fromkeys(name for of_case in result.facts.values() for name in of_case)
    return headings(names, taken)


def _warnings(result: PredictResult, case: str) -> str:
    return " ".join(result.warnings.get(case, ()))


def _flags(result: PredictResult, case: str) -> str:
    """Return the quality flags of a case, each once."""
    assessment = result.quality.get(case)
    return "" if assessment is None else " ".join(dict.fromkeys(flag.kind for flag in assessment.flags))


def _judged(result: PredictResult, case: str, name: str) -> list[str]:
    """Return the cells of a structure in the columns `JUDGED`."""
    assessment = result.quality.get(case)
    if assessment is None or name not in assessment.structures:
        return [""] * len(JUDGED)
    expected = assessment.structures[name]
    figures = (expected.volume_low, expected.volume_high, expected.dice, expected.dice_low, expected.dice_high)
    flags = [flag.kind for flag in assessment.flags if not flag.structures or name in flag.structures]
    return ["" if figure is None else f"{figure:.4g}" for figure in figures] + [" ".join(flags)]


def _write_workbook(path: Path, result: PredictResult) -> None:
    """Write a sheet with a row for each case, units beside names, and one with a row for each structure.

    Rows with a warning or a flag are coloured. Text is written as text, so that none is taken for a formula.
    """
    from datetime import datetime

    import xlsxwriter

    columns, rows = wide_table(result)
    units = sorted({*result.units.values()})
    after = 1 + bool(result.quality)  # columns of doubts
    figures = range(2, len(columns) - after - len(fact_columns(result)))
    if len(units) == 1:  # beside the names, where a column of its own would repeat it in every row
        columns = [columns[0], *(f"{columns[n]} ({units[0]})" for n in figures), *columns[figures.stop :]]
        rows = [[row[0], *row[2:]] for row in rows]
        figures = range(1, figures.stop - 1)
    structures, structure_rows = long_table(result)
    numbers = [number for number, column in enumerate(structures) if column in ("volume", *_FIGURES)]
    doubts = [number for number, column in enumerate(structures) if column in ("warning", "flags")]
    with atomic(path) as temporary:
        settings = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
        with xlsxwriter.Workbook(str(temporary), settings) as workbook:
            # a fixed date: the same command writes the same file
            workbook.set_properties({"title": "Volumes", "created": datetime(1980, 1, 1)})
            doubtful = range(figures.stop, figures.stop + after)
            numeric = [*figures, *_numeric(rows, range(doubtful.stop, len(columns)))]
            _sheet(workbook, "cases", columns, rows, numeric, doubtful)
            _sheet(workbook, "structures", structures, structure_rows, numbers, doubts)


def _numeric(rows: Sequence[Sequence[str]], columns: Iterable[int]) -> list[int]:
    """Return the columns of which every cell is a number or empty; `007` is a name, which a number would cut short."""
    return [number for number in columns if all(_NUMBER.fullmatch(row[number]) for row in rows)]


def _sheet(
    workbook: Any,
    name: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Collection[int],
    doubts: Collection[int],
) -> None:
    """Write a table into a sheet of its own, with a heading that stays and a filter on each column.

    Args:
        workbook: the workbook to write into.
        name: of the sheet.
        columns: headings.
        rows: cells.
        numbers: which columns hold numbers; all others are text, also where a name looks like a number.
        doubts: which columns colour a row if they say anything.
    """
    sheet = workbook.add_worksheet(name)
    heading = workbook.add_format({"bold": True, "bottom": 1})
    doubtful = workbook.add_format({"bg_color": "#FFE8B3"})
    for number, column in enumerate(columns):
        sheet.write_string(0, number, column, heading)
        longest = max([len(column), *(len(row[number]) for row in rows)])
        sheet.set_column(number, number, min(longest + 2, _WIDEST))
    for line, row in enumerate(rows, start=1):
        style = doubtful if any(row[number] for number in doubts) else None
        for number, cell in enumerate(row):
            if number in numbers and cell and math.isfinite(float(cell)):  # a workbook has no other numbers
                sheet.write_number(line, number, float(cell), style)
            else:
                sheet.write_string(line, number, cell, style)
    sheet.freeze_panes(1, 1)
    sheet.autofilter(0, 0, max(len(rows), 1), len(columns) - 1)
