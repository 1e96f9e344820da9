"""One way to open a trained model, whatever it is."""

from pathlib import Path

import pytest
import torch
from builders import make_plan
from nnunet_folders import write_model

from medseg.core.errors import ModelError
from medseg.models.model import make_network
from medseg.models.open import load_model
from medseg.models.record import RunRecord
from medseg.models.run import save_weights
from medseg.models.run_files import PLAN, FoldFolder
from medseg.plans.file import save_plan
from medseg.selection.file import selection_path, write_selection
from medseg.selection.record import Member, Selection

CPU = torch.device("cpu")


def write_run(folder: Path) -> Path:
    plan = make_plan(2)
    save_plan(plan, folder / "fold_0" / PLAN)
    network = make_network(plan, plan.configuration("main"))
    save_weights(network, FoldFolder(folder / "fold_0"), RunRecord(configuration="main"))
    return folder


def test_a_run_by_its_folder_its_fold_and_its_plans_folder(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "toy" / "main")
    for path in (folder, folder / "fold_0", tmp_path / "toy"):
        assert load_model(path, CPU).folder == folder
    assert load_model(str(folder), CPU, configuration="main").folds == ("0",)


def test_of_several_runs_one_has_to_be_chosen(tmp_path: Path) -> None:
    for name in ("a", "main"):
        write_run(tmp_path / "toy" / name)
    with pytest.raises(ModelError, match=r"toy holds 2 trained models: a, main\.\nChoose one"):
        load_model(tmp_path / "toy", CPU)
    assert load_model(tmp_path / "toy", CPU, configuration="main").folder == tmp_path / "toy" / "main"


def test_a_selection_that_is_not_used_is_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "toy" / "main")
    assert load_model(folder, CPU, selection=True).notes == ()
    members = [Member(configuration="main", folds=["0"])]
    path = selection_path(tmp_path / "toy")
    write_selection(Selection(plan="toy", medseg="0", made="now", members=members), path)
    for model, options in ((folder, {}), (tmp_path / "toy", {"folds": ["0"]}), (folder / "fold_0", {})):
        [note] = load_model(model, CPU, selection=True, **options).notes
        assert note.startswith(f"{path} is not used")
        assert note.endswith("name only the plan, toy, to use it")
        assert load_model(model, CPU, selection=False, **options).notes == ()
    [note] = load_model(tmp_path / "toy", CPU, selection=True).notes
    assert note.startswith(f"{path} selected main")


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"There is no model .*nothing"):
        load_model(tmp_path / "nothing", CPU)
    with pytest.raises(ModelError, match=r"has no trained fold"):
        load_model(tmp_path, CPU)
    (tmp_path / "weights.pth").write_bytes(b"x")
    with pytest.raises(
        ModelError, match=r"weights\.pth is not a model\.\nExpected a folder, a \.medseg package, or a zip"
    ):
        load_model(tmp_path / "weights.pth", CPU)


def test_a_checkpoint_is_chosen_only_of_nnunets(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "toy" / "main")
    with pytest.raises(ModelError, match="is a medseg model, which has one set of weights per fold"):
        load_model(folder, CPU, checkpoint="best")


def test_a_network_of_ones_own_is_no_part_of_nnunets(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    with pytest.raises(ModelError, match="factory"):
        load_model(folder, CPU, factory=lambda configuration, channels, outputs: torch.nn.Identity())
