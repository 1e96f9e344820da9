"""The option `--cluster`, which every verb with case-by-case work has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from medseg.core.options import Option
from medseg.core.verb_options import VerbOptions


@dataclass(frozen=True)
class ClusterOptions(VerbOptions):
    """Options on where the work is done.

    Attributes:
        cluster: Dask cluster that does the work: local:4 (so many processes of this machine), the address of a running
            scheduler (tcp://HOST:8786 or tls://HOST:8786), or slurm:FILE.yaml (options of dask-jobqueue). If left out,
            this process does it. docs/training/cluster.md describes each.
    """

    cluster: Annotated[str | None, Option(group="Where it is computed", metavar="CLUSTER")] = field(
        default=None, kw_only=True
    )
