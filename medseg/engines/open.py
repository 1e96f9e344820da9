"""Open the engine that `--cluster` names; what speaks to Dask is imported only then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medseg.core.errors import PlanError
from medseg.core.installing import pip_install
from medseg.core.progress import Callback, silent
from medseg.engines.engine import HERE, Engine

_FORMS = "Write local:4, tcp://HOST:8786, tls://HOST:8786 or slurm:FILE.yaml; docs/training/cluster.md describes each."


@contextmanager
def open_engine(cluster: str | None, callback: Callback = silent) -> Iterator[Engine]:
    """Yield the engine that a text names; a cluster that was started for it ends with the block.

    Args:
        cluster: what `--cluster` takes; None for this process.
        callback: told of workers that are waited for, or lost.

    Raises:
        PlanError: the text names no cluster, a package is missing, or the cluster cannot be started or reached.
    """
    if cluster is None:
        yield HERE
        return
    kind, rest = parse_cluster(cluster)
    try:
        from medseg.engines import start
        from medseg.engines.dask_engine import DaskEngine
    except ImportError as error:
        raise PlanError(
            f"--cluster needs another package: {error}.", f"{pip_install('cluster')} installs all of them."
        ) from None
    with start.STARTS[kind](rest) as workers, DaskEngine(workers, callback) as engine:
        yield engine


def parse_cluster(text: str) -> tuple[str, str]:
    """Return the kind of a cluster and the rest of its name.

    >>> parse_cluster("local:4"), parse_cluster("tcp://node7:8786")
    (('local', '4'), ('address', 'tcp://node7:8786'))

    Raises:
        PlanError: the text names no cluster.
    """
    kind, _, rest = text.partition(":")
    if kind == "local" and rest.isdecimal() and int(rest) > 0:
        return kind, str(int(rest))
    if kind == "slurm" and Path(rest).is_file():
        return kind, rest
    port = rest.partition(",")[0].rpartition(":")[2]
    if kind in ("tcp", "tls") and rest.startswith("//") and port.isdecimal():
        return "address", text
    if kind == "slurm":
        raise PlanError(f"--cluster is {text!r}, and there is no file {rest!r}.", _FORMS)
    raise PlanError(f"--cluster is {text!r}, which names no cluster.", _FORMS)
