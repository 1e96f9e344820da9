"""Which model it is: equal for equal models, wherever they lie."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from medseg.models.identity import identity
from medseg.models.open import load_model
from medseg.models.run_files import WEIGHTS

CPU = torch.device("cpu")


def of(folder: Path, folds: list[str] | None = None, overrides: list[str] | None = None) -> str:
    return identity(load_model(folder, CPU, folds, overrides))


def test_a_copy_is_the_same_model(small_model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(small_model, tmp_path / "elsewhere" / "main")
    assert of(copy) == of(small_model)


def test_whatever_changes_the_answer_makes_another_model(small_model: Path, tmp_path: Path) -> None:
    everything = of(small_model)
    others = {
        of(small_model, ["0"]),
        of(small_model, ["1"]),
        of(small_model, ["1", "0"]),
        of(small_model, None, ["configurations.main.spacing_mm=[1.0, 1.0, 1.0]"]),
    }
    assert len(others | {everything}) == 5
    assert of(small_model, None, ["inference.mirror=true"]) == everything, "how it is used is told apart elsewhere"


@pytest.mark.parametrize("changed", [0, -1])
def test_a_single_weight_makes_another_model(small_model: Path, tmp_path: Path, changed: int) -> None:
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(small_model, tmp_path / "copy" / "main")
    weights = load_file(copy / "fold_0" / WEIGHTS)
    name = sorted(weights)[changed]
    weights[name].view(-1)[changed] += 1e-4
    save_file(weights, copy / "fold_0" / WEIGHTS)
    assert of(copy) != of(small_model)
