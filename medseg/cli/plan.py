"""`medseg plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.output.display import console, progress_display, report_failures, show_notes
from medseg.cli.output.next_command import in_workspace, show_next
from medseg.cli.output.records import record_result
from medseg.commands.data.options import PlanOptions
from medseg.core.machine.starting import starting
from medseg.core.options import OFTEN, Option
from medseg.core.wording import counted

if TYPE_CHECKING:
    from rich.table import Table

    from medseg.plans.schema import Plan

_WITH_FEATURES = ("plain_unet", "residual_unet")
_PLAN_FILE = Option(group="Where the plan goes")


def command(
    *,
    data: Annotated[Path, Option(metavar="DATASET")],
    options: PlanOptions,
    name: Annotated[str | None, _PLAN_FILE, OFTEN] = None,
    workspace: Annotated[Path, _PLAN_FILE, OFTEN] = Path("."),
) -> None:
    """Inspect the scans and write plans/NAME.yaml, with a reason beside each decision.

    Args:
        data: Folder of the data set, as it is.
        options: How to plan.
        name: Name of the plan; if left out, the name of the folder.
        workspace: Folder with plans/, runs/ and cache/.

    Examples:
        medseg plan dataset/
        medseg plan dataset/ --planner resenc-l --memory 24GB
        medseg plan slices/ --patient-pattern '^(P[0-9]+)' --structures tumour=255
        medseg plan drive/ --images 'images/*_training.tif' --labels '1st_manual/*_manual1.gif'
        medseg plan soft/ --threshold 0.5
        medseg plan studies/ --segments 'tumour=GTV*' --series 'Modality=CT,SliceThickness<4'
    """
    with starting():
        from medseg.commands.data.plan import plan

    with progress_display() as show:
        result = plan(data, workspace, name, options, show)
    record_result(
        path=result.path,
        files=[result.path, result.cases_path, result.splits_path],
        name=result.plan.name,
        cases=result.plan.data.cases,
        structures=result.plan.labels.names,
        configurations=list(result.plan.configurations),
        default_configuration=result.plan.default_configuration,
    )
    console.print(_data_line(result.plan), markup=False)
    console.print(_data_table(result.plan))
    console.print(_configurations_table(result.plan))
    console.print(f"Wrote {result.path}, {result.cases_path.name} and {result.splits_path.name}", markup=False)
    show_notes(result.notes, result.plan.data.cases + len(result.plan.data.left_out))
    report_failures(result.failed, "case", "left out")
    show_next("train", "--plan", result.path.stem, *in_workspace(workspace))
    raise typer.Exit(1 if result.failed else 0)


def _data_line(plan: Plan) -> str:
    """Return a line on the data set as it was understood: number of cases, layout, channels."""
    from medseg.io.layouts.dataset import LAYOUTS

    data = plan.data
    layout = LAYOUTS.get(data.layout, data.layout)
    spacing = "" if data.spacing_known else ", size of a pixel unknown"
    cases, channels = counted(data.cases, "case"), ", ".join(data.channels)
    return f"{cases}, {data.dimensions}D, layout: {layout}, channels: {channels}{spacing}"


def _data_table(plan: Plan) -> Table:
    """Return a table of what was understood of the labels: a row for each structure."""
    from rich.markup import escape
    from rich.table import Table

    data, labels = plan.data, plan.labels
    table = Table()
    flat = data.dimensions == 2
    unit = ("mm2" if flat else "ml") if data.spacing_known else "pixels"
    per_ml = 1000 if flat and data.spacing_known else 1  # plans have the area of a picture as a volume 1 mm thick
    for heading in ("structure", "value in files", "cases", f"mean volume ({unit})"):
        table.add_column(heading, justify="left" if heading == "structure" else "right")
    for name in labels.names:
        value = labels.structures[name]
        values = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        cases_with_it, volume = data.structure_cases.get(name, 0), data.structure_volume.get(name, 0)
        table.add_row(escape(name), values, str(cases_with_it), f"{volume * per_ml:.4g}")
    return table


def _configurations_table(plan: Plan) -> Table:
    """Return a table of what was decided: a row for each configuration."""
    from rich.table import Table

    table = Table(title="configurations", title_justify="left")
    spacing = f"spacing\n({'mm' if plan.data.spacing_known else 'pixels'})"
    for heading in ("name", spacing, "patch", "batch", "network", "normali-\nzation"):
        table.add_column(heading, overflow="fold")
    for name in plan.configurations:
        configuration = plan.configuration(name)
        mark = " (default)" if name == plan.default_configuration else ""
        # other networks have widths of their own
        features = configuration.network.features if configuration.network.name in _WITH_FEATURES else []
        schemes = [normalization.scheme for normalization in configuration.normalization]
        table.add_row(
            name + mark,
            " x ".join(f"{value:.3g}" for value in configuration.spacing_mm),
            " x ".join(map(str, configuration.patch_voxels)),
            str(configuration.batch_size),
            configuration.network.name + (f" {features[0]}-{features[-1]}" if features else ""),
            ", ".join(schemes if len({*schemes}) > 1 else schemes[:1]),
        )
    return table
