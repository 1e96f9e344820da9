"""A few tries of every campaign, so that the scripts work; docs/development/campaigns.md has figures of whole ones."""

import subprocess
import sys
from pathlib import Path

import pytest

TRIES = {"kills": 2, "packages": 5, "plans": 5, "shuffled": 5, "sockets": 2, "dicom_studies": 28}


@pytest.mark.slow
@pytest.mark.parametrize("name", TRIES)
def test_a_few_tries_go_well(name: str) -> None:
    script = Path(__file__).with_name(f"{name}.py")
    command = [sys.executable, str(script), "--count", str(TRIES[name])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
