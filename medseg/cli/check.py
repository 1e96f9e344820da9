"""`medseg check`."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.output.display import console, progress_display, show_notes
from medseg.cli.output.next_command import show_next, words_for
from medseg.cli.output.records import emit, record_result
from medseg.commands.data.options import CheckOptions
from medseg.core.machine.starting import starting
from medseg.core.options import OFTEN, Option
from medseg.core.wording import counted

if TYPE_CHECKING:
    from rich.table import Table

    from medseg.commands.data.check import CheckResult
    from medseg.planning.findings import Finding

_MOST_OF_A_KIND, _MOST_REMEDIES = 10, 3


def command(
    *,
    data: Annotated[Path, Option(metavar="DATASET")],
    strict: Annotated[bool, OFTEN] = False,
    options: CheckOptions,
    workspace: Path = Path("."),
) -> None:
    """Read every case and name what is wrong, or looks wrong, with the file and what to do about it.

    Errors leave a case out of a plan, warnings keep it. Writes check.json, and check.html with pictures of the
    suspected cases.

    Exit code: 0 no errors, 1 some cases are left out, 2 nothing can be used.

    Args:
        data: Folder of the data set, as it is.
        strict: End with exit code 1 also where there are only warnings.
        options: How to check it.
        workspace: Folder with plans/, runs/, cache/ and checks/.

    Examples:
        medseg check dataset/
        medseg check dataset/ --strict && medseg plan dataset/
    """
    with starting():
        from medseg.commands.data.check import check

    with progress_display() as show:
        result = check(data, workspace, options, show)
    for finding in result.findings:
        emit(
            "finding",
            severity=finding.severity,
            finding=finding.kind,
            case=finding.case,
            message=finding.message,
            remedy=finding.remedy,
        )
    record_result(
        cases=len(result.cases),
        usable=result.usable,
        left_out=result.left_out,
        files=[result.json_path, result.page_path],
    )
    if result.errors:
        console.print(_table(f"{counted(len(result.errors), 'error')}: what is left out", result.errors))
    if result.warnings:
        console.print(_table(counted(len(result.warnings), "warning"), result.warnings))
    show_notes(result.notes, len(result.cases))
    console.print(_summary(result), markup=False)
    console.print(f"Wrote {result.page_path} and {result.json_path.name}", markup=False)
    if result.usable:
        show_next("plan", *words_for("check", "plan"))
    raise typer.Exit(exit_code(result, strict))


def exit_code(result: CheckResult, strict: bool) -> int:
    """Return the exit code: 0 no errors; 1 errors, or with `strict` warnings; 2 no case can be used."""
    if not result.usable:
        return 2
    return int(bool(result.errors or (strict and result.warnings)))


def _summary(result: CheckResult) -> str:
    cases = counted(len(result.cases), "case")
    if not result.findings:
        return f"{cases}, nothing wrong was found"
    return f"{cases}: {result.usable} can be used, {len(result.left_out)} left out"


def _table(title: str, findings: list[Finding]) -> Table:
    """Return a table with a heading for each kind of finding and a row for each of the first findings of a kind."""
    from rich.markup import escape
    from rich.table import Table

    from medseg.planning.findings import KINDS

    table = Table(title=title, title_justify="left", show_lines=False, pad_edge=False)
    table.add_column("case", overflow="fold", max_width=28)
    table.add_column("finding, and what to do", overflow="fold")
    for kind, group in groupby(findings, key=lambda finding: finding.kind):
        of_kind = list(group)
        table.add_section()
        table.add_row(f"[bold]{len(of_kind)} x[/]", f"[bold]{escape(KINDS[kind])}[/]")
        for finding in of_kind[:_MOST_OF_A_KIND]:
            table.add_row(escape(finding.case or "all"), escape(finding.message))
        if len(of_kind) > _MOST_OF_A_KIND:
            table.add_row("...", f"and {len(of_kind) - _MOST_OF_A_KIND} more, see check.html")
        remedies = dict.fromkeys(finding.remedy for finding in of_kind[:_MOST_OF_A_KIND])
        for remedy in list(remedies)[:_MOST_REMEDIES]:
            table.add_row("", f"[cyan]{escape(remedy)}[/]")
    return table
