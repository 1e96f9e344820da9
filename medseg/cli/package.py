"""`medseg package`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from medseg.cli.display import console, show_note
from medseg.cli.records import record_result
from medseg.commands.models.options import PackageOptions
from medseg.core.options import Option


def command(
    *,
    model: Annotated[str, Option(metavar="RUN")],
    output: Annotated[Path, Option(metavar="FILE")],
    options: PackageOptions,
    workspace: Path = Path("."),
) -> None:
    """Pack a trained model into one file that `medseg predict --model` takes: plan, weights, model card. No code.

    Args:
        model: Run: PLAN, PLAN/CONFIG or a folder; or a model of nnU-Net.
        output: File to write: model.medseg.
        options: What is packed, and what the model card says.
        workspace: Folder with plans/, runs/ and cache/.

    Examples:
        medseg package liver liver.medseg --license 'CC BY 4.0' --intended-use 'Research on abdominal CT'
        medseg package liver/3d_fullres liver.medseg --card card.yaml --folds 0,1,2
    """
    from medseg.commands.models.package import package

    result = package(model, output, workspace, options)
    held = result.model
    stages = held.configuration_name + (f" after {held.previous.configuration_name}" if held.previous else "")
    record_result(path=result.path, bytes=result.bytes, name=held.plan.name, folds=held.folds)
    console.print(
        f"{result.path}: {held.plan.name}, {stages}, folds {', '.join(held.folds)}, {result.bytes / 1e6:.1f} MB",
        markup=False,
    )
    for note in result.notes:
        show_note(note)
