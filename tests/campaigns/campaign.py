"""What the campaigns share: commands in forked processes with limits, and a table of what became of each try.

A campaign is a script, `python tests/campaigns/NAME.py --count N --seed S`, that tries N things and ends with the exit
code 0 only if none failed. Try number k of a seed is always the same; `--number k` repeats it alone.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: processes are forked, and nets are tiny
HELPERS = Path(__file__).parents[1] / "helpers"
sys.path[1:1] = [str(HELPERS), str(HELPERS.parents[1])]  # this copy of medseg, wherever else one is installed

import numpy as np  # noqa: E402 (after OMP_NUM_THREADS)

SECONDS = 90.0
"""Time for a command; commands on these tiny sets take some seconds, on a machine that does other work too."""
MORE_BYTES = 4 << 30
"""Address space that a command may claim beyond that of this process."""
FILE_BYTES = 1 << 30
"""Largest file that a command may write."""
_TRACEBACK = "Traceback (most recent call last)"
_WARNING = re.compile(r"^\S+\.py:\d+: \w*Warning", re.MULTILINE)


class Fault(Exception):
    """What must not happen; the message says what happened."""


@dataclass(frozen=True)
class Answer:
    """What became of a command.

    Attributes:
        code: its exit code; minus the number of the signal that ended it.
        text: what it printed.
        overdue: whether it had to be ended.
    """

    code: int
    text: str
    overdue: bool = False


def load_everything() -> None:
    """Import medseg and torch in this process, for the forked ones; torch starts no threads here."""
    import importlib
    import pkgutil

    import torch

    import medseg

    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(medseg.__path__, "medseg."):
        if module.name != "medseg.__main__":
            importlib.import_module(module.name)


def run(
    words: Sequence[str | Path],
    folder: Path,
    before: Callable[[], None] = lambda: None,
    seconds: float = SECONDS,
    more_bytes: int | None = MORE_BYTES,
) -> Answer:
    """Run a command of medseg in a forked process with limits.

    Args:
        words: the command line, without `medseg`.
        folder: where it runs.
        before: called in the process before the command.
        seconds: after this time it is killed, with all its children.
        more_bytes: address space beyond that of this process; None for no limit.
    """
    with tempfile.TemporaryFile("w+b") as output:
        sys.stdout.flush()
        sys.stderr.flush()
        process = os.fork()
        if process == 0:
            _become(words, folder, before, output.fileno(), more_bytes)
        code, overdue = _wait(process, seconds)
        output.seek(0)
        return Answer(code, output.read().decode("utf-8", "replace"), overdue)


def _become(
    words: Sequence[str | Path], folder: Path, before: Callable[[], None], output: int, more_bytes: int | None
) -> None:
    """Be the command, in the forked process."""
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        os.dup2(output, 1)
        os.dup2(output, 2)
        if more_bytes is not None:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more_bytes,) * 2)
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES,) * 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.argv = ["medseg", *map(str, words)]
        before()
        from medseg.cli.app import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(process: int, seconds: float) -> tuple[int, bool]:
    """Wait for a process; returns its exit code, and whether it had to be killed."""
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), False
        if time.monotonic() > end:
            os.killpg(process, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), True
        time.sleep(0.005)


def outcome(answer: Answer) -> str:
    """Return how a command ended: worked, worked in part, or refused in one message.

    Raises:
        Fault: it ended in any other way.
    """
    if answer.overdue:
        raise Fault(f"did not end in time:\n{answer.text[-2000:]}")
    if _TRACEBACK in answer.text or answer.code not in (0, 1, 2):
        raise Fault(f"exit code {answer.code}:\n{answer.text[-4000:]}")
    if _WARNING.search(answer.text):
        raise Fault(f"a warning of a library reached the user:\n{answer.text[-2000:]}")
    if answer.code < 2:
        return ("worked", "worked in part")[answer.code]
    messages = re.findall(r"^(?:error: |Error: |.*│ )", answer.text, re.MULTILINE)
    if not messages or sum(message.startswith("error: ") for message in messages) > 1:
        raise Fault(f"exit code 2 without one message:\n{answer.text[-2000:]}")
    return "refused"


@dataclass
class Tally:
    """The table of a campaign.

    Attributes:
        counts: {kind of try: {outcome: how often}}.
        faults: what failed, in words.
    """

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def add(self, kind: str, result: str) -> None:
        """Count a try."""
        self.counts.setdefault(kind, Counter())[result] += 1

    def try_it(self, kind: str, number: int, attempt: Callable[[], str], what: str = "") -> None:
        """Count what an attempt returns; a `Fault`, or any other error, is printed and counted as failed."""
        try:
            self.add(kind, attempt())
        except Exception as error:
            self.add(kind, "FAILED")
            text = str(error) if isinstance(error, Fault) else traceback.format_exc()
            self.faults.append(f"{kind}, number {number}")
            _say(f"--- {kind}, number {number}: {what}\n{text.rstrip()}")

    def __str__(self) -> str:
        """Return the table, as Markdown."""
        results = sorted({result for counter in self.counts.values() for result in counter if result != "FAILED"})
        lines = [f"| | tries | {' | '.join(results)} | failures |", "|---" * (len(results) + 3) + "|"]
        total: Counter[str] = Counter()
        for kind, counter in [*sorted(self.counts.items()), ("all", total)]:
            total.update(counter if kind != "all" else {})
            cells = [counter.total(), *(counter[result] for result in results), counter["FAILED"]]
            lines.append(f"| {kind} | {' | '.join(map(str, cells))} |")
        return "\n".join(lines)


@dataclass(frozen=True)
class Settings:
    """What a campaign was started with.

    Attributes:
        count: how many tries.
        seed: of the random numbers.
        number: the only try that is wanted; None for all.
        folder: where it works.
    """

    count: int
    seed: int
    number: int | None
    folder: Path

    def tries(self) -> Iterator[tuple[int, np.random.Generator]]:
        """Yield the number of every try, and its random numbers."""
        start_time = time.monotonic()
        for number in range(self.count) if self.number is None else [self.number]:
            yield number, np.random.default_rng([self.seed, number])
            if (number + 1) % 50 == 0:
                sys.stderr.write(f"{number + 1} of {self.count}, {time.monotonic() - start_time:.0f} s\n")


def main(campaign: Callable[[Settings, Tally], None], description: str | None, count: int) -> int:
    """Run a campaign as its command line says, print the table, and return the exit code.

    Args:
        campaign: makes the tries.
        description: of the script.
        count: how many tries, unless the command line says otherwise.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=count, help="tries (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--number", type=int, help="only this try, to look at what it prints")
    parser.add_argument("--keep", type=Path, help="folder to work in, which is kept (default: a temporary one)")
    words = parser.parse_args()
    folder = words.keep or Path(tempfile.mkdtemp(prefix="campaign-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        parser.error(f"{folder} is not empty")
    start_time, tally = time.monotonic(), Tally()
    try:
        campaign(Settings(words.count, words.seed, words.number, folder.resolve()), tally)
    finally:
        if words.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    _say(f"{tally}\n\nseed {words.seed}, {time.monotonic() - start_time:.0f} s")
    for fault in tally.faults:
        _say(f"failed: {fault}")
    return int(bool(tally.faults))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
