"""Real signals, in a process of their own: one that has loaded every library of the tests need not survive them."""

import subprocess
import sys

import pytest

CHILD = """
import os, signal, sys
from medseg.training.run.interrupt import Interrupts
number, heeded = int(sys.argv[1]), sys.argv[2] == "heeded"
with Interrupts(heeded) as interrupts:
    try:
        with interrupts.held():
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)  # torchrun passes on what its processes have had already
            print("the step came to its end")
        print("nothing was said")
        os.kill(os.getpid(), number)
        print("nothing was said")
    except KeyboardInterrupt:
        print("interrupted")
print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
"""


@pytest.mark.parametrize("number", [2, 15], ids=["SIGINT", "SIGTERM"])
def test_a_signal_waits_for_the_end_of_a_step(number: int) -> None:
    assert said(number, "heeded") == ["the step came to its end", "interrupted", "True"]


def test_signals_are_left_to_another_process() -> None:
    assert said(15, "ignored") == ["the step came to its end", "nothing was said", "nothing was said", "True"]


def said(number: int, how: str) -> list[str]:
    command = [sys.executable, "-c", CHILD, str(number), how]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
