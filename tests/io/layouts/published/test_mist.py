"""MIST's JSON file: a folder for each case, whose files are told apart by words in their names."""

import json
from pathlib import Path

import numpy as np
import pytest

from medseg.core.errors import DataError
from medseg.io.layouts.find import find_cases


@pytest.fixture
def folder(tmp_path: Path, save_nifti) -> Path:
    one = np.ones((2, 3, 4), np.uint8)
    for case in ("p1", "p2", "p3"):
        for kind in ("ct", "mask"):
            save_nifti(tmp_path / f"raw/train/{case}/{case}_{kind}.nii.gz", one)
    return tmp_path


def write(folder: Path, **others: object) -> None:
    content = {
        "task": "liver",
        "modality": "ct",
        "train-data": "raw/train",
        "mask": ["mask.nii.gz"],
        "images": {"ct": ["ct.nii.gz"]},
        "labels": [0, 1, 2],
        "final_classes": {"liver": [1], "all": [1, 2]},
    }
    (folder / "liver.json").write_text(json.dumps(content | others))


@pytest.mark.parametrize("absolute", [False, True])
def test_cases_channels_and_structures(folder, absolute):
    write(folder, **({"train-data": str(folder / "raw/train")} if absolute else {}))
    data = find_cases(folder)
    assert (data.layout, data.channels, [case.id for case in data.cases]) == ("mist", ("ct",), ["p1", "p2", "p3"])
    assert data.cases[0].label == folder / "raw/train/p1/p1_mask.nii.gz"
    assert dict(data.labels.structures) == {"liver": 1, "label_2": 2}
    assert any("no structures of the plan: all (1, 2)" in note for note in data.problems)


def test_cases_without_a_file_or_with_several_are_named(folder):
    write(folder)
    (folder / "raw/train/p2/p2_mask.nii.gz").unlink()
    (folder / "raw/train/p3/other_ct.nii.gz").write_bytes((folder / "raw/train/p3/p3_ct.nii.gz").read_bytes())
    data = find_cases(folder)
    assert [case.id for case in data.cases] == ["p1"]
    text = "\n".join(data.problems)
    assert "p2: there is no mask in" in text
    assert "p3: other_ct.nii.gz and p3_ct.nii.gz may each be ct" in text


def test_a_file_is_not_scan_and_mask_at_once(folder):
    write(folder, mask=["ct.nii"])
    with pytest.raises(DataError, match="is meant by two of ct, mask"):
        find_cases(folder)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"train-data": "elsewhere"}, "train-data is 'elsewhere'"),
        ({"mask": []}, "mask is"),
        ({"images": {"ct": [1]}}, r"images\.ct is"),
        ({"labels": [0]}, "labels is"),
        ({"final_classes": {"x": [9]}}, "final_classes is"),
    ],
)
def test_what_is_not_valid_is_refused(folder, others, message):
    write(folder, **others)
    with pytest.raises(DataError, match=message):
        find_cases(folder)
