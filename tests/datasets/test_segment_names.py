"""Names in RTSTRUCT and SEG: one table for all cases, and what overlaps become."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from dicom.builders import ramp, save, uid, write_series
from dicom.label_builders import box, grid, rtstruct

import medseg
from medseg.core.errors import DataError, PlanError
from medseg.datasets.data_options import DataOptions
from medseg.datasets.find_data import find_data
from medseg.io.load import load_case

SHAPE = ramp().shape
GTV, PTV = box(1.5, 1.5, 2.5, 2.5, 1), box(0.5, 0.5, 4.5, 2.5, 1)


def studies(folder: Path, *contents: dict[str, list]) -> Path:
    for number, rois in enumerate(contents):
        name = f"p{number}"
        write_series(folder / name, series=name, StudyInstanceUID=uid(name))
        save(rtstruct(rois, grid(SHAPE), series=name), folder / name / "rs.dcm")
    return folder


def found(folder: Path, **options):
    return find_data(folder, DataOptions(**options))


def test_every_name_becomes_a_structure_with_one_value_in_all_cases(tmp_path: Path) -> None:
    data = found(
        studies(tmp_path, {"gtv": [GTV]}, {"BODY": [box(3.5, 2.5, 4.5, 3.5, 0)], "GTV": [GTV]}, {"GTV ": [GTV]})
    )
    assert data.labels is not None
    assert data.labels.structures == {"BODY": 1, "GTV": 2}
    assert data.reading.segments == {"BODY": 1, "GTV": 2}
    assert "BODY (1 of 3), GTV (3 of 3)" in data.problems[-1]
    values = [{*np.unique(load_case(case, 1, data.reading).label.array)} for case in data.cases]
    assert values == [{0, 2}, {0, 1, 2}, {0, 2}]


def test_patterns_and_declared_values(tmp_path: Path) -> None:
    folder = studies(tmp_path, {"GTV-1": [GTV], "GTV-2": [box(3.5, 2.5, 4.5, 3.5, 0)], "BODY": [PTV]})
    data = found(folder, segments=["tumour=GTV*"])
    assert data.labels is not None
    assert data.labels.structures == {"tumour": 1}
    assert data.reading.segments == {"tumour": 1, "GTV*": 1}
    assert load_case(data.cases[0], 1, data.reading).label.array.sum() == 2
    data = found(folder, segments=["tumour=GTV*"], structures=["tumour=7"])
    assert data.reading.segments == {"tumour": 7, "GTV*": 7}
    assert found(folder, structures=["GTV-1=3"]).reading.segments == {"GTV-1": 3}
    with pytest.raises(PlanError, match="--segments names liver; the structures are tumour"):
        found(folder, segments=["liver"], structures=["tumour=1"])


def test_overlaps(tmp_path: Path) -> None:
    folder = studies(tmp_path, {"GTV": [GTV], "PTV": [PTV]}, {"PTV": [PTV]})
    refused = found(folder)
    with pytest.raises(DataError, match="GTV and PTV overlap in 1 voxel"):
        load_case(refused.cases[0], 1, refused.reading)
    later = found(folder, segments=["PTV", "GTV"], overlaps="later")
    label = load_case(later.cases[0], 1, later.reading).label.array
    assert [(label == value).sum() for value in (1, 2)] == [7, 1]
    with pytest.raises(PlanError, match="valid are refuse, later, regions"):
        found(folder, overlaps="first")


def test_regions_get_a_value_for_each_combination(tmp_path: Path) -> None:
    data = found(studies(tmp_path, {"GTV": [GTV], "PTV": [PTV]}, {"PTV": [PTV]}), overlaps="regions")
    assert data.reading.overlaps == {"1+2": 3}
    assert data.labels is not None
    assert data.labels.activation == "sigmoid"
    # the larger one is painted first; the GTV is never alone, so that what stands for it is the combination
    assert data.labels.members == {"PTV": (2, 3), "GTV": (1, 3)}
    assert data.labels.written_values == {"PTV": 2, "GTV": 3}
    label = load_case(data.cases[0], 1, data.reading).label.array
    assert [(label == value).sum() for value in (1, 2, 3)] == [0, 7, 1]


def test_options_for_objects_without_any(tmp_path: Path, save_nifti) -> None:
    for kind in ("images", "labels"):
        save_nifti(tmp_path / kind / "a.nii.gz", np.ones((2, 2, 2), np.uint8))
    with pytest.raises(PlanError, match="no label of this data set is one"):
        found(tmp_path, segments=["a"])


@pytest.mark.real
def test_a_plan_of_two_lungs_and_scores_of_their_own_contours(data_dir: Path, tmp_path: Path) -> None:
    source = data_dir / "lung_ct_dicom"
    asked = medseg.PlanOptions(preset="cpu", data=DataOptions(segments=["tumour=GTV*"], series=["CT:Modality=CT"]))
    made = medseg.plan(source, tmp_path, options=asked)
    assert not made.failed
    assert made.plan.data.series_rules == ["Modality=CT"]
    assert made.plan.data.structure_volume == pytest.approx({"tumour": (6.46025 + 11.58894) / 2}, abs=1e-3)
    assert made.plan.data.channels == ["CT"]
    assert "1.3.6.1" not in made.path.read_text() + made.cases_path.read_text()
    checked = medseg.check(source, tmp_path)
    assert not checked.errors
    files = {
        case: source / case / name for case, name in (("pat_2", "DCM_RS_00041.dcm"), ("pat_3", "DCM_RS_00046.dcm"))
    }
    for case, file in files.items():
        answer = Path(shutil.copytree(file.parent, tmp_path / "copy" / case)) / file.name
        found = medseg.evaluate(answer, file, options=medseg.EvaluateOptions(output=tmp_path / case))
        assert found.labels.names == ("GTV-1",)
        assert found.summary.dice_mean == 1
