"""Packages of several configurations that answer together, with their selection."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from trained.package_files import Members, rewrite, with_hashes
from trained.two_configurations import NAMES, write_made_up

from medseg.core.errors import ModelError
from medseg.models.open import load_model
from medseg.models.package.write import save_package
from medseg.selection.file import selection_path, write_selection
from medseg.selection.record import Member, Selection, Step

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def packed_ensemble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of two configurations that answer together."""
    folder = tmp_path_factory.mktemp("ensemble")
    write_made_up(folder)
    members = [Member(configuration=name, folds=["0", "1"]) for name in NAMES]
    steps = [Step(operation="largest_component", structures=["one"])]
    selection = Selection(plan="toy", medseg="a test", made="now", members=members, postprocessing=steps)
    write_selection(selection, selection_path(folder / "runs" / "toy"))
    save_package(load_model(folder / "runs" / "toy", CPU, selection=True), folder / "model.medseg", "card")
    return folder / "model.medseg"


@pytest.fixture
def ensemble(packed_ensemble: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(packed_ensemble, tmp_path / "model.medseg"))


def test_an_ensemble_comes_out_as_it_went_in(ensemble: Path) -> None:
    model = load_model(ensemble, CPU, selection=True)
    assert [part.configuration_name for part in model.together] == [*NAMES]
    assert [part.folds for part in model.together] == [("0", "1")] * 2
    assert model.selection is not None
    assert model.selection.postprocessing[0].operation == "largest_component"
    with zipfile.ZipFile(ensemble) as archive:
        assert json.loads(archive.read("metadata.json"))["schema_version"] == 2
        assert {"selection.yaml", "member_1/plan.yaml", "member_1/fold_1/weights.safetensors"} <= {*archive.namelist()}


@pytest.mark.parametrize("name", ["selection.yaml", "member_1/plan.yaml", "member_1/fold_0/weights.safetensors"])
def test_a_missing_member_of_an_ensemble_is_named(ensemble: Path, name: str) -> None:
    rewrite(ensemble, lambda members: members.pop(name))
    with pytest.raises(ModelError, match=f"lacks {name}"):
        load_model(ensemble, CPU, selection=True)


def test_a_selection_of_other_models_is_refused(ensemble: Path) -> None:
    def change(members: Members) -> None:
        members["selection.yaml"] = members["selection.yaml"].replace(b"configuration: 2d", b"configuration: 3d")
        with_hashes(members)

    rewrite(ensemble, change)
    with pytest.raises(ModelError, match=r"selection\.yaml names other models than its metadata\.json"):
        load_model(ensemble, CPU, selection=True)


@pytest.mark.parametrize("name", ["member_0/plan.yaml", "member_16/plan.yaml", "member_1/selection.yaml"])
def test_members_of_no_ensemble_are_refused(ensemble: Path, name: str) -> None:
    rewrite(ensemble, lambda members: members.update({name: b""}))
    with pytest.raises(ModelError, match=f"holds '{name}', which does not belong in a package"):
        load_model(ensemble, CPU, selection=True)
