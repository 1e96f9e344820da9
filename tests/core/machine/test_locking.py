"""Locks of two processes, of which one may be killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from medseg.core.errors import MedsegError
from medseg.core.machine.locking import locked

HOLDER = """
import sys, time
from pathlib import Path
from medseg.core.machine.locking import locked
with locked(Path(sys.argv[1]), "It"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_another_process_holds_it_until_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "folder" / ".lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        words = rf"It is in use by another process \(process {holder.pid}\)"
        with pytest.raises(MedsegError, match=words), locked(path, "It"):
            pytest.fail("it is not this process's")
        assert path.exists()
        os.kill(holder.pid, signal.SIGKILL)
    assert path.exists()
    with locked(path, "It"):
        assert path.read_text() == str(os.getpid())
    assert not path.exists()


def test_it_is_given_back_after_an_error_and_can_be_had_again(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    for _ in range(2):
        with pytest.raises(MedsegError, match="It is in use"), locked(path, "It"), locked(path, "It"):
            pytest.fail("it was given twice")
        assert not path.exists()


def test_a_place_that_takes_no_lock_file_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with locked(tmp_path / "file" / ".lock", "It"):
        pass
