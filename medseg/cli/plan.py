"""`medseg plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from medseg.cli.display import console, progress_display, report_failures


def command(
    data: Annotated[Path, typer.Argument(help="Folder of the data set, as it lies.", metavar="DATASET")],
    name: Annotated[Optional[str], typer.Option(help="Name of the plan; the folder's name unless given.")] = None,
    planner: Annotated[str, typer.Option(help="default (plain U-Net), resenc-m, resenc-l or resenc-xl.")] = "default",
    memory: Annotated[Optional[str], typer.Option(help="GPU memory to plan for, such as 24GB.")] = None,
    preset: Annotated[str, typer.Option(help="gpu, cpu, or auto: cpu where there is no GPU.")] = "auto",
    config: Annotated[Optional[str], typer.Option(help="Default configuration: 2d, 3d_fullres, 3d_lowres.")] = None,
    structures: Annotated[
        Optional[list[str]], typer.Option(help="NAME=VALUE of a structure, where the data set does not say; repeatable.")
    ] = None,
    normalization: Annotated[
        Optional[list[str]],
        typer.Option(help="CHANNEL=SCHEME: ct, zscore, rescale_0_1, rgb_0_1 or none; repeatable."),
    ] = None,
    patient_pattern: Annotated[
        Optional[str], typer.Option(help="Regular expression that finds the patient in a case's name.")
    ] = None,
    splits: Annotated[str, typer.Option(help="grouped (by patient, balanced) or nnunet (its own five folds).")] = "grouped",
    orientation: Annotated[str, typer.Option(help="canonical, or stored as nnU-Net does.")] = "canonical",
    exclude: Annotated[
        Optional[Path], typer.Option(help="Text file of case ids, one a line, to leave out (a test set).")
    ] = None,
    set_: Annotated[Optional[list[str]], typer.Option("--set", help="KEY=VALUE for the plan; repeatable.")] = None,
    workspace: Annotated[Path, typer.Option(help="Folder with plans/, runs/ and cache/.")] = Path("."),
    force: Annotated[bool, typer.Option("--force", help="Replace a plan of this name.")] = False,
) -> None:
    """Inspect the scans and write plans/NAME.yaml, with a reason beside each decision.

    [bold]Examples[/]

    medseg plan dataset/

    medseg plan dataset/ --planner resenc-l --memory 24GB

    medseg plan slices/ --patient-pattern '^(P[0-9]+)' --structures tumour=255
    """
    from medseg.cli.tables import plan_tables
    from medseg.commands.plan import PlanOptions, parse_memory, plan

    options = PlanOptions(
        planner=planner,
        memory_gb=parse_memory(memory),
        preset=preset,
        default_configuration=config,
        structures=structures or [],
        normalization=normalization or [],
        patient_pattern=patient_pattern,
        splits=splits,
        orientation=orientation,
        exclude=exclude,
        overrides=set_ or [],
        replace=force,
    )
    with progress_display() as show:
        result = plan(data, workspace, name, options, show)
    for table in plan_tables(result.plan):
        console.print(table)
    console.print(f"Wrote {result.path}, {result.cases_path.name} and {result.splits_path.name}")
    for note in result.notes:
        console.print(f"note: {note}", markup=False)
    report_failures(result.failed, "cases left out")
    raise typer.Exit(1 if result.failed else 0)
