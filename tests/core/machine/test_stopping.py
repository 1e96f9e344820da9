"""Real signals, in a process of their own that runs a verb made for it."""

import subprocess
import sys
from signal import SIGHUP, SIGINT, SIGTERM

import pytest

CHILD = """
import atexit, os, signal, sys
from types import ModuleType
from medseg.cli.app import VERBS, main
from medseg.core.machine import stopping

number, moment = int(sys.argv[1]), sys.argv[2]

def stop():
    os.kill(os.getpid(), number)

def let_time_pass():  # so that the next signal is no echo of the one before
    stopping._LastSignal.time = -1e9

def verb():
    \"\"\"Be stopped.\"\"\"
    if moment == "at the end":
        atexit.register(lambda: (let_time_pass(), stop(), print("lived on")))
    try:
        stop()
        print("nothing was said")
    finally:
        if moment == "later":
            let_time_pass()
        if moment in ("passed on", "later"):
            stop()
        print("tidied up")

if moment == "ignored":
    signal.signal(number, signal.SIG_IGN)
module = sys.modules["medseg.cli.verb_of_test"] = ModuleType("verb_of_test")
module.command = verb
VERBS["verb"] = "verb_of_test:command"
sys.argv = ["medseg", "verb"]
main()
"""


CODES = {SIGINT: 130, SIGTERM: 2, SIGHUP: 2}


def run(number: int, moment: str) -> tuple[int, list[str], str]:
    """Exit code, lines said by the verb, and messages."""
    # the handler of SIGINT may be inherited as one that ignores it
    begin = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    command = [sys.executable, "-c", begin + CHILD, str(int(number)), moment]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize("number", [SIGINT, SIGTERM, SIGHUP])
@pytest.mark.parametrize("moment", ["once", "passed on", "at the end"])
def test_a_verb_that_is_stopped_says_so_with_a_code_of_its_own(number: int, moment: str) -> None:
    code, said, messages = run(number, moment)
    assert (code, said) == (CODES[number], ["tidied up"])
    first, second = " ".join(messages.split()).split("hint: ")
    assert first.strip() == "error: Stopped."
    assert "`medseg train` with --resume" in second


@pytest.mark.parametrize("number", [SIGINT, SIGTERM, SIGHUP])
def test_a_second_time_interrupts_whatever_is_left_to_do(number: int) -> None:
    code, said, messages = run(number, "later")
    assert (code, said) == (CODES[number], [])
    assert messages.startswith("error: Stopped.")


@pytest.mark.parametrize("number", [SIGINT, SIGTERM, SIGHUP])
def test_what_the_caller_ignores_stays_ignored(number: int) -> None:
    assert run(number, "ignored") == (0, ["nothing was said", "tidied up"], "")
