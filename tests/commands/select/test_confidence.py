"""From out-of-fold answers to calibrated probabilities and flags: select, predict, package."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from judged_workspace import CASES
from toy_workspace import toy_plan

from medseg.commands.models.package import package
from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.predict import predict
from medseg.delivery.answers.options import Maps
from medseg.io.images import read_image, read_label
from medseg.selection.file import read_selection
from medseg.selection.record import Averaging

pytestmark = pytest.mark.slow  # folds are trained, and scans segmented six times


FILE = Path("runs") / "toy" / "selection.yaml"


@pytest.fixture
def workspace(judged: Path) -> Path:
    return judged


def answered(workspace: Path, output: str, model: str | Path = "toy", **options: object) -> Path:
    options = {"device": "cpu", **options}
    result = predict(workspace / "new", workspace / output, model, workspace, PredictOptions(**options))
    assert not result.failed
    return workspace / output


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "volumes.csv").open(newline="", encoding="utf-8") as file:
        return [*csv.DictReader(file)]


def test_the_selection_holds_temperatures_and_what_answers_are_judged_by(workspace: Path) -> None:
    selection = read_selection(workspace / FILE)
    assert selection is not None
    assert selection.calibration is not None
    assert selection.quality is not None
    assert selection.calibration.cases == selection.quality.evidence.cases == CASES
    assert len(selection.calibration.temperatures) == 1
    assert [member.averaging for member in selection.members] == [Averaging.of(toy_plan().inference)]
    assert set(selection.quality.reference.volume) == {"one", "two"}
    page = (workspace / "runs" / "toy" / "selection.html").read_text()
    assert "Do probabilities mean what they say?" in page
    assert "What flags are worth" in page


def test_probabilities_are_calibrated_and_labels_stay(workspace: Path) -> None:
    selection = read_selection(workspace / FILE)
    assert selection is not None
    assert selection.calibration is not None
    (temperature,) = selection.calibration.temperatures
    assert selection.calibration.biases, "so that both are tested"
    background, bias, _ = selection.calibration.biases
    assert background == 0
    maps = Maps(probabilities=True)
    calibrated, plain = (
        answered(workspace, name, maps=maps, folds=folds)
        for name, folds in (("calibrated", None), ("plain", ["0", "1"]))
    )
    for number in range(3):
        labels = [read_label(folder / f"{number}.nii.gz").array for folder in (calibrated, plain)]
        assert np.array_equal(*labels)
        one, two = (
            np.stack(
                [read_image(folder / "probabilities" / str(number) / f"{name}.nii.gz").array for name in ("one", "two")]
            )
            for folder in (calibrated, plain)
        )
        odds = [np.log(np.clip(p[0], 1e-9, 1) / np.clip(1 - p.sum(0), 1e-9, 1)) for p in (one, two)]
        clear = np.all(
            [(p.min(0) > 0.02) & (p.sum(0) < 0.98) for p in (one, two)], axis=0
        )  # steps of 1/65535 blur the logarithm of less
        assert clear.any()
        np.testing.assert_allclose(odds[0][clear], odds[1][clear] / temperature + bias, atol=0.02)
    manifest = json.loads((calibrated / "manifest.json").read_text())
    assert str(temperature) in json.dumps(manifest)
    assert str(bias) in json.dumps(manifest)


def test_flags_stand_in_table_page_and_ledger(workspace: Path) -> None:
    folder = answered(workspace, "out")
    table = rows(folder)
    assert [*table[0]][-6:] == ["low", "high", "dice", "dice_low", "dice_high", "flags"]
    spoilt = [row for row in table if row["case"] == "2"]
    assert any(row["flags"] for row in spoilt)
    for row in table:
        if row["low"]:
            assert float(row["low"]) <= float(row["high"])
        if row["dice_low"]:
            assert 0 <= float(row["dice_low"]) <= float(row["dice_high"]) <= 1
    assert any(row["low"] for row in table)
    page = (folder / "quality.html").read_text()
    assert "Quality of the answers" in page
    lines = [json.loads(line) for line in (folder / "predict.jsonl").read_text().splitlines()]
    assert all("quality" in line for line in lines if "case" in line)


def test_what_was_judged_before_is_kept(workspace: Path) -> None:
    folder = answered(workspace, "kept")
    before = rows(folder)
    (folder / "2.nii.gz").unlink()
    assert rows(answered(workspace, "kept", keep_finished=True)) == before


def test_a_package_judges_as_the_runs_do(workspace: Path) -> None:
    package(None, workspace / "model.medseg", workspace)
    one = rows(answered(workspace, "from_runs"))
    two = rows(answered(workspace, "from_package", workspace / "model.medseg"))
    assert one == two


def test_without_mirrored_copies_answers_are_judged_as_well(workspace: Path) -> None:
    table = rows(answered(workspace, "plain_copies", mirror=False))
    assert any(row["dice"] for row in table)
