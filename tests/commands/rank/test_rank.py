"""Scans in the order in which they are worth looking at, and those that cannot be ranked."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from small_sets import run

from medseg.commands.predict.options import PredictOptions
from medseg.commands.rank.options import RankOptions
from medseg.commands.rank.rank import rank_scans
from medseg.confidence.measures import CaseMeasures
from medseg.core.errors import MedsegError, ModelError
from medseg.core.image import Image
from medseg.inference.predictor import Predictor
from medseg.preprocessing.volume import Volume

pytestmark = pytest.mark.slow  # folds are trained, and scans segmented


@pytest.fixture
def workspace(judged: Path) -> Path:
    return judged


def test_rank_orders_scans_and_leaves_answers_to_start_from(workspace: Path) -> None:
    options = RankOptions(PredictOptions(device="cpu"))
    result = rank_scans(workspace / "new", workspace / "next", "toy", workspace, options)
    assert {scan.case for scan in result.order} == {"0", "1", "2"}
    assert (workspace / "next" / "0.nii.gz").exists()
    assert '"one"' in (workspace / "next" / "labels.itksnap.txt").read_text()
    assert "1 one 86 180 233 255" in (workspace / "next" / "labels.slicer.ctbl").read_text()
    with pytest.raises(ModelError, match="doubtful"):
        rank_scans(workspace / "new", workspace / "none", "toy/main", workspace, options)


def test_scans_that_cannot_be_answered_or_judged_are_named(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(workspace / "new", tmp_path / "scans")
    (tmp_path / "scans" / "broken.nii.gz").write_bytes(b"no scan")
    measure = Predictor.measures

    def measures(self: Predictor, volume: Volume, seen: Any, answer: Image, deep_folds: Any) -> CaseMeasures:
        if answer.shape_zyx[0] == 4:
            raise MedsegError("There is not enough memory.")  # as where the deepest layers do not fit
        return measure(self, volume, seen, answer, deep_folds)

    monkeypatch.setattr(Predictor, "measures", measures)
    thicker = np.random.default_rng(0).normal(size=(24, 24, 4)).astype(np.float32)
    nib.save(nib.Nifti1Image(thicker, np.eye(4)), tmp_path / "scans" / "thick.nii.gz")
    line = f"rank {tmp_path / 'scans'} {tmp_path / 'next'} --model toy --workspace {workspace} --device cpu"
    assert run(line) == 1
    shown = capsys.readouterr().out
    assert "1 case failed:\n  broken: " in shown
    assert "1 case not judged, and ranked first:\n  thick: " in shown
    with (tmp_path / "next" / "ranking.csv").open(newline="", encoding="utf-8") as file:
        first, *others = csv.DictReader(file)
    assert (first["case"], first["predicted_dice"], first["flags"]) == ("thick", "", "")
    assert {row["case"] for row in others} == {"0", "1", "2"}
    assert all(row["predicted_dice"] for row in others)
    (tmp_path / "scans" / "broken.nii.gz").unlink()
    assert run(line) == 1  # for want of a judgement alone
