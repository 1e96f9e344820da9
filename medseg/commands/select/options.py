"""Options of `medseg select`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from medseg.core.options import Option, parse_list
from medseg.core.verb_options import VerbOptions


@dataclass(frozen=True)
class SelectOptions(VerbOptions):
    """Options of `medseg select`.

    Attributes:
        configurations: Configurations to choose among, joined by commas, such as 2d,3d_fullres; if left out, all that
            have trained folds.
        folds: Folds, joined by commas, such as 0,1,2; if left out, all trained folds.
        ensembles: Also try pairs of configurations, and all of them, that answer together.
        postprocessing: Also look for operations on answers (largest component, smallest size, holes filled, thresholds
            of regions) that improve them.
        position: Also look whether components on a side of the body where a structure never lies are to be removed.
        data: Folder of the data set, if it is not where the plan says.
        device: Device to compute on: auto, cuda, cuda:1, mps or cpu.
    """

    configurations: Annotated[tuple[str, ...], Option("--config -c", metavar="CONFIGS", parse=parse_list)] = ()
    folds: Annotated[tuple[str, ...], Option("--folds -f", metavar="FOLDS", parse=parse_list)] = ()
    ensembles: Annotated[bool, Option("--ensembles/--no-ensembles")] = True
    postprocessing: Annotated[bool, Option("--postprocessing/--no-postprocessing")] = True
    position: bool = False
    data: Annotated[Path | None, Option(metavar="FOLDER")] = None
    device: str = "auto"
