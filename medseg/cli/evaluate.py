"""`medseg evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.display import console, progress_display, report_failures


def command(
    prediction: Annotated[Path, typer.Argument(help="Folder of answers, or one label file.", metavar="OUT")],
    reference: Annotated[Path, typer.Argument(help="Folder of reference labels, or one file.", metavar="REFERENCE")],
    output: Annotated[
        Path | None, typer.Option(help="Where metrics.csv, metrics.json and the picture go; OUT unless given.")
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="References without a prediction are counted, not an error.")
    ] = False,
) -> None:
    """Score answers against reference labels: Dice and IoU per structure, volumes, counts.

    [bold]Examples[/]

    medseg evaluate out/ labels/

    medseg evaluate out/case1.nii.gz labels/case1.nii.gz --output scores/
    """
    from medseg.cli.tables import headline, left_out, table
    from medseg.commands.evaluate import evaluate

    with progress_display() as show:
        result = evaluate(prediction, reference, output=output, callback=show, allow_missing=allow_missing)
    console.print(table(result.summary))
    console.print(headline(result.summary))
    console.print(f"structures: {result.labels_from}", markup=False)
    for line in left_out(result.summary):
        console.print(line, markup=False)
    for path in result.files:
        console.print(f"  {path}", markup=False, soft_wrap=True)
    report_failures(result.summary.failed, "cases failed")
    scored = result.summary.cases
    raise typer.Exit(2 if not scored else 1 if result.summary.failed else 0)
