"""`medseg plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli import data_options as options
from medseg.cli.display import console, progress_display, report_failures, show_note
from medseg.cli.records import record_result
from medseg.core.wording import counted

if TYPE_CHECKING:
    from rich.table import Table

    from medseg.plans.schema import Plan

_RULES = "What the rules decide"
_WORK = "Where the plan goes"


def command(
    data: options.DataSetFolder,
    name: Annotated[
        str | None, typer.Option(help="Name of the plan; the folder's name unless given.", rich_help_panel=_WORK)
    ] = None,
    planner: Annotated[
        str,
        typer.Option(help="default (plain U-Net), resenc-m, resenc-l or resenc-xl.", rich_help_panel=_RULES),
    ] = "default",
    memory: Annotated[
        str | None, typer.Option(help="GPU memory to plan for, such as 24GB.", rich_help_panel=_RULES)
    ] = None,
    preset: Annotated[
        str, typer.Option(help="gpu, cpu, or auto: cpu where there is no GPU.", rich_help_panel=_RULES)
    ] = "auto",
    config: Annotated[
        str | None,
        typer.Option(help="Default configuration: 2d, 3d_fullres, 3d_lowres.", rich_help_panel=_RULES),
    ] = None,
    cascade: Annotated[
        bool,
        typer.Option(
            "--cascade",
            help="Plan a low resolution and a cascade, also where the rules need none, as the default.",
            rich_help_panel=_RULES,
        ),
    ] = False,
    normalization: Annotated[
        list[str] | None,
        typer.Option(
            help="CHANNEL=SCHEME: ct, zscore, rescale_0_1, rgb_0_1 or none; repeatable.", rich_help_panel=_RULES
        ),
    ] = None,
    activation: Annotated[
        str | None,
        typer.Option(
            help="softmax, or sigmoid: each structure is decided by itself. Regions need sigmoid.",
            rich_help_panel=_RULES,
        ),
    ] = None,
    splits: Annotated[
        str,
        typer.Option(help="grouped (by patient, balanced) or nnunet (its own five folds).", rich_help_panel=_RULES),
    ] = "grouped",
    orientation: Annotated[
        str, typer.Option(help="canonical, or stored as nnU-Net does.", rich_help_panel=_RULES)
    ] = "canonical",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE for the plan; repeatable.", rich_help_panel=_RULES),
    ] = None,
    codes: Annotated[
        str | None,
        typer.Option(
            help="What structures are in coded words, for DICOM answers, where their names do not say: a CSV, or "
            "'Anterior=anterior hippocampus,...' with names of the table. docs/dicom.md has both.",
            rich_help_panel=_RULES,
        ),
    ] = None,
    images: options.Images = None,
    labels: options.LabelFiles = None,
    cases: options.Cases = None,
    patient_pattern: options.PatientPattern = None,
    exclude: options.Exclude = None,
    frame: options.Frame = None,
    structures: options.Structures = None,
    ignore: options.Ignore = None,
    threshold: options.Threshold = None,
    value_map: options.ValueMap = None,
    colours: options.Colours = None,
    resample_labels: options.ResampleLabels = False,
    annotated_from_values: options.AnnotatedFromValues = False,
    segments: options.Segments = None,
    overlaps: options.OverlapsOption = None,
    series: options.Series = None,
    resample_tilt: options.ResampleTilt = False,
    allow_gaps: options.AllowGaps = False,
    workspace: Annotated[
        Path, typer.Option(help="Folder with plans/, runs/ and cache/.", rich_help_panel=_WORK)
    ] = Path("."),
    force: Annotated[bool, typer.Option("--force", help="Replace a plan of this name.", rich_help_panel=_WORK)] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Make no plan if the check finds anything.", rich_help_panel=_WORK)
    ] = False,
) -> None:
    """Inspect the scans and write plans/NAME.yaml, with a reason beside each decision.

    [bold]Examples[/]

    medseg plan dataset/

    medseg plan dataset/ --planner resenc-l --memory 24GB

    medseg plan slices/ --patient-pattern '^(P[0-9]+)' --structures tumour=255

    medseg plan drive/ --images 'images/*_training.tif' --labels '1st_manual/*_manual1.gif'

    medseg plan soft/ --threshold 0.5

    medseg plan studies/ --segments 'tumour=GTV*' --series 'Modality=CT,SliceThickness<4'
    """
    from medseg.commands.data.options import PlanOptions
    from medseg.commands.data.plan import parse_memory, plan
    from medseg.datasets.data_options import DataOptions

    asked = PlanOptions(
        planner=planner,
        memory_gb=parse_memory(memory),
        preset=preset,
        default_configuration=config,
        data=DataOptions(
            images=images or [],
            labels=labels,
            cases=cases,
            patient_pattern=patient_pattern,
            exclude=exclude,
            structures=structures or [],
            ignore=ignore,
            activation=activation,
            threshold=threshold,
            map=value_map or [],
            colours=colours or [],
            frame=frame,
            resample_labels=resample_labels,
            annotated_from_values=annotated_from_values,
            segments=segments or [],
            overlaps=overlaps,
            series=series or [],
            resample_tilt=resample_tilt,
            allow_gaps=allow_gaps,
        ),
        normalization=normalization or [],
        splits=splits,
        orientation=orientation,
        overrides=set_ or [],
        codes=codes,
        cascade=cascade,
        replace=force,
        strict=strict,
    )
    with progress_display() as show:
        result = plan(data, workspace, name, asked, show)
    made = result.plan
    record_result(
        path=result.path,
        files=[result.path, result.cases_path, result.splits_path],
        name=made.name,
        cases=made.data.cases,
        structures=made.labels.names,
        configurations=list(made.configurations),
        default_configuration=made.default_configuration,
    )
    for table in _tables(result.plan):
        console.print(table)
    console.print(f"Wrote {result.path}, {result.cases_path.name} and {result.splits_path.name}", markup=False)
    for note in result.notes:
        show_note(note)
    report_failures(result.failed, "case", "left out")
    raise typer.Exit(1 if result.failed else 0)


def _tables(plan: Plan) -> list[Table]:
    """What was understood of the data, and what was decided."""
    from rich.markup import escape
    from rich.table import Table

    from medseg.io.layouts.dataset import LAYOUTS

    data, labels = plan.data, plan.labels
    layout = LAYOUTS.get(data.layout, data.layout)
    spacing = "" if data.spacing_known else ", size of a pixel unknown"
    cases, channels = counted(data.cases, "case"), ", ".join(data.channels)
    understood = f"{cases}, {data.dimensions}D, layout: {layout}, channels: {channels}{spacing}"
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
