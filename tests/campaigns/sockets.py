"""Run every verb with all ways to a network blocked and counted, under strace where it is installed.

    python tests/campaigns/sockets.py

Each verb does its work on a tiny set, in a process of its own. Python's ways to look up a host or to open a connection
raise an error and are counted; `strace` counts the connections and messages to internet addresses that libraries
make without Python. A verb must end well without a single attempt, and must not write into the user's home, but for
matplotlib's list of fonts. One run makes one try a verb; `--count` cuts it short.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from campaign import Fault, Settings, Tally, main

_INTERNET = re.compile(r"^.*\b(?:connect|sendto|sendmsg)\(.*\bAF_INET6?\b.*$", re.MULTILINE)

_CACHES = (".cache/matplotlib/",)
"""Libraries keep a list of the fonts of this machine here, which a later start reads."""


def attempt(words: list[str], folder: Path, home: Path) -> str:
    """Run one verb, and look for attempts to reach a network."""
    from processes.blocked_network import RUN, environment

    log, trace = folder / "attempts.log", folder / "trace"
    log.write_text("")
    command = [sys.executable, "-c", RUN, str(log)]
    tracer = shutil.which("strace")
    if tracer:
        command = [tracer, "-f", "-qq", "-e", "trace=network", "-o", str(trace), *command]
    done = subprocess.run(
        command,
        input=json.dumps(words) + "\n",
        capture_output=True,
        text=True,
        errors="replace",
        cwd=folder,
        env=environment(home),
        check=False,
    )
    if f"exit {words[0]} 0" not in done.stdout:
        raise Fault(f"did not work ({done.returncode}):\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    if attempts := log.read_text():
        raise Fault(f"reached for a network:\n{attempts[:4000]}")
    if tracer and (calls := _INTERNET.findall(trace.read_text(errors="replace"))):
        raise Fault("reached for a network:\n" + "\n".join(calls[:20]))
    written = [path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()]
    if rest := [name for name in written if not name.startswith(_CACHES)]:
        raise Fault(f"wrote into the user's home: {rest[:10]}")
    return "worked, also under strace" if tracer else "worked; strace is not installed"


def campaign(settings: Settings, tally: Tally) -> None:
    """Run the verbs in an order in which each finds what it needs."""
    from processes.blocked_network import VERBS, write_inputs

    folder, home = settings.folder / "work", settings.folder / "home"
    home.mkdir()
    folder.mkdir()
    write_inputs(folder)
    seen: dict[str, int] = {}
    for number, words in enumerate(VERBS[: settings.count]):
        seen[words[0]] = seen.get(words[0], 0) + 1
        tally.try_it(words[0], number, lambda words=words: attempt(words, folder, home), " ".join(words))


if __name__ == "__main__":
    sys.exit(main(campaign, __doc__, 100))
