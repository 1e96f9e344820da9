"""Runs of seconds: a length in epochs, and weights of structures, cases and patches through a whole run."""

from pathlib import Path

import pytest
from toy_workspace import write_toy_workspace

import medseg
from medseg.core.errors import PlanError
from medseg.training.length.extension import Extension

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


@pytest.mark.parametrize("epochs", [0.0, -1.0, float("nan"), float("inf")])
def test_no_epochs_are_refused(epochs: float, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"--epochs is .*; expected a number above 0"):
        medseg.train("toy", tmp_path, medseg.TrainOptions(epochs=epochs))
    with pytest.raises(PlanError, match="--steps and --epochs were given"):
        medseg.train("toy", tmp_path, medseg.TrainOptions(epochs=2.0, steps=3))
