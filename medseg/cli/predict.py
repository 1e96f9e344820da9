"""`medseg predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.display import console, progress_display, report_failures

if TYPE_CHECKING:
    from rich.table import Table

    from medseg.commands.predict import PredictResult

_MOST_ROWS = 40


def command(
    source: Annotated[Path, typer.Argument(help="A scan, or a folder of scans.", metavar="SCANS")],
    output: Annotated[Path, typer.Argument(help="Folder for the answers.", metavar="OUT")],
    model: Annotated[str | None, typer.Option(help="Model folder, or PLAN/CONFIG, if several are trained.")] = None,
    config: Annotated[str | None, typer.Option(help="Configuration: 2d, 3d_fullres, ...")] = None,
    folds: Annotated[
        str | None, typer.Option(help="Folds to average, such as 0,1,2; all trained unless given.")
    ] = None,
    mirror: Annotated[
        bool | None,
        typer.Option("--mirror/--no-mirror", help="Average over mirrored copies; the plan's choice unless given."),
    ] = None,
    channels: Annotated[
        str | None, typer.Option(help="One file pattern a channel: '*_flair.nii.gz,*_t1.nii.gz'; * is the case.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE for the plan; repeatable.")] = None,
    device: Annotated[str, typer.Option(help="auto, cuda, cuda:1, mps or cpu.")] = "auto",
    workspace: Annotated[Path, typer.Option(help="Folder with plans/, runs/ and cache/.")] = Path("."),
) -> None:
    """Segment scans: labels on each scan's own grid, in its format, with a table of volumes.

    [bold]Examples[/]

    medseg predict scans/ out/

    medseg predict scan.nii.gz out/ --no-mirror

    medseg predict scans/ out/ --channels '*_flair.nii.gz,*_t1ce.nii.gz' --folds 0,1
    """
    from medseg.commands.predict import PredictOptions, predict

    options = PredictOptions(
        configuration=config,
        folds=list(dict.fromkeys(fold.strip() for fold in folds.split(","))) if folds else None,
        mirror=mirror,
        channels=channels.split(",") if channels else None,
        device=device,
        overrides=set_ or [],
    )
    with progress_display() as show:
        result = predict(source, output, model, workspace, options, show)
    console.print(_volumes(result))
    console.print(
        f"{len(result.files)} answers in {output}; volumes.csv has the volumes, labels.json the names", markup=False
    )
    report_failures(result.failed, "cases failed")
    raise typer.Exit(2 if not result.files else 1 if result.failed else 0)


def _volumes(result: PredictResult) -> Table:
    """Volume of each structure in each case, the first cases of many."""
    from rich.markup import escape
    from rich.table import Table

    names = next(iter(result.volumes.values()), {})
    units = ", ".join(sorted(set(result.units.values())))
    table = Table("case", title=f"volumes ({units})", title_justify="left")
    for name in names:
        table.add_column(escape(name), justify="right")
    for case, volumes in list(result.volumes.items())[:_MOST_ROWS]:
        table.add_row(escape(case), *(f"{volume:.4g}" for volume in volumes.values()))
    if len(result.volumes) > _MOST_ROWS:
        table.add_row(f"... and {len(result.volumes) - _MOST_ROWS} more", *("" for _ in names))
    return table
