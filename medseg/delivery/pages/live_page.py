"""The page of a run that trains: the newest picture, scores and curves; the browser loads it again by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.core.wording import counted
from medseg.delivery.pages.blocks import Block, Picture, Table
from medseg.delivery.pages.figures import figure
from medseg.delivery.pages.page import Page, Section, write_page
from medseg.delivery.pages.run_sections import curves_section
from medseg.models.run_files import FoldFolder

REFRESH_SECONDS = 15
"""Time after which a browser loads the page of a run that trains again."""
_MOST_ROWS = 30
"""Newest validations in the table of a long run."""
_FOOTER = "Whole volumes on the network's own grid, without mirroring: report.html has the scores that count."

Records = Sequence[Mapping[str, Any]]


def write_live_page(files: FoldFolder, records: Records, picture: Picture | None, trains: bool) -> None:
    """Write the page of a run that trains, in one step.

    Args:
        files: the files of the fold.
        records: the records of its log.
        picture: the newest picture; None where there is none yet.
        trains: whether the run goes on: only then the page loads itself again.
    """
    validations = [record for record in records if record["kind"] == "validation"]
    step = max((int(record["step"]) for record in records), default=0)
    state = "training" if trains else "not training: the run has ended or was stopped"
    page = Page(
        title=f"{files.run.path.parent.name}, {files.run.path.name}, fold {files.fold}",
        lead=f"Step {step}, {state}. {counted(len(validations), 'validation')} so far.",
        figures=_figures(records, validations),
        sections=[
            picture_section(picture),
            Section("scores", "Validations", _tables(validations)),
            curves_section(records),
        ],
        footer=(_FOOTER,),
        refresh_seconds=REFRESH_SECONDS if trains else None,
    )
    write_page(files.live, page)


def picture_section(picture: Picture | None) -> Section:
    """Return the section with the newest picture of the same slices."""
    return Section("slices", "The same slices after each validation", [] if picture is None else [picture])


def newest_picture(files: FoldFolder) -> Picture | None:
    """Return the last picture that was drawn while a run trained; None where there is none."""
    drawn = files.drawn_pictures()
    if not drawn:
        return None
    step, path = drawn[-1]
    return picture_block(step, path, "Image, reference, prediction and difference of the same slices")


def picture_block(step: int, path: Path, description: str) -> Picture:
    """Return a picture for a page.

    Args:
        step: after which it was drawn.
        path: its file.
        description: what it shows, for those who do not see it.
    """
    caption = f"Step {step}; the pictures of earlier validations are in {path.parent.name}/"
    return Picture(caption, description, path.read_bytes())


def _figures(records: Records, validations: Records) -> list[tuple[str, str]]:
    losses = [record["loss"] for record in records if record["kind"] == "train"]
    figures = [(figure(losses[-1]), "training loss")] if losses else []
    if validations:
        last = validations[-1]
        for key, what in (("loss", "validation loss"),):
            figures += [(figure(last[key]), what)] if last.get(key) is not None else []
        for key, what in (("dice", "mean Dice"), ("iou", "mean IoU")):
            known = [value for value in (last.get(key) or {}).values() if value is not None]
            figures += [(figure(sum(known) / len(known)), what)] if known else []
    return figures


def _tables(validations: Records) -> list[Block]:
    """Return a table of Dice and one of IoU, the newest validation first, and with training cases where asked for."""
    tables: list[Block] = []
    titles = {
        "dice": "Dice",
        "iou": "IoU",
        "train_dice": "Dice of training cases",
        "train_iou": "IoU of training cases",
    }
    for key, title in titles.items():
        scored = [record for record in reversed(validations) if record.get(key)][:_MOST_ROWS]
        names = list(dict.fromkeys(name for record in scored for name in record[key]))
        rows = [
            [str(record["step"]), figure(record.get("loss")), *[figure(record[key].get(name)) for name in names]]
            for record in scored
        ]
        caption = f"{title} of each structure, mean over the cases; newest first"
        tables.append(Table(caption, ["step", "validation loss", *names], rows, folded=key != "dice"))
    return tables
