"""A cluster of two processes to share between tests, and functions that its processes can import."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medseg.core.errors import DataError
from medseg.core.progress import Callback, Progress


@dataclass(frozen=True)
class SharedCluster:
    """A running cluster.

    Attributes:
        address: what `--cluster` takes.
        folder: holds its keys.
    """

    address: str
    folder: Path

    def pids(self) -> list[int]:
        """Return the process of each worker."""
        from distributed import Client

        from medseg.engines.start import running

        with running(self.address) as workers, Client(workers.address, security=workers.security) as client:
            return list(client.run(os.getpid).values())


@contextmanager
def shared_cluster(folder: Path) -> Iterator[SharedCluster]:
    """Start a cluster of two processes, which is reached by its address and the keys in a file."""
    from medseg.engines.start import start_local

    with start_local("2") as workers:
        security = workers.security
        keys = {
            "ca.pem": security.tls_ca_file,
            "cert.pem": security.tls_client_cert,
            "key.pem": security.tls_client_key,
        }
        for name, text in keys.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o600)
        client = f"{{cert: {folder / 'cert.pem'}, key: {folder / 'key.pem'}}}"
        tls = f"distributed:\n  comm:\n    tls:\n      ca-file: {folder / 'ca.pem'}\n      client: {client}\n"
        (folder / "dask.yaml").write_text(tls)
        yield SharedCluster(f"{workers.address},{folder / 'dask.yaml'}", folder)


def double(number: int) -> int:
    """Return twice a number; 13 is refused, and 99 a defect."""
    if number == 13:
        raise DataError("13 is not to be doubled.", "Take another.")
    if number == 99:
        raise ValueError("a defect")
    return 2 * number


def pid_slowly(number: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def die_at_first(marker: Path) -> str:
    """Kill the process, but only the first one that comes here."""
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return marker.name


def cancel_job_at_first(marker: Path) -> str:
    """Have Slurm cancel the job of the process, but only at the first call."""
    if not marker.exists():
        marker.touch()
        subprocess.run(["scancel", os.environ["SLURM_JOB_ID"]], check=True)
        time.sleep(60)
    return marker.name


def die(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def where(path: Path) -> str:
    """Return what a file says, which a relative path names from the command's folder."""
    return path.read_text()


def count_to(number: int, callback: Callback) -> int:
    """Report each number."""
    for step in range(number):
        callback(Progress("count", step, number, {"note": f"step {step}", "heavy": object()}))
    return number


def wait_for_the_end(marker: Path, callback: Callback) -> None:
    """Report until the callback says that nobody wants this any more; leave a file then."""
    try:
        while True:
            callback(Progress("wait", 0, 1, {"note": "still here"}))
            time.sleep(0.02)
    finally:
        marker.touch()
