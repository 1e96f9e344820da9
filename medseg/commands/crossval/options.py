"""Options of `medseg crossval`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from medseg.commands.train.options import TrainOptions
from medseg.core.options import OFTEN, Option, parse_duration, parse_list
from medseg.engines.options import ClusterOptions

_OF_EACH_FOLD = ("fold", "configuration", "budget_seconds", "resume", "extend")
"""Options of `train` that `crossval` sets itself."""


@dataclass(frozen=True)
class CrossvalOptions(ClusterOptions):
    """Options of `medseg crossval`.

    Attributes:
        configurations: Configurations of the plan, joined by commas, such as 2d,3d_fullres; if left out, the plan's
            default.
        folds: Folds, joined by commas, such as 0,1,2; if left out, all folds of the plan.
        budget_seconds: Wall-clock time for all folds together, such as 5h. Each fold has an equal share, those that are
            trained already included, so that folds are trained equally long however often the command is given, and
            wherever: on a cluster the folds are trained side by side, and less time passes.
        processes: Processes that train each fold together, on one machine: a GPU each, or a share of the CPU's cores.
        training: How each fold is trained: the options of `medseg train`.
    """

    configurations: Annotated[tuple[str, ...], Option("--config -c", metavar="CONFIGS", parse=parse_list), OFTEN] = ()
    folds: Annotated[tuple[str, ...], Option("--folds -f", metavar="FOLDS", parse=parse_list), OFTEN] = ()
    budget_seconds: Annotated[float | None, Option("--budget", metavar="TIME", parse=parse_duration), OFTEN] = None
    processes: Annotated[int, Option(minimum=1)] = 1
    training: Annotated[TrainOptions, Option(without=_OF_EACH_FOLD, rarely=("init",))] = field(
        default_factory=TrainOptions
    )
