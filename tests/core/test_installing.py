"""The command that installs an extra names the copy of the repository that medseg runs from."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from paths import ROOT

from medseg.core import installing


def test_a_copy_of_the_repository_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert shlex.split(installing.pip_install("dicom")) == ["pip", "install", f"{ROOT}[dicom]"]
    monkeypatch.chdir(ROOT)
    assert installing.pip_install("dicom") == "pip install '.[dicom]'"


def test_an_installed_package_is_named_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(installing, "_ROOT", tmp_path)
    assert installing.pip_install("dicom") == "pip install 'medseg[dicom]'"
