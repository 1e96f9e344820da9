"""Zips that nnU-Net exports: run as they are, unpacked nowhere but in a folder that is gone afterwards."""

import tempfile
import zipfile
from pathlib import Path

import pytest
import torch
from nnunet_folders import TRAINER, configuration, dataset, ours, plans, write_model

from medseg.core.errors import ModelError
from medseg.models.open import load_model

CPU = torch.device("cpu")
CASCADE = plans(
    {
        "3d_lowres": configuration(spacing=[2.0, 2.0, 2.0]),
        "3d_fullres": configuration(),
        "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
    }
)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def export(results: Path, path: Path, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """As nnU-Net's export does: everything, with names that start at the data set's folder."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(results.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(results.parent))
        archive.writestr("Dataset001_Toy/inference_information.txt", "whatever")
    return path


def test_an_exported_model_is_run(tmp_path: Path, temporary: Path) -> None:
    folder = write_model(tmp_path / "Dataset001_Toy", folds=("0", "1"))
    path = export(folder.parent, tmp_path / "model.zip")
    model = load_model(path, CPU)
    assert (model.configuration_name, model.folds, model.folder) == ("3d_fullres", ("0", "1"), path)
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode():
        assert torch.equal(model.networks[1](image)[0], ours("3d_fullres", plans(), dataset(), 1)(image)[0])
    assert load_model(path, CPU, ["1"]).folds == ("1",)
    assert list(temporary.iterdir()) == []


def test_a_cascade_is_one_command(tmp_path: Path) -> None:
    results = tmp_path / "Dataset001_Toy"
    for name in ("3d_lowres", "3d_cascade_fullres"):
        write_model(results, name, CASCADE)
    path = export(results, tmp_path / "model.zip")
    with pytest.raises(
        ModelError, match=rf"holds 2 nnU-Net models: \S+/{TRAINER}__3d_cascade_fullres, \S+{TRAINER}__3d_l"
    ):
        load_model(path, CPU)
    model = load_model(path, CPU, configuration="3d_cascade_fullres")
    assert model.previous is not None
    assert model.previous.configuration_name == "3d_lowres"
    assert load_model(path, CPU, configuration="3d_lowres").previous is None


def test_a_zip_without_a_model_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.writestr("a/plans.json", "{}")
    with pytest.raises(ModelError, match=r"holds no model of nnU-Net"):
        load_model(tmp_path / "model.zip", CPU)


def test_a_member_that_leads_elsewhere_spoils_the_zip(tmp_path: Path, temporary: Path) -> None:
    folder = write_model(tmp_path / "Dataset001_Toy")
    path = export(folder.parent, tmp_path / "model.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../evil.py", "import os")
    with pytest.raises(ModelError, match=r"'\.\./\.\./evil\.py', which leads out of its folder"):
        load_model(path, CPU)
    assert list(temporary.iterdir()) == []


def test_a_bomb_is_refused(tmp_path: Path, temporary: Path) -> None:
    folder = write_model(tmp_path / "Dataset001_Toy")
    (folder / "fold_0" / "checkpoint_final.pth").write_bytes(bytes(1 << 24))
    path = export(folder.parent, tmp_path / "model.zip")
    with pytest.raises(ModelError, match=r"checkpoint_final.pth declares 16,777,216 bytes.* zip bomb"):
        load_model(path, CPU)
    assert list(temporary.iterdir()) == []


def test_a_damaged_zip_is_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "Dataset001_Toy")
    path = export(folder.parent, tmp_path / "model.zip", zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ModelError, match="damaged"):
        load_model(path, CPU)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"model\.zip is damaged or not a zip file"):
        load_model(path, CPU)
