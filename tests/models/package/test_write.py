"""Packages: the same model comes out that went in, and nothing else is ever read."""

import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import make_plan, network_values
from nnunet_folders import configuration, plans, write_model
from safetensors.torch import load, save
from trained.package_files import Members, rewrite, with_hashes

from medseg.core.errors import ModelError, PlanError
from medseg.models.identity import identity, network_identity
from medseg.models.model import Model, make_network
from medseg.models.open import load_model
from medseg.models.package.metadata import Metadata
from medseg.models.package.write import save_package
from medseg.models.quantization import Evidence, Quantization
from medseg.models.record import RunRecord
from medseg.models.run import load_run, save_weights
from medseg.models.run_files import PLAN, RunFolder
from medseg.plans.file import save_plan

CPU = torch.device("cpu")


def write_run(folder: Path, folds: tuple[str, ...] = ("0", "1"), **plan: Any) -> Path:
    made = make_plan(2, {"network": network_values(2)}, **plan)
    for seed, fold in enumerate(folds):
        torch.manual_seed(seed)
        save_plan(made, folder / f"fold_{fold}" / PLAN)
        network = make_network(made, made.configuration("main"))
        save_weights(network, RunFolder(folder).fold(fold), RunRecord(configuration="main"))
    return folder


@pytest.fixture(scope="module")
def packed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run and its package."""
    folder = tmp_path_factory.mktemp("packed")
    save_package(load_run(write_run(folder / "run"), CPU), folder / "model.medseg", "# card\n")
    return folder


@pytest.fixture
def package(packed_run: Path, tmp_path: Path) -> Path:
    """A copy of the package, to be changed, with its run beside it."""
    shutil.copytree(packed_run, tmp_path, dirs_exist_ok=True)
    return tmp_path / "model.medseg"


def test_what_went_in_comes_out(tmp_path: Path, package: Path) -> None:
    before, after = load_run(tmp_path / "run", CPU), load_model(package, CPU)
    assert (after.configuration_name, after.folds, after.folder) == ("main", ("0", "1"), package)
    assert after.plan.model_dump(exclude={"data", "request"}) == before.plan.model_dump(exclude={"data", "request"})
    for one, other in zip(before.networks, after.networks, strict=True):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
        assert not other.training


def test_what_is_in_it(package: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        names = archive.namelist()
        assert archive.read("MODEL_CARD.md") == b"# card\n"
    folds = ["fold_0/weights.safetensors", "fold_1/weights.safetensors"]
    assert sorted(names) == ["MODEL_CARD.md", *folds, "metadata.json", "plan.yaml"]
    with zipfile.ZipFile(package) as archive:
        metadata = Metadata.model_validate_json(archive.read("metadata.json"))
    assert (metadata.name, metadata.channels, metadata.structures) == ("toy", ["MRI"], {"one": 1, "two": 2})
    assert metadata.stages[0].folds == ["0", "1"]


def test_where_the_data_lay_is_not_in_it(tmp_path: Path) -> None:
    data = {**make_plan(2).data.model_dump(), "folder": "/home/anna/secret"}
    request = {"planner": "default", "memory_gb": None, "preset": "cpu", "options": {"exclude": "patients.txt"}}
    folder = write_run(tmp_path / "run", data=data, request=request)
    save_package(load_run(folder, CPU), tmp_path / "model.medseg", "")
    assert identity(load_model(tmp_path / "model.medseg", CPU)) == identity(load_run(folder, CPU)), "one model"
    assert b"anna" not in (tmp_path / "model.medseg").read_bytes()
    assert b"patients" not in (tmp_path / "model.medseg").read_bytes()


def test_what_a_killed_package_of_another_name_left_goes_and_nothing_else(tmp_path: Path, package: Path) -> None:
    others = {".0a1b2c3d.notes.txt", ".notes.medseg", "older.medseg"}
    for name in (".0a1b2c3d.killed.medseg", *others):
        (tmp_path / name).touch()
    save_package(load_run(tmp_path / "run", CPU), tmp_path / "again.medseg", "# card\n")
    assert {path.name for path in tmp_path.iterdir()} == {"run", "model.medseg", "again.medseg", *others}


def test_the_same_model_gives_the_same_bytes(tmp_path: Path, package: Path) -> None:
    save_package(load_run(tmp_path / "run", CPU), tmp_path / "again.medseg", "# card\n")
    assert (tmp_path / "again.medseg").read_bytes() == package.read_bytes()
    save_package(load_model(package, CPU), tmp_path / "third.medseg", "# card\n")
    assert (tmp_path / "third.medseg").read_bytes() == package.read_bytes()


def test_some_folds_and_overrides(package: Path) -> None:
    model = load_model(package, CPU, ["1"], ["inference.mirror=true"])
    assert (model.folds, model.plan.inference.mirror) == (("1",), True)
    with pytest.raises(ModelError, match=r"has no fold 7; it has the folds 0, 1 of toy"):
        load_model(package, CPU, ["7"])
    with pytest.raises(ModelError, match=r"is a model of the configuration 'main', not '2d'"):
        load_model(package, CPU, configuration="2d")
    with pytest.raises(PlanError, match=r"did you mean 'inference\.mirror'"):
        load_model(package, CPU, overrides=["inference.miror=true"])


def test_a_cascade_brings_its_first_stage(tmp_path: Path) -> None:
    cascade = plans(
        {
            "3d_lowres": configuration(spacing=[2.0, 2.0, 2.0]),
            "3d_fullres": configuration(),
            "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
        }
    )
    for name in ("3d_lowres", "3d_cascade_fullres"):
        write_model(tmp_path, name, cascade)
    model = load_model(tmp_path, CPU, configuration="3d_cascade_fullres")
    save_package(model, tmp_path / "model.medseg", "")
    with zipfile.ZipFile(tmp_path / "model.medseg") as archive:
        assert {"previous/plan.yaml", "previous/fold_0/weights.safetensors"} <= set(archive.namelist())
    loaded = load_model(tmp_path / "model.medseg", CPU)
    assert loaded.previous is not None
    assert (loaded.configuration_name, loaded.previous.configuration_name) == ("3d_cascade_fullres", "3d_lowres")
    assert loaded.plan == model.plan.model_copy(update={"data": loaded.plan.data, "request": loaded.plan.request})


def test_a_package_under_another_name_is_one(package: Path) -> None:
    assert load_model(package.rename(package.with_suffix(".zip")), CPU).folds == ("0", "1")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("evil.py", "'evil.py', which does not belong in a package"),
        ("fold_0/evil.pkl", "does not belong in a package"),
        ("fold_x/weights.safetensors", "does not belong in a package"),
        ("previous/MODEL_CARD.md", "does not belong in a package"),
        ("../x", "leads out of its folder"),
        ("/x", "is not a relative path"),
        ("fold_2/weights.safetensors", "also holds fold_2/weights.safetensors"),
        ("previous/plan.yaml", "also holds previous/plan.yaml"),
    ],
)
def test_members_that_do_not_belong_there_are_refused(package: Path, name: str, why: str) -> None:
    with zipfile.ZipFile(package, "a") as archive:
        archive.writestr(name, b"import os")
    with pytest.raises(ModelError, match=why):
        load_model(package, CPU)


def test_a_link_is_refused(package: Path) -> None:
    with zipfile.ZipFile(package, "a") as archive:
        member = zipfile.ZipInfo("fold_2/weights.safetensors")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(ModelError, match="is a link"):
        load_model(package, CPU)


@pytest.mark.parametrize("name", ["metadata.json", "plan.yaml", "MODEL_CARD.md", "fold_1/weights.safetensors"])
def test_a_missing_member_is_named(package: Path, name: str) -> None:
    rewrite(package, lambda members: members.pop(name) and None)
    with pytest.raises(ModelError, match=rf"{name}"):
        load_model(package, CPU)


@pytest.mark.parametrize("name", ["plan.yaml", "fold_1/weights.safetensors"])
def test_a_changed_byte_is_found(package: Path, name: str) -> None:
    def change(members: Members) -> None:
        members[name] = members[name][:-1] + bytes([members[name][-1] ^ 1])

    rewrite(package, change)
    with pytest.raises(ModelError, match=rf"{name} was changed: its SHA-256 is not the one"):
        load_model(package, CPU)


def test_a_byte_that_rots_on_the_disk_is_found(package: Path) -> None:
    content = bytearray(package.read_bytes())
    content[len(content) // 2] ^= 1
    package.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.medseg"):
        load_model(package, CPU)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_truncated_package_is_named(package: Path, share: float) -> None:
    content = package.read_bytes()
    package.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelError, match=r"model\.medseg is damaged or not a zip file"):
        load_model(package, CPU)


def test_compressed_members_are_refused_before_they_are_read(package: Path) -> None:
    rewrite(package, lambda members: None, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelError, match=r"is compressed; members of a package are not\. Nothing of it was read"):
        load_model(package, CPU)


def test_a_huge_declared_size_is_refused_before_it_is_read(package: Path) -> None:
    content = bytearray(package.read_bytes())
    start = content.index(b"PK\x01\x02")
    name = b"fold_1/weights.safetensors"
    entry = content.index(name, start) - 46
    for place in (20, 24):  # compressed and uncompressed size in the central directory
        content[entry + place : entry + place + 4] = (0xFFFFFF00).to_bytes(4, "little")
    package.write_bytes(content)
    with pytest.raises(ModelError, match=r"declares 4,29\d,\d+,\d+ bytes and has only [\d,]+\. Nothing of it was read"):
        load_model(package, CPU)


def test_a_large_text_is_refused_before_it_is_read(package: Path) -> None:
    rewrite(package, lambda members: members.update({"plan.yaml": bytes(5 << 20)}))
    with pytest.raises(ModelError, match=r"plan\.yaml declares 5,242,880 bytes; expected at most 4,194,304"):
        load_model(package, CPU)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "something"}, "is not valid"),
        ({"schema_version": 99}, "was written by a newer medseg"),
        ({"schema_version": "x"}, "is not valid"),
        ({"stages": []}, "is not valid"),
        ({"stages": [{"configuration": "main", "folds": ["../0"]}]}, "is not valid"),
        ({"stages": [{"configuration": "other", "folds": ["0", "1"]}]}, "has no configuration other"),
        ({"code": "import os"}, "is not valid"),
    ],
)
def test_metadata_are_validated(package: Path, change: dict[str, Any], message: str) -> None:
    def edit(members: Members) -> None:
        members["metadata.json"] = json.dumps({**json.loads(members["metadata.json"]), **change}).encode()

    rewrite(package, edit)
    with pytest.raises(ModelError, match=message):
        load_model(package, CPU)


@pytest.mark.parametrize("content", [b"", b"[", b"[" * 100_000, b"\xff\xfe"])
def test_metadata_that_are_no_json_are_refused(package: Path, content: bytes) -> None:
    rewrite(package, lambda members: members.update({"metadata.json": content}))
    with pytest.raises(ModelError, match=r"metadata\.json is not valid"):
        load_model(package, CPU)


def test_a_plan_that_repeats_itself_by_reference_is_refused(package: Path) -> None:
    def edit(members: Members) -> None:
        bomb = b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
        members["plan.yaml"] = bomb + members["plan.yaml"]
        with_hashes(members)

    rewrite(package, edit)
    with pytest.raises(ModelError, match=r"repeats parts by reference"):
        load_model(package, CPU)


def safetensors(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a valid safetensors file"),
        ((1 << 40).to_bytes(8, "little") + b"{}", r"its header declares 1,099,511,627,776 bytes"),
        (safetensors(b"no json"), "not a valid safetensors file"),
        (safetensors({"a": {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]}}, bytes(8)), "a is of the type C64"),
        (safetensors({"a": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}}, bytes(8)), "do not fit their plan"),
        (safetensors({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}, bytes(4)), "not a valid"),
        (safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)), "do not fit their plan"),
    ],
)
def test_weights_are_checked_before_they_are_used(package: Path, content: bytes, message: str) -> None:
    def edit(members: Members) -> None:
        members["fold_0/weights.safetensors"] = content
        with_hashes(members)

    rewrite(package, edit)
    with pytest.raises(ModelError, match=message):
        load_model(package, CPU)


MONAI = {
    "attention_unet": {"channels": [4, 8], "strides": [2]},  # with counters of batch normalization
    "swin_unetr": {"feature_size": 12, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1]},  # with tables of indices
}


def monai_package(folder: Path, name: str) -> Path:
    plan = make_plan(2, {"network": {"name": name, "arguments": MONAI[name]}, "patch_voxels": [64, 64]})
    network = make_network(plan, plan.configuration("main")).eval()
    save_package(Model(plan, "main", ("0",), (network,), folder), folder / "model.medseg", "")
    return folder / "model.medseg"


@pytest.mark.parametrize("name", MONAI)
def test_whole_numbers_of_a_network_come_back(tmp_path: Path, name: str) -> None:
    loaded = load_model(monai_package(tmp_path, name), CPU).networks[0].state_dict()
    with zipfile.ZipFile(tmp_path / "model.medseg") as archive:
        saved = load(archive.read("fold_0/weights.safetensors"))
    assert any(not value.is_floating_point() for value in saved.values())
    assert all(torch.equal(value, loaded[key]) for key, value in saved.items())


@pytest.mark.parametrize("change", [lambda table: table + 10_000, lambda table: table.flip(0), torch.Tensor.float])
def test_indices_of_another_network_are_refused(tmp_path: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    def edit(members: Members) -> None:
        weights = load(members["fold_0/weights.safetensors"])
        key = next(key for key, value in weights.items() if not value.is_floating_point())
        members["fold_0/weights.safetensors"] = save(weights | {key: change(weights[key]).contiguous()})
        with_hashes(members)

    package = monai_package(tmp_path, "swin_unetr")
    rewrite(package, edit)
    with pytest.raises(ModelError, match=r"relative_position_index (holds other numbers|is float32)"):
        load_model(package, CPU)


def test_a_package_of_one_model_stays_of_the_first_version(package: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        metadata = json.loads(archive.read("metadata.json"))
    assert metadata["schema_version"] == 1
    assert "others" not in metadata


def test_ranges_of_8_bits_are_packed_where_they_are_of_these_weights(tmp_path: Path) -> None:
    model = load_run(write_run(tmp_path / "run"), CPU)
    of_fold_0 = quantization_of_weights(network_identity(model.networks[0]))
    model = replace(model, quantizations=(of_fold_0, of_fold_0))  # fold 1 was trained again since
    save_package(model, tmp_path / "model.medseg", "# card\n")
    with zipfile.ZipFile(tmp_path / "model.medseg") as archive:
        assert [name for name in archive.namelist() if name.endswith("int8.json")] == ["fold_0/int8.json"]
    assert load_model(tmp_path / "model.medseg", CPU).quantizations == (of_fold_0, None)


def quantization_of_weights(network: str) -> Quantization:
    evidence = Evidence(
        beside="fp32",
        tiles=1,
        training_cases=1,
        validation_cases=1,
        dice_before=0.9,
        dice_after=0.9,
        structures={},
        seconds_before=1,
        seconds_after=1,
    )
    versions = {"medseg": "0", "nncf": "0", "openvino": "0", "made": "2026-11-29T18:00:00+00:00"}
    return Quantization(
        schema_version=1, network=network, graph="0", careful=False, evidence=evidence, roundings=[], **versions
    )
