"""Trains the run of a workspace in one forked process after the other, to be killed by the test or by themselves.

Reads requests from standard input, a line each: `WORKSPACE begin|resume [MOMENT]`; prints the process id of each, a
line when training begins, and how it ended. At a MOMENT the process kills itself: `checkpoint`, `third checkpoint`,
`weights` (these with half the file written), `before weights`, `validation`, `report`. The first request is done
without forking, so that what is loaded and compiled then is there for the others. Checkpoints are written all the
time, to a slow disk.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

import medseg
from medseg.commands.train import train as train_module
from medseg.delivery.pages import run_page
from medseg.training.run import checkpoint, fit

STEPS = 80


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def half(path: Path) -> None:
    """Leave half of what would have been written."""
    path.write_bytes(bytes(1000))
    die()


def arm(moment: str) -> None:
    """Have the process kill itself at a moment."""
    if moment in ("checkpoint", "third checkpoint"):
        saved, count = torch.save, itertools.count(1)

        def save(state: dict[str, Any], path: Path) -> None:
            saved(state, path)
            if next(count) == 3 if moment == "third checkpoint" else state["step"] > STEPS // 2:
                half(path)

        checkpoint.torch.save = save  # type: ignore[attr-defined]
    elif moment == "before weights":
        train_module.save_weights = die  # type: ignore[attr-defined]
    elif moment == "weights":
        safetensors.torch.save_file = lambda weights, path: half(Path(path))
    elif moment == "report":
        run_page.write_report = die  # type: ignore[assignment]


def train(workspace: str, how: str, moment: str) -> None:
    arm(moment)

    begun = False  # notes come before the run is recorded, and are no sign that it is

    def callback(event: medseg.Progress) -> None:
        nonlocal begun
        if event.stage == "train" and "note" not in event.info and not begun:
            begun = True
            say(0)
        if (event.stage, event.done) == ("validate", 1) and moment == "validation":
            die()

    options = medseg.TrainOptions(steps=STEPS if how == "begin" else None, resume=how == "resume", device="cpu")
    medseg.train(None, workspace, options, callback)


def say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def main() -> None:
    torch.set_num_threads(1)
    fit.CHECKPOINT_SECONDS = -1.0
    confirm = os.fsync

    def slowly(file: int) -> None:
        time.sleep(0.02)
        confirm(file)

    checkpoint.os.fsync = slowly  # type: ignore[attr-defined]
    for number, line in enumerate(sys.stdin):
        workspace, how, moment = [*line.rstrip("\n").split("\t"), ""][:3]
        process = os.fork() if number else 0
        if process or not number:
            say(process)
        if process == 0:
            try:
                train(workspace, how, moment)
            except BaseException as error:
                sys.stderr.write(f"{error!r}\n")
                sys.stderr.flush()
                os._exit(1)
            if number:
                os._exit(0)
        say(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) if process else 0)


if __name__ == "__main__":
    main()
