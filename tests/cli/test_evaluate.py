"""`medseg evaluate` on the terminal."""

import numpy as np
import pytest
import typer

from medseg.cli.evaluate import command
from medseg.commands.evaluate.options import EvaluateOptions

MASK = np.array([[[0, 1], [1, 1]]], dtype=np.uint8)


def test_odd_names_and_cases_without_a_counterpart_are_printed(tmp_path, save_nifti, capsys):
    predictions, references = tmp_path / "out [bold]", tmp_path / "labels"
    for case in ("a", "only [predicted]"):
        save_nifti(predictions / f"{case}.nii.gz", MASK)
    for case in ("a", "[b]"):
        save_nifti(references / f"{case}.nii.gz", MASK)
    with pytest.raises(typer.Exit) as done:
        command(prediction=predictions, reference=references, options=EvaluateOptions(allow_missing=True))
    printed = capsys.readouterr().out.splitlines()
    assert done.value.exit_code == 0
    assert "1 without prediction, counted: [b]" in printed
    assert "1 without reference, not scored: only [predicted]" in printed
    assert f"  {predictions / 'metrics.json'}" in printed

    with pytest.raises(typer.Exit) as done:
        command(prediction=predictions, reference=references, options=EvaluateOptions())
    assert done.value.exit_code == 1
    assert "[b]: there is no prediction of this name" in capsys.readouterr().out
