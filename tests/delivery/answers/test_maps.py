"""Probabilities, doubt and spread beside the labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.predict import predict
from medseg.commands.predict.result import PredictResult
from medseg.core.case import Case
from medseg.core.errors import PlanError
from medseg.core.labels import Labels
from medseg.delivery.answers.maps import map_files
from medseg.delivery.answers.options import Maps

WriteScans = Callable[[Path, int], Path]


@pytest.fixture
def scans(tmp_path: Path, write_scans: WriteScans) -> Path:
    return write_scans(tmp_path / "scans", 1)


def run(scans: Path, out: Path, model: Path, maps: Maps, **options: object) -> PredictResult:
    chosen = PredictOptions(device="cpu", maps=maps, **options)  # type: ignore[arg-type]
    return predict(scans, out, model, options=chosen)


def values(path: Path) -> NDArray[np.float64]:
    return np.asarray(nib.load(path).dataobj)


def test_maps_lie_on_the_scans_grid_and_belong_to_the_labels(tmp_path: Path, scans: Path, small_model: Path) -> None:
    out = tmp_path / "out"
    result = run(scans, out, small_model, Maps(probabilities=True, entropy=True))
    assert result.files == {"scan000": out / "scan000.nii.gz"}
    scan, labels = nib.load(scans / "scan000_0000.nii.gz"), values(out / "scan000.nii.gz")
    maps = {path.relative_to(out).as_posix(): path for path in sorted(out.rglob("*/*.nii.gz"))}
    names = ["entropy/scan000", "probabilities/scan000/one", "probabilities/scan000/two"]
    assert list(maps) == [f"{name}.nii.gz" for name in names]
    for path in maps.values():
        assert nib.load(path).shape == scan.shape
        np.testing.assert_array_equal(nib.load(path).affine, scan.affine)
    entropy, one, two = map(values, maps.values())
    every = np.stack([1 - one - two, one, two])
    agree = (every.argmax(0) == labels) | (np.sort(every, 0)[-1] - np.sort(every, 0)[-2] < 1e-3)
    assert agree.all()
    shannon = -(every.clip(1e-9) * np.log(every.clip(1e-9))).sum(0) / np.log(3)
    np.testing.assert_allclose(entropy, shannon, atol=2e-3)


def test_labels_do_not_depend_on_the_maps(tmp_path: Path, scans: Path, small_model: Path) -> None:
    everything = Maps(probabilities=True, entropy=True, spread=True)
    for name, maps in (("plain", Maps()), ("maps", everything)):
        run(scans, tmp_path / name, small_model, maps)
    assert (tmp_path / "plain" / "scan000.nii.gz").read_bytes() == (tmp_path / "maps" / "scan000.nii.gz").read_bytes()


def test_two_folds_have_a_spread_and_one_has_none(tmp_path: Path, scans: Path, small_model: Path) -> None:
    # one tile on the scan's own grid: what is averaged over tiles and interpolated is then the same on both sides
    plan = ["configurations.main.spacing_mm=[1.5, 1.0, 1.0]", "configurations.main.patch_voxels=[16, 32, 32]"]
    out, folds = tmp_path / "out", [tmp_path / fold for fold in ("0", "1")]
    run(scans, out, small_model, Maps(spread=True), overrides=plan)
    for fold in folds:
        run(scans, fold, small_model, Maps(probabilities=True), folds=[fold.name], overrides=plan)
    for structure in ("one.nii.gz", "two.nii.gz"):
        first, second = (values(fold / "probabilities" / "scan000" / structure) for fold in folds)
        np.testing.assert_allclose(values(out / "mean" / "scan000" / structure), (first + second) / 2, atol=1e-4)
        difference = abs(first - second)
        np.testing.assert_allclose(values(out / "spread" / "scan000" / structure), difference / 2, atol=1e-4)
        assert difference.max() > 0.05
    with pytest.raises(PlanError, match="this model has one fold, and mirroring is off"):
        run(scans, tmp_path / "none", small_model, Maps(spread=True), folds=["0"])


def test_a_map_that_is_gone_is_made_again(tmp_path: Path, scans: Path, small_model: Path) -> None:
    out, maps = tmp_path / "out", Maps(entropy=True)
    run(scans, out, small_model, maps)
    entropy = out / "entropy" / "scan000.nii.gz"
    before = entropy.read_bytes()
    assert run(scans, out, small_model, maps, keep_finished=True).kept == ("scan000",)
    entropy.unlink()
    (entropy.parent / ".0123abcd.scan000.nii.gz").write_bytes(b"half")
    assert run(scans, out, small_model, maps, keep_finished=True).kept == ()
    assert [(path.name, path.read_bytes()) for path in entropy.parent.iterdir()] == [("scan000.nii.gz", before)]


def test_names_that_cannot_be_files_are_changed_and_stay_apart() -> None:
    labels = Labels(structures={"left/right": 1, "left:right": 2, "LEFT_right": 3, "größe 2": 4})
    files = map_files(Maps(probabilities=True), Case("a", "a", (Path("a.png"),)), Path("out"), labels)
    assert [file.name for file in files] == [
        "left_right.nii.gz",
        "left_right_.nii.gz",
        "LEFT_right__.nii.gz",
        "größe_2.nii.gz",
    ]
