"""A structure that no training case of a run holds is named when the run starts, whatever the plan is from."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from toy_workspace import write_toy_workspace

from medseg.commands.train.options import TrainOptions
from medseg.commands.train.train import train


@pytest.mark.parametrize(
    ("without", "words"),
    [
        ((0, 1), None),
        ((0, 1, 2), "(of the validation cases, 3 has it)"),
        ((0, 1, 2, 3), "(and no validation case either)"),
    ],
)
def test_a_structure_that_only_validation_cases_hold_is_named(tmp_path: Path, without, words) -> None:
    write_toy_workspace(tmp_path)
    for number in without:
        path = tmp_path / "data" / f"{number}_label.nii.gz"
        label = np.asarray(nib.load(path).dataobj)
        nib.save(nib.Nifti1Image(np.where(label == 2, 0, label).astype(np.uint8), np.eye(4)), path)
    result = train(None, tmp_path, TrainOptions(device="cpu", steps=2))
    named = [note for note in result.notes if note.startswith("no training case of this run holds")]
    if words is None:
        assert named == []
    else:
        (note,) = named
        assert words in note
        assert "cannot be learnt" in note
