"""A few tries of every campaign, so that the scripts work; docs/development/campaigns.md has figures of whole ones."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

TRIES = {"kills": 2, "packages": 5, "plans": 5, "shuffled": 5, "sockets": 2, "dicom_studies": 28}


def test_the_lower_bound_of_every_extra_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    versions = importlib.import_module("versions")
    names = {re.split("[>=;]", text)[0] for text in versions.requirements()}
    content = (versions.ROOT / "pyproject.toml").read_text()
    listed = content.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = re.findall(r"^(\w+) = \[(.*?)\]", listed, re.MULTILINE | re.DOTALL)
    assert len(extras) > 10
    for extra, section in extras:
        needed = {re.split("[>=;]", text)[0] for text in re.findall(r'"([^"]+)"', section)}
        assert extra in versions.NOT_NEEDED or needed <= names, extra


@pytest.mark.slow
@pytest.mark.parametrize("name", TRIES)
def test_a_few_tries_go_well(name: str) -> None:
    script = Path(__file__).with_name(f"{name}.py")
    command = [sys.executable, str(script), "--count", str(TRIES[name])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
