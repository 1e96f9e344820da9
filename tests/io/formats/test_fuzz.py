"""Damaged files end in an image or a message, in little time and memory.

These are few of them; `python tests/helpers/fuzz.py --count 1000` makes as many as one likes.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
from paths import HELPERS

FUZZ = HELPERS / "fuzz.py"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does")
def test_a_hundred_damaged_files_of_each_format():
    command = [sys.executable, "-W", "ignore", FUZZ, "--inside", "--count", "100", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, f"{done.stdout}\nthe last file was {done.stderr.strip()[-200:]}"
    assert done.stdout.count(": 100 damaged files, 0 failures") >= 19
