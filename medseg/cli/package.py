"""`medseg package`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.display import console, show_note
from medseg.cli.records import record_result


def command(
    model: Annotated[
        str, typer.Argument(help="Run: PLAN, PLAN/CONFIG or a folder; or a model of nnU-Net's.", metavar="RUN")
    ],
    output: Annotated[Path, typer.Argument(help="File to write: model.medseg.", metavar="FILE")],
    config: Annotated[str | None, typer.Option(help="Configuration: 2d, 3d_fullres, ...")] = None,
    folds: Annotated[str | None, typer.Option(help="Folds, such as 0,1,2; all trained unless given.")] = None,
    card: Annotated[
        Path | None,
        typer.Option(
            help="YAML file with fields of the model card: author, license, intended_use, limitations, training_data, "
            "contact, citation."
        ),
    ] = None,
    author: Annotated[str | None, typer.Option(help="Who made the model.")] = None,
    license_: Annotated[str | None, typer.Option("--license", help="Licence of the weights.")] = None,
    intended_use: Annotated[str | None, typer.Option(help="What the model is for.")] = None,
    limitations: Annotated[str | None, typer.Option(help="What it is not for, where it fails.")] = None,
    training_data: Annotated[str | None, typer.Option(help="What it was trained on, in words.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="Of nnU-Net's: final, best, latest or a file's name.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    workspace: Annotated[Path, typer.Option(help="Folder with plans/, runs/ and cache/.")] = Path("."),
) -> None:
    """Pack a trained model into one file that medseg predict --model takes: plan, weights, model card. No code.

    [bold]Examples[/]

    medseg package liver liver.medseg --license 'CC BY 4.0' --intended-use 'Research on abdominal CT'

    medseg package liver/3d_fullres liver.medseg --card card.yaml --folds 0,1,2
    """
    from medseg.commands.models.options import PackageOptions
    from medseg.commands.models.package import package
    from medseg.models.card import About

    options = PackageOptions(
        configuration=config,
        folds=list(dict.fromkeys(fold.strip() for fold in folds.split(","))) if folds else None,
        checkpoint=checkpoint,
        card=card,
        about=About(author, license_, intended_use, limitations, training_data),
        replace=force,
    )
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
