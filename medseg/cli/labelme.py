"""`medseg labelme`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.output.display import console, progress_display, report_failures
from medseg.cli.output.next_command import show_next
from medseg.cli.output.records import emit, record_result
from medseg.commands.data.options import LabelmeOptions
from medseg.core.options import Option
from medseg.core.wording import counted

_MOST_SHOWN = 20


def command(*, folder: Path, output: Annotated[Path, Option(metavar="OUT")], options: LabelmeOptions) -> None:
    """Turn shapes drawn in labelme into masks, laid out so that `medseg plan OUT` works.

    A pixel belongs to a shape if its centre lies inside. Lines and points have no area: they are named and left out.

    Args:
        folder: Folder with labelme's JSON files, also in folders inside it.
        output: New folder for the data set.
        options: How to draw them.

    Examples:
        medseg labelme annotated/ dataset/ --labels labels.txt
        medseg labelme annotated/ dataset/ --order area --instances
        medseg labelme annotated/ dataset/ --coco
        medseg labelme annotated/ voc/ --labels labels.txt --voc
    """
    from medseg.commands.data.labelme import labelme

    with progress_display() as show:
        result = labelme(folder, output, options, show)
    console.print(f"{counted(result.images, 'image')} with masks in {result.folder}", markup=False)
    for name, value in result.structures.items():
        console.print(f"  {value:3d}  {name}: {counted(result.shapes.get(name, 0), 'shape')}", markup=False)
    record_result(folder=result.folder, images=result.images, structures=result.structures, shapes=result.shapes)
    for text in result.left_out:
        emit("note", message=f"left out: {text}")
    for text in result.left_out[:_MOST_SHOWN]:
        console.print(f"left out: {text}", markup=False)
    if len(result.left_out) > _MOST_SHOWN:
        console.print(f"left out: {counted(len(result.left_out) - _MOST_SHOWN, 'more shape')}")
    report_failures(result.failed, "file")
    show_next("plan", result.folder)
    raise typer.Exit(1 if result.failed else 0)
