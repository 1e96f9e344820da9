"""nnU-Net's checkpoints: what real ones hold is read, everything else is refused by name, and nothing is run."""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import GOLDENS, NNUNET
from nnunet_folders import checkpoint, dataset, plans

from medseg.core.errors import ModelError
from medseg.models.nnunet.checkpoint import read_checkpoint

RAN = []


class Malicious:
    """Runs a function where it is unpickled."""

    def __reduce__(self) -> Any:
        return RAN.append, ("code of a checkpoint ran",)


def save(path: Path, **others: Any) -> Path:
    torch.save(checkpoint("3d_fullres", plans(), dataset(), **others), path)
    return path


def rename_globals(path: Path, old: bytes, new: bytes) -> None:
    """Write the pickle in a checkpoint anew, with another module's name in it."""
    with zipfile.ZipFile(path) as archive:
        members = {one: archive.read(one) for one in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            assert not name.endswith("data.pkl") or old in content
            archive.writestr(name, content.replace(old, new) if name.endswith("data.pkl") else content)


def test_a_checkpoint_with_its_records_is_read(tmp_path: Path) -> None:
    read = read_checkpoint(save(tmp_path / "checkpoint_final.pth"))
    assert (read.configuration, read.trainer, read.mirror_axes) == ("3d_fullres", "nnUNetTrainer", (0, 1, 2))
    assert read.weights["decoder.seg_layers.1.weight"].shape == (3, 4, 1, 1, 1)


def test_numpys_numbers_are_known_under_the_names_of_both_its_versions(tmp_path: Path) -> None:
    path = save(tmp_path / "checkpoint_final.pth", _best_ema=np.float64(0.5))
    new, old = (b"numpy._core.multiarray", b"numpy.core.multiarray")
    new, old = (new, old) if new in zipfile.ZipFile(path).read("checkpoint_final/data.pkl") else (old, new)
    rename_globals(path, new, old)
    assert read_checkpoint(path).configuration == "3d_fullres"


@pytest.mark.parametrize(
    "value",
    [np.float32(1), np.int64(3), np.bool_(True), np.zeros(3), np.arange(4, dtype=np.uint8), {"a": [np.float16(1)]}],
)
def test_every_kind_of_numpys_numbers_may_be_in_the_records(tmp_path: Path, value: object) -> None:
    assert read_checkpoint(save(tmp_path / "checkpoint_final.pth", logging={"x": [value]})).weights


def test_code_is_refused_by_name_and_not_run(tmp_path: Path) -> None:
    path = save(tmp_path / "checkpoint_final.pth", extra=Malicious())
    with pytest.raises(ModelError, match=r"checkpoint_final\.pth holds \S*getattr.* could run code"):
        read_checkpoint(path)
    assert RAN == []


def test_another_class_is_refused_by_name(tmp_path: Path) -> None:
    path = save(tmp_path / "checkpoint_final.pth", extra=Path("somewhere"))
    with pytest.raises(ModelError, match=r"holds pathlib\.\w*Path"):
        read_checkpoint(path)


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "checkpoint_final.pth", extra=np.array([Malicious()], dtype=object))
    with pytest.raises(ModelError, match="could run code"):
        read_checkpoint(path)
    assert RAN == []


def test_a_plain_pickle_is_refused_without_running_it(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_final.pth"
    path.write_bytes(pickle.dumps({"network_weights": Malicious()}))
    with pytest.raises(ModelError, match=r"checkpoint_final\.pth"):
        read_checkpoint(path)
    assert RAN == []


def test_a_compressed_checkpoint_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "checkpoint_final.pth")
    with zipfile.ZipFile(path) as archive:
        members = {one: archive.read(one) for one in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ModelError, match="is compressed, which torch never does"):
        read_checkpoint(path)


def test_the_form_before_torch_1_6_is_read(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_final.pth"
    torch.save(checkpoint("3d_fullres", plans(), dataset()), path, _use_new_zipfile_serialization=False)
    assert read_checkpoint(path).trainer == "nnUNetTrainer"


@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_damaged_files_are_named(tmp_path: Path, kept: int) -> None:
    path = save(tmp_path / "checkpoint_final.pth")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"checkpoint_final\.pth is damaged or not a checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {}}, "has no network_weights"),
        ([1, 2], "has no network_weights"),
        ({"network_weights": {}}, "has no network_weights"),
        ({"network_weights": {"a": 3}}, "network_weights holds 'a', which is not a tensor"),
        (
            {"network_weights": {"a": torch.zeros(1)}, "inference_allowed_mirroring_axes": ("x",)},
            "expected axes as whole numbers",
        ),
    ],
)
def test_what_is_no_checkpoint_of_nnunets_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "checkpoint_final.pth")
    with pytest.raises(ModelError, match=message):
        read_checkpoint(tmp_path / "checkpoint_final.pth")


def test_what_a_checkpoint_does_not_say_is_left_open(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_final.pth"
    torch.save({"network_weights": OrderedDict(a=torch.zeros(1))}, path)
    read = read_checkpoint(path)
    assert (read.configuration, read.trainer, read.mirror_axes) == (None, "", ())
    torch.save({"network_weights": {"a": torch.zeros(1)}, "inference_allowed_mirroring_axes": None}, path)
    assert read_checkpoint(path).mirror_axes == ()


@pytest.mark.skipif(not GOLDENS.is_dir(), reason=f"no goldens in {GOLDENS}; set MEDSEG_TEST_GOLDENS")
def test_nnunets_own_checkpoints_are_read() -> None:
    paths = sorted(NNUNET.glob("*/model/fold_*/checkpoint_final.pth"))
    assert len(paths) == 7
    assert {read_checkpoint(path).mirror_axes for path in paths} == {(0, 1), (0, 1, 2)}


@pytest.mark.parametrize(
    ("record", "place"), [(b"PK\1\2", 0), (b"PK\1\2", 6), (b"PK\6\7", 16)], ids=["mark", "version", "disks"]
)
def test_a_damaged_list_of_members_is_named(tmp_path: Path, record: bytes, place: int) -> None:
    path = save(tmp_path / "checkpoint_final.pth")
    content = bytearray(path.read_bytes())
    content[content.index(record) + place] = 99
    path.write_bytes(content)
    with pytest.raises(ModelError, match="is damaged or not a checkpoint"):
        read_checkpoint(path)
