"""A model as a MONAI bundle: MONAI answers what medseg does, or the export is refused with the reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from builders import GOLDENS, NNUNET, configuration_values, make_plan, plan_values
from numpy.typing import NDArray

import medseg
from medseg.core.errors import ModelError
from medseg.inference.monai_bundle.workflow import problem_of
from medseg.inference.monai_bundle.write import METADATA, write_bundle
from medseg.inference.predictor import Predictor
from medseg.models.model import Model, make_network
from medseg.models.open import load_model

CPU = torch.device("cpu")
REGIONS = {"structures": {"whole": [1, 2], "core": 2}, "activation": "sigmoid", "region_values": [1, 2]}
INTENSITY = {"mean": 60.0, "median": 55.0, "std": 25.0, "min": 0.0, "max": 255.0}
INTENSITY |= {"percentile_00_5": 5.0, "percentile_99_5": 120.0}
FEW = 1e-3
"""Share of voxels that may differ: MONAI normalizes in float32, and the logits of two labels may be equal to its last
digits."""


def a_model(folds: int = 1, channels: int = 1, **plan: Any) -> Model:
    """A model with random weights."""
    values = plan_values(3)
    data = {**values["data"], "channels": [f"MR{number}" for number in range(channels)], **plan.pop("data", {})}
    inference = {**values["inference"], **plan.pop("inference", {})}
    made = make_plan(3, plan.pop("configuration", None), data=data, inference=inference, **plan)
    torch.manual_seed(0)
    networks = tuple(make_network(made, made.configuration("main")).eval() for _ in range(folds))
    return Model(made, "main", tuple(map(str, range(folds))), networks, Path("nowhere"))


def write_scan(path: Path, shape: tuple[int, int, int], channels: int = 1, turned: bool = False) -> list[Path]:
    """A bright ball in a frame of zeros, a file a channel; turned: from left to right, with axes exchanged."""
    path.mkdir()
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    if turned:
        affine = np.array([[0, -1, 0, 5], [0, 0, 1, -7], [-1, 0, 0, 2], [0, 0, 0, 1]], dtype=float)
    files = []
    for channel in range(channels):
        rng = np.random.default_rng(channel)
        scan = rng.uniform(1, 200, shape).astype(np.float32)
        scan[np.hypot(*np.indices(shape)[:2]) < 9] += 50
        scan[0], scan[:, -2:] = 0, 0
        files.append(path / (f"scan_{channel:04d}.nii.gz" if channels > 1 else "scan.nii.gz"))
        nib.save(nib.Nifti1Image(scan, affine), files[-1])
    return files


def answer_of_monai(bundle: Path, scans: Path, output: Path) -> NDArray:
    """What the bundle's workflow writes, in this process."""
    from monai.bundle import ConfigParser

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MONAI's imports, and that it evaluates the file
        parser = ConfigParser(json.loads((bundle / "configs" / "inference.json").read_text()))
        parser.update({"bundle_root": str(bundle), "dataset_dir": str(scans), "output_dir": str(output)})
        parser.parse()
        with torch.no_grad():
            for key in ("initialize", "run"):
                parser.get_parsed_content(key)
    torch.set_grad_enabled(True)
    (answer,) = output.iterdir()
    return np.asanyarray(nib.load(answer).dataobj)


def answer_of_medseg(model: Model, files: list[Path]) -> NDArray:
    return Predictor(model, CPU, compares=False)([str(file) for file in files]).array[0].T


@pytest.mark.parametrize(
    ("model", "scan"),
    [
        pytest.param({}, {}, id="plain"),
        pytest.param({"orientation": "canonical", "transpose_forward": [2, 0, 1]}, {"turned": True}, id="turned"),
        pytest.param({"folds": 2, "inference": {"mirror": True}}, {}, id="folds and mirrored copies"),
        pytest.param({"labels": REGIONS}, {}, id="regions"),
        pytest.param({"labels": {"structures": {"one": 300, "two": 2}}}, {}, id="values in another order"),
        pytest.param(
            {
                "channels": 2,
                "data": {"intensities": [INTENSITY, INTENSITY]},
                "configuration": {"normalization": [{"scheme": "ct"}, {"scheme": "none"}]},
            },
            {"channels": 2},
            id="CT and another channel",
        ),
        pytest.param({"configuration": {"normalization": [{"scheme": "rescale_0_1"}]}}, {}, id="rescaled"),
        pytest.param({}, {"shape": (27, 16, 16)}, id="tiles that medseg lays at whole voxels, too"),
    ],
)
def test_monai_answers_what_medseg_does(tmp_path: Path, model: dict[str, Any], scan: dict[str, Any]) -> None:
    made = a_model(**model)
    files = write_scan(tmp_path / "scans", **{"shape": (15, 14, 13), **scan})
    write_bundle(made, tmp_path / "bundle")
    expected = answer_of_medseg(made, files)
    answer = answer_of_monai(tmp_path / "bundle", tmp_path / "scans", tmp_path / "answers")
    assert answer.shape == expected.shape
    assert answer.dtype == expected.dtype
    assert len(np.unique(expected)) > 1, "a model that answers nothing shows nothing"
    assert np.mean(answer != expected) <= FEW


@pytest.mark.slow  # two networks of nnU-Net's size
@pytest.mark.skipif(not GOLDENS.is_dir(), reason=f"no goldens in {GOLDENS}; set MEDSEG_TEST_GOLDENS")
@pytest.mark.parametrize("case", ["case3", "case4"])  # oblique, its origin shifted; zeros around it
def test_monai_answers_what_nnunet_answered(tmp_path: Path, case: str) -> None:
    """Two folds of a trained model, on the network's grid: no voxel differs.

    Without mirrored copies, which take eight times as long: the test above has them, and tests/inference those of
    nnU-Net.
    """
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / f"{case}.nii.gz").symlink_to(NNUNET / "scans" / f"{case}_0000.nii.gz")
    model = load_model(NNUNET / "plain3d" / "model", CPU, overrides=["inference.mirror=false"])
    write_bundle(model, tmp_path / "bundle")
    answer = answer_of_monai(tmp_path / "bundle", tmp_path / "scans", tmp_path / "answers")
    expected = nib.load(NNUNET / "plain3d" / "expected" / f"{case}.nii.gz")
    np.testing.assert_array_equal(answer, np.asanyarray(expected.dataobj))


@pytest.mark.slow  # MONAI's runner is a process of its own, which imports for seconds
@pytest.mark.real
def test_monais_own_runner_segments_a_real_scan(tmp_path: Path, data_dir: Path) -> None:
    pytest.importorskip("fire", reason="MONAI's bundle runner needs the package fire")
    made = a_model(configuration={"patch_voxels": [40, 56, 40], "mirror_axes": []}, orientation="canonical")
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "hippocampus_001.nii.gz").symlink_to(data_dir / "hippocampus" / "imagesTr" / "hippocampus_001.nii.gz")
    write_bundle(made, tmp_path / "bundle")
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
    command += ["--bundle_root", ".", "--dataset_dir", str(scans), "--output_dir", str(tmp_path / "answers")]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=tmp_path / "bundle", env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer = nib.load(tmp_path / "answers" / "hippocampus_001.nii.gz")
    scan = nib.load(scans / "hippocampus_001.nii.gz")
    np.testing.assert_allclose(answer.affine, scan.affine)
    expected = answer_of_medseg(made, [scans / "hippocampus_001.nii.gz"])
    assert np.mean(np.asanyarray(answer.dataobj) != expected) <= FEW


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ({"configuration": {"normalization": [{"scheme": "zscore", "nonzero_only": True}]}}, "nonzero voxels alone"),
        (
            {"channels": 2, "configuration": {"normalization": [{"scheme": "zscore"}, {"scheme": "none"}]}},
            "some channels by none and others by zscore",
        ),
        ({"configuration": {"normalization": [{"scheme": "my_own"}]}}, "my_own is none of medseg's own"),
        ({"labels": {"structures": {"sky": 0, "road": 1}, "background": None}}, "every voxel belongs to a structure"),
        ({"configuration": {"spacing_mm": [5.0, 1.0, 1.0]}}, "slices far apart"),
        ({"inference": {"spacing": [1.0, 1.0, 1.0]}}, "sizes of voxels from elsewhere"),
    ],
)
def test_what_monai_cannot_answer_is_refused(tmp_path: Path, model: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError, match=f"cannot be a MONAI bundle: .*{reason}"):
        write_bundle(a_model(**model), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_cascades_and_two_dimensions_are_refused() -> None:
    model = a_model()
    assert "cascade" in str(problem_of(replace(model, previous=model)))
    assert "configurations answer together" in str(problem_of(replace(model, others=(model,))))
    flat = make_plan(2, configuration_values(2))
    assert "of 2 dimensions" in str(problem_of(replace(model, plan=flat)))
    assert problem_of(model) is None


def test_the_command_names_what_lies_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = a_model(labels=REGIONS)
    monkeypatch.setattr("medseg.commands.models.export.load_chosen", lambda *_: model)
    options = medseg.ExportOptions(monai_bundle=True)
    result = medseg.export("toy", tmp_path / "bundle", tmp_path, options)
    assert any("resampled by MONAI" in note for note in result.notes)
    metadata = json.loads((tmp_path / "bundle" / METADATA).read_text())
    assert metadata["network_data_format"]["outputs"]["pred"]["channel_def"] == {"0": "whole", "1": "core"}
    with pytest.raises(ModelError, match=r"(?s)bundle exists already.*--force"):
        medseg.export("toy", tmp_path / "bundle", tmp_path, options)
    medseg.export("toy", tmp_path / "bundle", tmp_path, replace(options, replace=True))
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "precious.nii.gz").touch()
    with pytest.raises(ModelError, match=r"scans exists already"):
        medseg.export("toy", tmp_path / "scans", tmp_path, replace(options, replace=True))


def test_replacing_a_bundle_keeps_scans_and_answers_and_a_failure_keeps_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, options = tmp_path / "bundle", medseg.ExportOptions(monai_bundle=True, replace=True)
    write_bundle(a_model(), bundle)
    of_bundle = sorted(path.relative_to(bundle) for path in bundle.rglob("*") if path.is_file())
    users = ["input/scan.nii.gz", "output/scan.nii.gz", "configs/of_mine.json"]
    for name in users:
        (bundle / name).parent.mkdir(exist_ok=True)
        (bundle / name).write_text("precious")
    before = contents(bundle)

    with pytest.raises(ModelError):  # there is no such model
        medseg.export(tmp_path / "nowhere", bundle, tmp_path, options)
    assert contents(bundle) == before
    refused = a_model(inference={"spacing": [1.0, 1.0, 1.0]})
    monkeypatch.setattr("medseg.commands.models.export.load_chosen", lambda *_: refused)
    with pytest.raises(ModelError, match="cannot be a MONAI bundle"):
        medseg.export("toy", bundle, tmp_path, options)
    assert contents(bundle) == before

    regions = a_model(labels=REGIONS)
    monkeypatch.setattr("medseg.commands.models.export.load_chosen", lambda *_: regions)
    medseg.export("toy", bundle, tmp_path, options)
    after = contents(bundle)
    assert sorted(after) == sorted([*map(str, of_bundle), *users])
    assert all(after[name] == b"precious" for name in users)
    assert "whole" in json.loads(after[METADATA])["task"]


def contents(folder: Path) -> dict[str, bytes]:
    """Path within a folder -> content, of all its files."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
