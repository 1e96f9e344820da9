"""`medseg doctor`: it knows every extra, names what is missing, and finds what does not work."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from medseg.commands.machine import doctor as module
from medseg.commands.machine.doctor import EXTRAS, doctor


def test_every_extra_for_users_has_a_purpose() -> None:
    assert set(EXTRAS) == set(metadata.metadata("medseg").get_all("Provides-Extra") or []) - {"test", "dev", "docs"}


def test_what_it_finds_here() -> None:
    result = doctor(speed=False)
    assert result.speeds == ()
    assert torch.__version__.startswith(result.versions["torch"])  # less `+cu128`, which some builds leave out
    assert result.devices[-1].name == "cpu"
    assert result.devices[-1].free_gb <= result.devices[-1].memory_gb
    assert set(result.extras) == set(EXTRAS)
    assert result.cores >= 1


def test_packages_that_are_missing_or_too_old_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"onnx": "1.15", "onnxruntime": "1.20"}

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(module.metadata, "version", version)
    assert module._missing("onnx") == ("onnx>=1.16", "onnxscript>=0.5")
    assert "numpy>=1.26" in module._missing("")
    monkeypatch.setattr(module, "_requirements", lambda: ["odd; python_version >= '3'", "old; python_version < '3'"])
    assert (module._missing(""), module._missing("onnx")) == (("odd",), ()), "markers of the machine are no extra's"


def test_a_package_that_is_there_and_fails_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    (problem,) = [problem for problem in doctor(speed=False).problems if "torchvision" in problem]
    assert problem == (
        "torchvision is installed but cannot be imported: operator torchvision::nms does not exist. Reinstall it."
    )


def test_the_speed_is_measured_in_each_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SPEED_SECONDS", 0.0)
    monkeypatch.setattr(module, "_FEATURES", [2, 4])
    result = doctor()
    assert [speed.precision for speed in result.speeds] == list(dict.fromkeys(("fp32", result.devices[0].precision)))
    assert all(speed.steps == 1 and speed.seconds_per_step > 0 for speed in result.speeds)


def test_a_device_that_fails_is_a_problem_and_the_rest_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(
            "CUDA error: all CUDA-capable devices are busy or unavailable\nCompile with TORCH_USE_CUDA_DSA"
        )

    monkeypatch.setattr(module, "_speeds", fail)
    result = doctor()
    assert result.problems == ("The device cpu fails: CUDA error: all CUDA-capable devices are busy or unavailable.",)
    assert result.devices[-1].name == "cpu"


def test_a_copy_that_is_not_installed_is_said_to_be_unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(module.metadata, "requires", requires)
    result = doctor(speed=False)
    assert result.extras == {}
    assert "not checked" in result.notes[0]
