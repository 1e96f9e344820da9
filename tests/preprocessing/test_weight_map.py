"""Maps of weights from the table of cases to the cache: read, resampled with the scan, refused by name."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from toy_workspace import toy_plan, write_toy_workspace

from medseg.core.case import Case, read_cases, write_cases
from medseg.core.errors import PlanError
from medseg.preprocessing.cache import load_samples


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    write_toy_workspace(tmp_path)
    return read_cases(tmp_path / "plans" / "toy.cases.csv", tmp_path / "data")


def save(path: Path, array: Any, affine: Any = None) -> Path:
    nib.save(nib.Nifti1Image(np.asarray(array, np.float32), np.eye(4) if affine is None else affine), path)
    return path


def test_a_map_comes_to_the_grid_of_the_network(cases: list[Case], tmp_path: Path) -> None:
    """At twice the spacing: the map is linear and stays so; a case without one has none."""
    weights = np.broadcast_to(np.arange(24.0)[:, None, None], (24, 24, 3))  # along x of the file
    mapped = replace(cases[0], weight_map=save(tmp_path / "w.nii.gz", weights))
    plan = toy_plan()
    plan.configurations["main"]["spacing_mm"] = [2.0, 2.0]
    samples, failed = load_samples([mapped, cases[1]], plan, plan.configuration("main"), tmp_path / "cache")
    assert not failed
    assert samples[1].weight_offsets is None
    offsets = samples[0].weight_offsets
    assert offsets is not None
    assert offsets.shape == samples[0].label.shape == (3, 12, 12)
    inner = (offsets + 1)[0, 0, 1:-1].numpy()
    np.testing.assert_allclose(np.diff(inner), 2.0, atol=1e-4)
    assert inner[0] == pytest.approx(2.5)
    again, _ = load_samples([replace(mapped, weight_map=None)], plan, plan.configuration("main"), tmp_path / "cache")
    assert again[0].weight_offsets is None  # not the file of the case with a map


@pytest.mark.parametrize(
    ("array", "affine", "message"),
    [
        (np.full((24, 24, 3), -1.0), None, "negative or no numbers"),
        (np.full((24, 24, 3), np.nan), None, "negative or no numbers"),
        (np.ones((24, 24, 4)), None, "lie on different grids"),
        (np.ones((24, 24, 3)), np.diag([2.0, 2.0, 2.0, 1.0]), "lie on different grids"),
    ],
)
def test_a_case_whose_map_does_not_fit_is_named(
    cases: list[Case], tmp_path: Path, array: Any, affine: Any, message: str
) -> None:
    plan = toy_plan()
    wrong = replace(cases[0], weight_map=save(tmp_path / "w.nii.gz", array, affine))
    samples, failed = load_samples([wrong, cases[1]], plan, plan.configuration("main"), tmp_path / "cache")
    assert [sample.case.id for sample in samples] == ["1"]
    assert failed.keys() == {"0"}
    assert message in failed["0"]


@pytest.mark.slow
def test_a_run_with_maps_and_a_loss_that_takes_none(cases: list[Case], tmp_path: Path) -> None:
    import medseg

    weights = np.ones((24, 24, 3))
    weights[6:14] = 4
    path = save(tmp_path / "data" / "w.nii.gz", weights)
    table = tmp_path / "plans" / "toy.cases.csv"
    write_cases(
        table, [replace(case, weight_map=path if case.id != "1" else None) for case in cases], tmp_path / "data"
    )
    assert [case.weight_map for case in read_cases(table, tmp_path / "data")] == [path, None, path, path]
    options = medseg.TrainOptions(fold="0", steps=2, device="cpu")
    assert medseg.train("toy", tmp_path, options).record.steps == 2
    with pytest.raises(PlanError, match="'focal', which cannot be trained with weight maps of cases"):
        medseg.train("toy", tmp_path, replace(options, fold="all", overrides=["training.loss=focal"]))
