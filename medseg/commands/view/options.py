"""Options of `medseg view`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from medseg.core.options import Option
from medseg.core.verb_options import VerbOptions


@dataclass(frozen=True)
class ViewOptions(VerbOptions):
    """Options of `medseg view`.

    Attributes:
        reference: Label file to show beside the answers.
        output: HTML file to write; if left out, SCAN.html in the current folder.
        channel: Which channel of a volume to show, counted from 0; a 2D image shows its colours.
        frame: Which of several volumes (of a 4D file) to show, counted from 0.
        structures: What a value of the label files is called, as NAME=VALUE; if left out, labels.json beside the first
            one says it, or the file itself.
    """

    reference: Annotated[Path | None, Option(metavar="FILE")] = None
    output: Annotated[Path | None, Option("--output -o", metavar="FILE")] = None
    channel: Annotated[int, Option(minimum=0)] = 0
    frame: Annotated[int | None, Option(minimum=0)] = None
    structures: Annotated[Sequence[str], Option(metavar="NAME=VALUE")] = ()
