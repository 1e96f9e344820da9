"""Start a Dask cluster, or name one that runs: processes of this machine, jobs of Slurm, an address.

Whoever reaches a scheduler can run code on its workers. What is started here therefore speaks TLS with keys that are
made for it and kept from other users; a running scheduler is spoken to as Dask's configuration says.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dask
from distributed import LocalCluster
from distributed.security import Security

from medseg.core.errors import PlanError
from medseg.core.installing import pip_install
from medseg.core.machine.cores import usable_cores

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_ENVIRONMENT = "distributed.nanny.pre-spawn-environ"
_LOST, _LOST_TIME = "distributed.deploy.lost-worker-timeout", "30s"
_TLS = "distributed.comm.tls"
_ONE_ITEM_AT_A_TIME = ("--nthreads", "1")
_MOST_REASON = 300
_MOST_SECONDS = 60.0
"""That Slurm may take to say whether it would take a job."""
_PRIVATE = "127.0.0.1:0"
"""Where pages on the work are served, as Dask always does: to nobody else."""


@dataclass(frozen=True)
class Workers:
    """A cluster to connect to.

    Attributes:
        address: the address of its scheduler.
        security: how it is spoken to.
        name: what the user calls it.
        count: how many workers it is to have; None where others decide that.
        replace_lost: starts workers in place of those that are gone; does nothing where none is.
    """

    address: str
    security: Any
    name: str
    count: int | None = None
    replace_lost: Callable[[], object] = lambda: None


@contextmanager
def start_local(count: str) -> Iterator[Workers]:
    """Start processes of this machine, which share its cores.

    Args:
        count: number of processes.

    Yields:
        The cluster to connect to.
    """
    number = int(count)
    chosen = [os.environ[name] for name in _THREAD_VARIABLES if name in os.environ]  # of one, it holds for all
    threads = dict.fromkeys(_THREAD_VARIABLES, chosen[0] if chosen else str(max(1, usable_cores() // number)))
    settings = {_ENVIRONMENT: {**dask.config.get(_ENVIRONMENT), **threads}, _LOST: _LOST_TIME}
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=number,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,  # predictions fit themselves to the memory that is free
            dashboard_address=_PRIVATE,
            worker_dashboard_address=_PRIVATE,
            preload=["medseg.engines.preload"],
            security=_own_security(),
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        replace_lost = partial(cluster.scale, number)  # where one died so soon that Dask does not start it again
        yield Workers(cluster.scheduler_address, cluster.security, f"local:{count}", number, replace_lost)


@contextmanager
def start_slurm(file: str) -> Iterator[Workers]:
    """Submit jobs to Slurm that are workers; they end with the block.

    Args:
        file: YAML with the options of dask-jobqueue's `SLURMCluster`, `n_workers` among them.

    Yields:
        The cluster to connect to.

    Raises:
        PlanError: the file, an option, or Slurm's answer to them is not as it should be.
    """
    with ctrl_c_kept():
        from dask_jobqueue import SLURMCluster

    options = slurm_options(_read_yaml(file), file)
    if shutil.which("sbatch") is None:
        raise PlanError(
            "--cluster slurm: there is no sbatch on this machine.",
            "Give the command where jobs are submitted, such as a login node.",
        )
    count = options.pop("n_workers")
    try:
        cluster = SLURMCluster(**options)
    except (TypeError, ValueError) as error:
        raise PlanError(
            f"{file}: {' '.join(str(error).split())}", "It takes the options of dask-jobqueue's SLURMCluster."
        ) from None
    with cluster:
        _try_job(cluster.job_script(), file)
        cluster.scale(count)
        yield Workers(
            cluster.scheduler_address, cluster.security, f"slurm:{file}", count, partial(cluster.scale, count)
        )


@contextmanager
def ctrl_c_kept() -> Iterator[None]:
    """Restore the handler of Ctrl-C after the block: importing dask-jobqueue sets one that exits silently with 0."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


def slurm_options(given: Mapping[str, Any], file: str) -> dict[str, Any]:
    """Return the options of `SLURMCluster` with what medseg needs of those that were left out.

    A process works on one item at a time with all of its cores, and is spoken to by TLS.

    Args:
        given: the options of the user.
        file: their file, for messages.

    Raises:
        PlanError: the number of workers is missing.
    """
    options = dict(given)
    count, cores, processes = options.get("n_workers"), options.get("cores", 1), options.get("processes", 1)
    if not isinstance(count, int) or count < 1:
        raise PlanError(
            f"{file}: n_workers is {count!r}; expected how many workers there are to be.", "Write n_workers: 5"
        )
    if not all(isinstance(value, int) and value > 0 for value in (cores, processes)):
        raise PlanError(f"{file}: cores is {cores!r} and processes {processes!r}; expected whole numbers from 1 on.")
    threads = max(1, cores // processes)
    first, *others = _THREAD_VARIABLES
    exports = [f"export {first}=${{{first}:-{threads}}}", *(f"export {name}=${{{name}:-${first}}}" for name in others)]
    arguments = list(options.get("worker_extra_args") or [])
    options["processes"] = processes
    options["worker_extra_args"] = [*(() if "--nthreads" in arguments else _ONE_ITEM_AT_A_TIME), *arguments]
    options["job_script_prologue"] = [*(options.get("job_script_prologue") or []), *exports]
    if options.setdefault("security", True):
        options.setdefault("protocol", "tls://")
        if dask.config.get("jobqueue.slurm.shared-temp-directory", None) is None:
            options.setdefault("shared_temp_directory", str(Path.cwd()))  # where the jobs find the keys
    scheduler = {"dashboard_address": _PRIVATE, **(options.get("scheduler_options") or {})}
    return {"silence_logs": logging.CRITICAL, **options, "scheduler_options": scheduler}


def _try_job(script: str, file: str) -> None:
    """Have Slurm look at the script of a job without running it.

    Raises:
        PlanError: it would refuse the job, or does not answer.
    """
    command = ["sbatch", "--test-only"]
    try:
        done = subprocess.run(command, input=script, capture_output=True, text=True, check=False, timeout=_MOST_SECONDS)
    except subprocess.TimeoutExpired:
        raise PlanError(
            f"Slurm did not answer within {_MOST_SECONDS:g} s whether it would take the jobs of {file} "
            f"({' '.join(command)}).",
            "Give the command again when its controller is less busy: sinfo and sdiag show whether it answers.",
        ) from None
    if done.returncode != 0:
        reason = " ".join((done.stderr or done.stdout).split())[:_MOST_REASON]
        raise PlanError(f"Slurm refuses the jobs of {file}: {reason}", "Correct the options in that file.")


def running(address: str) -> AbstractContextManager[Workers]:
    """Return the workers of a running scheduler.

    Args:
        address: tcp://HOST:PORT or tls://HOST:PORT; after a comma, a YAML file with Dask's configuration.

    Raises:
        PlanError: TLS is asked for, and nobody says by which keys.
    """
    address, _, file = address.partition(",")
    with dask.config.set(dask.config.merge(dask.config.config, _read_yaml(file)) if file else {}):
        security: Any = Security()
        missing = [key for key in ("ca-file", "client.cert") if not dask.config.get(f"{_TLS}.{key}", None)]
    if address.startswith("tls://") and missing:
        raise PlanError(
            f"--cluster is {address}, and {'that file' if file else 'the configuration of Dask'} does not say where "
            f"the keys are: {' and '.join(f'{_TLS}.{key}' for key in missing)} {'are' if len(missing) > 1 else 'is'} "
            "missing.",
            f"Write them into ~/.config/dask/, or into a file: --cluster {address},FILE.yaml",
        )
    return nullcontext(Workers(address, security, address))


def _own_security() -> Any:
    """Return new keys, which only this process and its workers know.

    Raises:
        PlanError: the package that makes them is missing.
    """
    try:
        return Security.temporary()
    except ImportError as error:
        raise PlanError(
            f"--cluster needs another package: {error}.", f"{pip_install('cluster')} installs all of them."
        ) from None


def _read_yaml(file: str) -> dict[str, Any]:
    """Return the mapping in a YAML file, of plain values.

    Raises:
        PlanError: there is no such file, or it holds something else.
    """
    from ruamel.yaml import YAML

    try:
        content = YAML(typ="safe").load(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanError(f"{file} cannot be read: {error.strerror}.") from None
    except Exception as error:  # the YAML library raises several unrelated types
        raise PlanError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise PlanError(f"{file} holds no options.", "Write them as lines of KEY: VALUE.")
    return content


STARTS: dict[str, Callable[[str], AbstractContextManager[Workers]]] = {
    "local": start_local,
    "slurm": start_slurm,
    "address": running,
}
"""Kind of a cluster (`medseg.engines.open.parse_cluster`) -> what starts or names it."""
