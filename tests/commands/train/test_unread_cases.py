"""A case that cannot be read ends no run, and the page of the run names it."""

from __future__ import annotations

import json
from pathlib import Path

from medseg.commands.train.train import TrainOptions, train
from medseg.core.files import write_json


def test_cases_that_cannot_be_read_are_named_in_scores_and_report(workspace: Path) -> None:
    write_json(workspace / "plans" / "toy.splits.json", [{"train": ["0", "1"], "val": ["2", "3"]}])
    for case in ("1", "3"):
        (workspace / "data" / f"{case}_image.nii.gz").write_bytes(b"damaged")
    result = train("toy", workspace, TrainOptions(steps=2, device="cpu"))
    assert result.failed.keys() == {"1", "3"}
    fold = workspace / "runs" / "toy" / "main" / "fold_0"
    failed = json.loads((fold / "validation" / "metrics.json").read_text())["failed"]
    assert failed.keys() == {"3"}
    report = (fold / "report.html").read_text()
    assert "not trained on 1: " in report
    assert "3_image.nii.gz" in report
