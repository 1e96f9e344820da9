"""`medseg check`."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.display import console, progress_display, show_note
from medseg.cli.records import emit, record_result
from medseg.commands.data.options import CheckOptions
from medseg.core.options import Option
from medseg.core.wording import counted

if TYPE_CHECKING:
    from rich.table import Table

    from medseg.commands.data.check import CheckResult
    from medseg.planning.findings import Finding

_MOST_OF_A_KIND, _MOST_REMEDIES = 10, 3


def command(
    *,
    data: Annotated[Path, Option(metavar="DATASET")],
    strict: bool = False,
    options: CheckOptions,
    workspace: Path = Path("."),
) -> None:
    """Read every case and name what is wrong, or looks wrong, with the file and what to do about it.

    Errors leave a case out of a plan, warnings keep it. Writes check.json, and check.html with pictures of the
    suspected cases.

    Exit code: 0 no errors, 1 some cases are left out, 2 nothing can be used.

    Args:
        data: Folder of the data set, as it lies.
        strict: End with exit code 1 also where there are only warnings.
        options: How to check it.
        workspace: Folder with plans/, runs/, cache/ and checks/.

    Examples:
        medseg check dataset/
        medseg check dataset/ --strict && medseg plan dataset/
    """
    from medseg.commands.data.check import check

    with progress_display() as show:
        result = check(data, workspace, options, show)
    for one in result.findings:
        emit("finding", severity=one.severity, finding=one.kind, case=one.case, message=one.message, remedy=one.remedy)
    record_result(
        cases=len(result.cases),
        usable=result.usable,
        left_out=result.left_out,
        files=[result.json_path, result.page_path],
    )
    for what, rest, findings in (("error", ": what is left out", result.errors), ("warning", "", result.warnings)):
        if findings:
            console.print(_table(f"{counted(len(findings), what)}{rest}", findings))
    for note in result.notes:
        show_note(note)
    console.print(_summary(result), markup=False)
    console.print(f"Wrote {result.page_path} and {result.json_path.name}", markup=False)
    raise typer.Exit(exit_code(result, strict))


def exit_code(result: CheckResult, strict: bool) -> int:
    """0: no errors; 1: some, or with `strict` warnings; 2: no case can be used."""
    if not result.usable:
        return 2
    return int(bool(result.errors or (strict and result.warnings)))


def _summary(result: CheckResult) -> str:
    cases = counted(len(result.cases), "case")
    if not result.findings:
        return f"{cases}, nothing wrong was found"
    return f"{cases}: {result.usable} can be used, {len(result.left_out)} left out"


def _table(title: str, findings: list[Finding]) -> Table:
    """A row a finding under a heading for each kind, the first few of each."""
    from rich.markup import escape
    from rich.table import Table

    from medseg.planning.findings import KINDS

    drawn = Table(title=title, title_justify="left", show_lines=False, pad_edge=False)
    drawn.add_column("case", overflow="fold", max_width=28)
    drawn.add_column("finding, and what to do", overflow="fold")
    for kind, group in groupby(findings, key=lambda one: one.kind):
        ones = list(group)
        drawn.add_section()
        drawn.add_row(f"[bold]{len(ones)} x[/]", f"[bold]{escape(KINDS[kind])}[/]")
        for one in ones[:_MOST_OF_A_KIND]:
            drawn.add_row(escape(one.case or "all"), escape(one.message))
        if len(ones) > _MOST_OF_A_KIND:
            drawn.add_row("...", f"and {len(ones) - _MOST_OF_A_KIND} more, see check.html")
        remedies = [*dict.fromkeys(one.remedy for one in ones[:_MOST_OF_A_KIND])]
        for remedy in remedies[:_MOST_REMEDIES]:
            drawn.add_row("", f"[cyan]{escape(remedy)}[/]")
    return drawn
