"""Scores of a validation on the terminal: few lines, the worst structures first where there are many, 80 columns."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from medseg.cli.output import display
from medseg.cli.output.validation import validation_lines
from medseg.core.progress import Progress


def test_of_many_structures_the_worst_are_shown_and_the_others_counted() -> None:
    dice: dict[str, float | None] = {f"organ {number}": 0.95 - number / 100 for number in range(20)}
    dice["rare"] = None
    lines = validation_lines(100, 1000, {"dice": dice, "iou": dice})
    assert lines[0] == "step 100 of 1000: mean Dice 0.855"
    assert [line.split("  ")[1] for line in lines[2:8]] == [f"organ {number}" for number in range(19, 13, -1)]
    assert lines[8:] == ["  14 more, Dice 0.820 or better; 1 in none of these cases"]


def test_scores_of_training_cases_stand_beside_the_others() -> None:
    scores = {"liver": 0.5}
    record = {"dice": scores, "iou": scores, "train_dice": {"liver": 0.75}, "train_iou": {"liver": 0.625}, "loss": -0.5}
    assert validation_lines(1, 2, record) == [
        "step 1 of 2: mean Dice 0.500, validation loss -0.500",
        "  structure    Dice     IoU   train Dice   train IoU",
        "  liver       0.500   0.500        0.750       0.625",
    ]


def test_without_any_structure_it_says_so() -> None:
    lines = validation_lines(1, 2, {"dice": {"a": None, "b": None}})
    assert lines[0] == "step 1 of 2: no structure in these cases"


@pytest.mark.parametrize("name", ["x" * 200, "肝臓の腫瘍" * 20, "[red]a"])
def test_lines_fit_80_columns(name: str) -> None:
    scores = {name: 0.123456, "b": None}
    record = {"dice": scores, "iou": scores, "train_dice": scores, "train_iou": scores, "loss": 1234.5}
    lines = validation_lines(10**6, 10**6, record)
    assert max(map(cell_len, lines)) < 80
    assert len({cell_len(line) for line in lines[1:]}) == 1  # columns stand below each other


def test_a_validation_is_printed_when_it_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    with display.progress_display() as show:
        show(Progress("train", 10, 20, {"loss": 0.5}))
        show(Progress("train", 10, 20, {"a [b]": 0.25, "validation": {"dice": {"a [b]": 0.25}}}))
    assert capsys.readouterr().out.splitlines() == [
        "step 10 of 20: mean Dice 0.250",
        "  structure    Dice",
        "  a [b]       0.250",
    ]
