"""A command under watch: its seconds, and the most memory that it and all its descendants took together."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PERIOD = 0.05
_PSS = re.compile(rb"^Pss:\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True)
class Watched:
    """What a command took.

    Attributes:
        seconds: wall-clock time, from start to end.
        cpu_seconds: of all processes together.
        peak_gb: proportional set size of the process tree, 20 times a second; what processes share counts once.
        output: what it printed.
    """

    seconds: float
    cpu_seconds: float
    peak_gb: float
    output: str


def watch(
    command: Sequence[object], cwd: Path | None = None, environment: Mapping[str, str] | None = None, least: float = 0.0
) -> Watched:
    """Run a command to its end.

    Args:
        command: program and arguments.
        cwd: where it runs.
        environment: added to this process's own.
        least: GB that must stay free on the machine; with less, the command is killed.

    Raises:
        RuntimeError: it failed, or was killed; what it printed last is in the message.
    """
    before, began, peak = os.times(), time.monotonic(), 0
    env = {**os.environ, **(environment or {})}
    killed = False
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(
            [str(part) for part in command], cwd=cwd, env=env, stdout=printed, stderr=subprocess.STDOUT
        )
        try:
            while process.poll() is None:
                peak = max(peak, sum(map(_pss, _tree(process.pid))))
                if least and _available_gb() < least:
                    killed = True
                    break
                time.sleep(_PERIOD)
        finally:
            process.kill()
            process.wait()
        seconds = time.monotonic() - began
        printed.seek(0)
        output = printed.read()
    if process.returncode != 0:
        why = "was killed: memory ran short" if killed else f"failed ({process.returncode})"
        raise RuntimeError(f"{' '.join(map(str, command))} {why}, peak {peak / 2**20:.2f} GB:\n{output[-2000:]}")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Watched(seconds, cpu, peak / 2**20, output)


def _tree(root: int) -> list[int]:
    """A process and its descendants."""
    found, waiting = [], [root]
    while waiting:
        process = waiting.pop()
        found.append(process)
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            with suppress(OSError):  # it ended meanwhile
                waiting += map(int, children.read_text().split())
    return found


def _pss(process: int) -> int:
    """kB; 0 if the process ended meanwhile."""
    try:
        content = Path(f"/proc/{process}/smaps_rollup").read_bytes()
    except OSError:
        return 0
    found = _PSS.search(content)
    return int(found[1]) if found else 0


def _available_gb() -> float:
    content = Path("/proc/meminfo").read_text()
    found = re.search(r"MemAvailable:\s+(\d+)", content)
    return int(found[1]) / 2**20 if found else float("inf")
