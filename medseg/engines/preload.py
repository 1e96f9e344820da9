"""Set-up of the workers that medseg starts on this machine: they ignore Ctrl-C, as the command ends them itself."""

from __future__ import annotations

import signal


def dask_setup(worker: object) -> None:
    """Ignore SIGINT, which a terminal sends to all processes of a command; Dask calls this in a worker's main thread.

    Args:
        worker: Dask's worker.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
