"""`medseg plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.display import console, progress_display, report_failures

if TYPE_CHECKING:
    from rich.table import Table

    from medseg.schema import Plan


def command(
    data: Annotated[Path, typer.Argument(help="Folder of the data set, as it lies.", metavar="DATASET")],
    name: Annotated[str | None, typer.Option(help="Name of the plan; the folder's name unless given.")] = None,
    planner: Annotated[str, typer.Option(help="default (plain U-Net), resenc-m, resenc-l or resenc-xl.")] = "default",
    memory: Annotated[str | None, typer.Option(help="GPU memory to plan for, such as 24GB.")] = None,
    preset: Annotated[str, typer.Option(help="gpu, cpu, or auto: cpu where there is no GPU.")] = "auto",
    config: Annotated[str | None, typer.Option(help="Default configuration: 2d, 3d_fullres, 3d_lowres.")] = None,
    structures: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE of a structure, where the data set does not say; repeatable."),
    ] = None,
    normalization: Annotated[
        list[str] | None,
        typer.Option(help="CHANNEL=SCHEME: ct, zscore, rescale_0_1, rgb_0_1 or none; repeatable."),
    ] = None,
    patient_pattern: Annotated[
        str | None, typer.Option(help="Regular expression that finds the patient in a case's name.")
    ] = None,
    splits: Annotated[
        str, typer.Option(help="grouped (by patient, balanced) or nnunet (its own five folds).")
    ] = "grouped",
    orientation: Annotated[str, typer.Option(help="canonical, or stored as nnU-Net does.")] = "canonical",
    exclude: Annotated[
        Path | None, typer.Option(help="Text file of case ids, one a line, to leave out (a test set).")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE for the plan; repeatable.")] = None,
    workspace: Annotated[Path, typer.Option(help="Folder with plans/, runs/ and cache/.")] = Path("."),
    force: Annotated[bool, typer.Option("--force", help="Replace a plan of this name.")] = False,
) -> None:
    """Inspect the scans and write plans/NAME.yaml, with a reason beside each decision.

    [bold]Examples[/]

    medseg plan dataset/

    medseg plan dataset/ --planner resenc-l --memory 24GB

    medseg plan slices/ --patient-pattern '^(P[0-9]+)' --structures tumour=255
    """
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
    for table in _tables(result.plan):
        console.print(table)
    console.print(f"Wrote {result.path}, {result.cases_path.name} and {result.splits_path.name}", markup=False)
    for note in result.notes:
        console.print(f"note: {note}", markup=False)
    report_failures(result.failed, "cases left out")
    raise typer.Exit(1 if result.failed else 0)


def _tables(plan: Plan) -> list[Table]:
    """What was understood of the data, and what was decided."""
    from rich.markup import escape
    from rich.table import Table

    data, labels = plan.data, plan.labels
    layout = {"msd": "Medical Segmentation Decathlon", "nnunet": "nnU-Net", "pairs": "paired folders"}[data.layout]
    spacing = "" if data.spacing_known else ", size of a pixel unknown"
    understood = (
        f"{data.cases} cases, {data.dimensions}D, layout: {layout}, channels: {', '.join(data.channels)}{spacing}"
    )
    found = Table(title=escape(understood), title_justify="left")
    unit = "ml" if data.spacing_known else "pixels"
    for heading in ("structure", "value in files", "cases", f"mean volume ({unit})"):
        found.add_column(heading, justify="left" if heading == "structure" else "right")
    for name in labels.names:
        value = labels.structures[name]
        shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        found.add_row(
            escape(name), shown, str(data.structure_cases.get(name, 0)), f"{data.structure_volume.get(name, 0):.4g}"
        )
    decided = Table(title="configurations", title_justify="left")
    for heading in (
        "name",
        "spacing (mm)" if data.spacing_known else "spacing (pixels)",
        "patch",
        "batch",
        "network",
        "normalization",
    ):
        decided.add_column(heading)
    for name in plan.configurations:
        one = plan.configuration(name)
        mark = " (default)" if name == plan.default_configuration else ""
        decided.add_row(
            name + mark,
            " x ".join(f"{value:.3g}" for value in one.spacing_mm),
            " x ".join(map(str, one.patch_voxels)),
            str(one.batch_size),
            one.network.name
            + (f" {one.network.features[0]}-{one.network.features[-1]}" if one.network.features else ""),
            ", ".join(how.scheme for how in one.normalization),
        )
    return [found, decided]
