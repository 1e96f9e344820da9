"""Runs of seconds: a length in epochs, and weights of structures, cases and patches through a whole run."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from toy_workspace import write_toy_workspace

import medseg
from medseg.core.case import read_cases, write_cases
from medseg.core.errors import PlanError
from medseg.models.run_files import FoldFolder
from medseg.training.length.extension import Extension
from medseg.training.run.log import read_log

SETTINGS = [
    "training.loss={sum: [dice_ce, {name: cldice, weight: [0, 0.5]}]}",
    "training.class_weights={two: 3, background: 0.5}",
    "training.sampling={two: 2}",
    "training.optimizer=adam",
    "training.schedule=cosine",
]


@pytest.mark.slow
def test_a_run_in_epochs_with_every_weight_and_its_continuation(tmp_path: Path) -> None:
    """Three training cases of three slices: an epoch is nine samples, which are 4.5 steps of two."""
    write_toy_workspace(tmp_path)
    table = tmp_path / "plans" / "toy.cases.csv"
    header, *rows = table.read_text().splitlines()
    table.write_text(
        "\n".join([f"{header},loss_weight", *(f"{row},{0.5 + number}" for number, row in enumerate(rows))])
    )
    options = medseg.TrainOptions(fold="0", epochs=2, device="cpu", overrides=SETTINGS)
    result = medseg.train("toy", tmp_path, options)
    assert result.record.steps == 9
    assert "2 epochs are 9 steps: 9 slices in batches of 2" in result.notes
    assert "loss_weight" in table.read_text()
    extended = medseg.train("toy", tmp_path, medseg.TrainOptions(fold="0", extend=Extension(steps=3), device="cpu"))
    assert extended.record.steps == 12
    changed = medseg.TrainOptions(fold="0", resume=True, device="cpu", overrides=["training.epochs=3"])
    with pytest.raises(PlanError, match=r"training\.epochs: .*--extend trains a finished run further"):
        medseg.train("toy", tmp_path, changed)


@pytest.mark.slow
def test_epochs_of_the_plan_count_unless_an_option_says_otherwise(tmp_path: Path) -> None:
    write_toy_workspace(tmp_path)
    options = medseg.TrainOptions(fold="0", device="cpu", overrides=["training.epochs=0.5"])
    assert medseg.train("toy", tmp_path, options).record.steps == 3


def test_steps_that_epochs_override_are_refused(tmp_path: Path) -> None:
    write_toy_workspace(tmp_path)
    both = ["training.steps=7", "training.epochs=3"]
    with pytest.raises(PlanError, match=r"--set training\.steps has no effect: training\.epochs is 3, which counts"):
        medseg.train("toy", tmp_path, medseg.TrainOptions(device="cpu", overrides=both))
    as_steps = [*both, "training.epochs=null"]
    assert medseg.train("toy", tmp_path, medseg.TrainOptions(device="cpu", overrides=as_steps)).record.steps == 7


@pytest.mark.parametrize("column", ["weight", "loss_weight"])
def test_cases_without_weight_are_measured_but_nothing_is_learnt_of_them(tmp_path: Path, column: str) -> None:
    write_toy_workspace(tmp_path)
    for number in (1, 2):
        path = tmp_path / "data" / f"{number}_label.nii.gz"
        label = np.asarray(nib.load(path).dataobj)
        nib.save(nib.Nifti1Image(np.where(label == 2, 0, label).astype(np.uint8), np.eye(4)), path)
    table = tmp_path / "plans" / "toy.cases.csv"
    cases = read_cases(table, tmp_path / "data")
    write_cases(table, [replace(case, **{column: float(case.id in "12")}) for case in cases], tmp_path / "data")
    result = medseg.train("toy", tmp_path, medseg.TrainOptions(steps=4, device="cpu"))
    assert any(note.startswith("only training cases with the weight 0 hold two (0): it") for note in result.notes)
    validations = [record for record in read_log(FoldFolder(result.folder).log) if record["kind"] == "validation"]
    assert validations
    assert all(record["loss"] > -2 for record in validations), "the case that is kept apart has no weight either"


@pytest.mark.parametrize("epochs", [0.0, -1.0, float("nan"), float("inf")])
def test_no_epochs_are_refused(epochs: float, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"--epochs is .*; expected a number above 0"):
        medseg.train("toy", tmp_path, medseg.TrainOptions(epochs=epochs))
    with pytest.raises(PlanError, match="--steps and --epochs were given"):
        medseg.train("toy", tmp_path, medseg.TrainOptions(epochs=2.0, steps=3))
