"""A Slurm of one node on this machine, in a folder of its own: munged, slurmctld and slurmd of the system."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo")
_CONFIGURATION = """\
ClusterName=small
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=sched_interval=1
MpiDefault=none
ReturnToService=2
InactiveLimit=0
KillWait=1
MinJobAge=300
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


def why_not() -> str | None:
    """Return why there can be no Slurm here; None if there can."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name in NEEDED if shutil.which(name, path=path) is None]
    if missing:
        return f"no {', '.join(missing)}: apt-get install slurmctld slurmd munge"
    return None if os.geteuid() == 0 else "slurmd starts jobs only as root"


@contextmanager
def small_slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Start the three daemons, and end them with the block.

    Yields:
        The environment in which `sbatch` and the like find them.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    values = {
        "folder": folder,
        "host": socket.gethostname().split(".")[0],
        "user": pwd.getpwuid(os.geteuid()).pw_name,
        "controller_port": _free_port(),
        "node_port": _free_port(),
        "cpus": os.cpu_count(),
        "memory_mb": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (1 << 20) - 512,
    }
    (folder / "slurm.conf").write_text(_CONFIGURATION.format(**values))
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    environment = {
        **os.environ,
        "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin",
        "SLURM_CONF": str(folder / "slurm.conf"),
    }
    munged = [
        "munged",
        "--foreground",
        "--force",
        "--num-threads=2",
        f"--key-file={key}",
        f"--socket={folder}/munge.socket",
    ]
    munged += [f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munge.seed"]
    with ExitStack() as stack:
        for command in (munged, ["slurmctld", "-D", "-i"], ["slurmd", "-D"]):
            stack.enter_context(_daemon(command, environment, folder))
            if command is munged:
                _wait(lambda: (folder / "munge.socket").exists(), folder)
        _wait(lambda: "idle" in _output(["sinfo", "-h", "-o", "%T"], environment), folder)
        yield environment


@contextmanager
def _daemon(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[None]:
    with (folder / f"{command[0]}.out").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _output(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def _wait(ready: object, folder: Path) -> None:
    for _ in range(300):
        if ready():  # type: ignore[operator]
            return
        time.sleep(0.1)
    paths = [*folder.glob("*.out"), *folder.glob("*.log")]
    logs = "\n".join(f"{path.name}:\n{path.read_text()[-1500:]}" for path in paths)
    raise RuntimeError(f"Slurm did not start:\n{logs}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
