"""What the workers that medseg starts on this machine load first: Ctrl-C is for the command, which then ends them."""

from __future__ import annotations

import signal


def dask_setup(worker: object) -> None:
    """Ignore SIGINT, which a terminal sends to all processes of a command; Dask calls this in a worker's main thread.

    Args:
        worker: Dask's worker.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
