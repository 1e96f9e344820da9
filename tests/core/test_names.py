"""Names that become paths: one rule, and every way in asks it."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import configuration_values, plan_values
from nnunet_folders import write_model

from medseg.commands.models.import_nnunet import ImportOptions, import_nnunet
from medseg.core.case import check_ids, read_cases
from medseg.core.errors import DataError, MedsegError
from medseg.core.names import check_name, file_name_for, name_problem, relative_path_problem
from medseg.models.open import load_model
from medseg.models.run_files import RunFolder
from medseg.models.workspace import Workspace
from medseg.plans.file import validate_plan

HOSTILE = [
    "",
    ".",
    "..",
    "../../../../x",
    "..\\..\\x",
    "/etc/x",
    "\\\\server\\share",
    "C:x",
    "c:\\x",
    "a/b",
    "a\\b",
    "a\0b",
    "a\nb",
    ".hidden",
    "trailing.",
    "trailing ",
    "CON",
    "nul.txt",
    "Com1",
    "lpt9.nii.gz",
    "x" * 200,
    "ö" * 100,
]
FINE = ["3d_fullres", "2d", "case 1", "Ödem", "sub-01_ses.2", "console", "common", "a..b", "+", "x" * 180]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused_with_a_reason(name: str) -> None:
    assert name_problem(name)
    with pytest.raises(ValueError, match=r"cannot be the name of a plan, .* it \w+") as caught:
        check_name(name, "plan")
    assert len(str(caught.value)) < 250
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", FINE)
def test_usual_names_are_taken(name: str) -> None:
    assert name_problem(name) is None
    assert check_name(name, "plan") == name


@pytest.mark.parametrize("name", [*HOSTILE, *FINE])
def test_any_text_becomes_a_name(name: str) -> None:
    made = file_name_for(name)
    assert name_problem(made) is None
    assert file_name_for(made) == made


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/x", "C:/x", "C:x", "a\\..\\x", "", "a\0b"])
def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    assert relative_path_problem(path)
    assert relative_path_problem("fold_0/validation/x.nii.gz") is None


def as_plan_name(name: str, folder: Path) -> Any:
    return validate_plan(plan_values(name=name), {}, "plan.yaml")


def as_configuration(name: str, folder: Path) -> Any:
    values = plan_values(default_configuration=name, configurations={name: configuration_values()})
    return validate_plan(values, {}, "plan.yaml")


def as_previous_stage(name: str, folder: Path) -> Any:
    values = plan_values()
    values["configurations"]["full"] = configuration_values(previous_stage=name)
    return validate_plan({**values, "default_configuration": "full"}, {}, "plan.yaml")


def as_case(name: str, folder: Path) -> Any:
    check_ids([name], "cases.csv")


def as_name_of_an_import(name: str, folder: Path) -> Any:
    return import_nnunet(write_model(folder / "results"), folder, ImportOptions(name=name))


def as_name_in_an_import(name: str, folder: Path) -> Any:
    model = write_model(folder / "results")
    plans = json.loads((model / "plans.json").read_text())
    plans["dataset_name"] = name
    (model / "plans.json").write_text(json.dumps(plans))
    return import_nnunet(model, folder)


def as_configuration_of_an_import(name: str, folder: Path) -> Any:
    model = write_model(folder / "results")
    plans = json.loads((model / "plans.json").read_text())
    plans["configurations"][name] = plans["configurations"].pop(next(iter(plans["configurations"])))
    (model / "plans.json").write_text(json.dumps(plans))
    return import_nnunet(model / "plans.json", folder)


@pytest.mark.parametrize(
    "use",
    [
        as_plan_name,
        as_configuration,
        as_previous_stage,
        as_case,
        as_name_of_an_import,
        as_name_in_an_import,
        as_configuration_of_an_import,
    ],
)
def test_no_way_in_takes_a_hostile_name(tmp_path: Path, use: Any) -> None:
    outer = tmp_path / "a" / "b" / "c" / "d" / "e"
    for number, name in enumerate(HOSTILE):
        folder = outer / str(number)
        folder.mkdir(parents=True)
        with pytest.raises((MedsegError, ValueError)):
            use(name, folder)
        assert not (folder / "runs").exists()
        assert not (folder / "plans").exists()
    assert [path.name for path in tmp_path.rglob("*") if "x" in path.name and path.is_dir()] == []


@pytest.mark.parametrize("use", [as_plan_name, as_configuration, as_previous_stage, as_case])
def test_the_same_ways_take_usual_names(tmp_path: Path, use: Any) -> None:
    for name in FINE:
        use(name, tmp_path)


@pytest.mark.parametrize("fold", ["../x", "/../../x", "a\\b", "0\0"])
def test_a_fold_is_no_path(tmp_path: Path, fold: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a fold"):
        RunFolder(tmp_path).fold(fold)


def test_a_row_with_a_hostile_id_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    table.write_text("id,channels\n../../x,scan.nii.gz\n")
    with pytest.raises(DataError, match="because files are named after it: it starts with a dot"):
        read_cases(table, tmp_path)


def test_a_stage_of_a_zip_cannot_lead_out_of_it(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "results")
    plans = json.loads((folder / "plans.json").read_text())
    configuration = folder.name.rpartition("__")[2]
    plans["configurations"]["../../x"] = {}
    plans["configurations"][configuration]["previous_stage"] = "../../x"
    (folder / "plans.json").write_text(json.dumps(plans))
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*"):
            archive.write(file, file.relative_to(tmp_path / "results"))
    with pytest.raises(MedsegError, match="x"):
        load_model(path, torch.device("cpu"))


def test_plans_lie_in_their_folder(tmp_path: Path) -> None:
    assert Workspace(tmp_path).plan_path("name") == tmp_path / "plans" / "name.yaml"
