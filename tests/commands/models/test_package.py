"""`medseg package`: one file of a trained model, and its card."""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import GOLDENS, NNUNET, make_plan
from nnunet_folders import configuration, plans, write_model

from medseg.commands.models.import_nnunet import import_nnunet
from medseg.commands.models.options import ImportOptions, PackageOptions
from medseg.commands.models.package import package
from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.predict import predict
from medseg.core.errors import ModelError
from medseg.models.card import About, FoldScore, model_card
from medseg.models.model import Model, make_network
from medseg.models.record import RunRecord
from medseg.models.run import save_weights
from medseg.models.run_files import PLAN, FoldFolder
from medseg.plans.file import save_plan


def write_run(workspace: Path, name: str = "toy", **record: Any) -> Path:
    plan = make_plan(2, name=name)
    fold = workspace / "runs" / name / "main" / "fold_0"
    torch.manual_seed(0)
    save_plan(plan, fold / PLAN)
    network = make_network(plan, plan.configuration("main"))
    save_weights(network, FoldFolder(fold), RunRecord(**{"configuration": "main", **record}))
    return fold


def card_of(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        return archive.read("MODEL_CARD.md").decode()


def test_a_run_becomes_one_file(tmp_path: Path) -> None:
    write_run(tmp_path)
    result = package("toy", tmp_path / "model.medseg", tmp_path)
    assert (result.path, result.model.folds) == (tmp_path / "model.medseg", ("0",))
    assert result.bytes == result.path.stat().st_size
    assert result.notes == (
        "the card says nothing of license and intended_use; give it with --license and --intended-use",
    )
    with pytest.raises(ModelError, match=r"model\.medseg exists already"):
        package("toy", tmp_path / "model.medseg", tmp_path)
    package("toy", tmp_path / "model.medseg", tmp_path, PackageOptions(replace=True))


def test_the_card_says_what_is_known(tmp_path: Path) -> None:
    fold = write_run(tmp_path, steps=70)
    dice = {"one": {"measures": {"dice": {"mean": 0.8125}}}, "two": {"measures": {"dice": {"mean": None}}}}
    scores = {"structures": dice, "cases": [{}, {}, {}]}
    (fold / "validation").mkdir()
    (fold / "validation" / "metrics.json").write_text(json.dumps(scores))
    about = About(license="CC BY 4.0", intended_use="Research on toys.")
    result = package("toy", tmp_path / "model.medseg", tmp_path, PackageOptions(about=about))
    assert result.notes == ()
    card = card_of(result.path)
    assert card.startswith("# toy\n")
    for line in (
        "| one | 1 |",
        "Research on toys.",
        "- Licence: CC BY 4.0",
        "- Author: Not stated.",
        "- 4 cases, 2D; channels: MRI",
        "- two: in 4 cases, 0.2 ml on average",
        "| fold | steps | cases | one | two |",
        "| 0 | 70 | 3 | 0.8125 | - |",
        "- main: plain_unet, features [4, 8, 16], patches of 16 x 16 at 1 x 1 mm; folds 0",
    ):
        assert line in card.splitlines(), line


def test_a_card_file_and_what_is_given_before_it(tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / "card.yaml").write_text("license: CC0\nauthor: Anna\nlimitations: |\n  Not for teeth.\n")
    options = PackageOptions(card=tmp_path / "card.yaml", about=About(license="MIT"))
    card = card_of(package("toy", tmp_path / "model.medseg", tmp_path, options).path)
    assert "- Licence: MIT" in card
    assert "- Author: Anna" in card
    assert "Not for teeth.\nScans unlike those" in card


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("licence: CC0", r"there is no field 'licence'.\nFields are author, license"),
        ("license: [a, b]", r"license is \['a', 'b'\]; expected text"),
        ("- a", "holds no fields"),
        ("a: [", "is not valid YAML"),
        ("license: !!python/object/apply:os.system ['x']", "is not valid YAML"),
    ],
)
def test_a_card_file_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    write_run(tmp_path)
    (tmp_path / "card.yaml").write_text(text)
    with pytest.raises(ModelError, match=message):
        package("toy", tmp_path / "model.medseg", tmp_path, PackageOptions(card=tmp_path / "card.yaml"))
    assert not (tmp_path / "model.medseg").exists()


def test_what_cannot_be_packed_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path, network_factory="make_own")
    with pytest.raises(ModelError, match=r"model\.zip does not end with \.medseg\.\nName it model\.medseg"):
        package("toy", tmp_path / "model.zip", tmp_path)
    for folder in (tmp_path, Path()):  # the last has no name that a suffix could be put to
        with pytest.raises(ModelError, match=r"is a folder\.\nName a file in it, such as .*model\.medseg"):
            package("toy", folder, tmp_path)
    with pytest.raises(ModelError, match="make_own"):
        package("toy", tmp_path / "model.medseg", tmp_path)
    with pytest.raises(ModelError, match="No trained model fits 'other'"):
        package("other", tmp_path / "model.medseg", tmp_path)
    with pytest.raises(ModelError, match=r"card\.yaml could not be read"):
        package("toy", tmp_path / "model.medseg", tmp_path, PackageOptions(card=tmp_path / "card.yaml"))


def test_nnunets_model_is_packed_as_it_is(tmp_path: Path) -> None:
    cascade = plans(
        {
            "3d_lowres": configuration(spacing=[2.0, 2.0, 2.0]),
            "3d_fullres": configuration(),
            "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
        }
    )
    for name in ("3d_lowres", "3d_cascade_fullres"):
        write_model(tmp_path / "results", name, cascade)
    options = PackageOptions(configuration="3d_cascade_fullres")
    result = package(tmp_path / "results", tmp_path / "model.medseg", tmp_path, options)
    assert result.model.previous is not None
    assert "3d_cascade_fullres, after 3d_lowres" in card_of(result.path)


@pytest.mark.real
@pytest.mark.skipif(not GOLDENS.is_dir(), reason=f"no goldens in {GOLDENS}; set MEDSEG_TEST_GOLDENS")
def test_a_model_its_import_and_its_package_give_the_same_answer(tmp_path: Path) -> None:
    theirs = NNUNET / "plain2d" / "model"
    import_nnunet(theirs, tmp_path, ImportOptions(name="toy"))
    package("toy", tmp_path / "model.medseg", tmp_path)
    scan = NNUNET / "scans" / "case3_0000.nii.gz"
    answers = []
    for number, model in enumerate([theirs, "toy", tmp_path / "model.medseg"]):
        options = PredictOptions(mirror=False, device="cpu")
        result = predict(scan, tmp_path / f"out{number}", model, tmp_path, options)
        answers.append(result.files["case3"].read_bytes())
    assert answers[0] == answers[1] == answers[2]


def test_names_cannot_become_anything_but_names_in_the_card(tmp_path: Path) -> None:
    names = ["a|b", "<script>alert(1)</script>", "[x](http://y)", "left_kidney", "*b*", "`c`"]
    plan = make_plan(labels={"structures": {name: number for number, name in enumerate(names, start=1)}})
    model = Model(plan, "main", ("0",), (), tmp_path)
    about = About(author="A <b>c</b>", intended_use="For *teeth*.\n# Scores\nBest\n====", license="CC0")
    card = model_card(model, about, [FoldScore("0", 3, dict.fromkeys(names, 0.5))], "medseg")
    lines = card.splitlines()
    assert r"| a\|b | 1 |" in lines
    assert r"| \<script\>alert(1)\</script\> | 2 |" in lines
    assert r"| \[x\](http://y) | 3 |" in lines
    assert "| left_kidney | 4 |" in lines
    assert not any(re.search(r"(?<!\\)<", line) for line in lines)
    assert "For *teeth*." in lines, "what a person writes is Markdown"
    assert [line for line in lines if line.startswith("#")].count("## Scores") == 1
    assert "# Scores" not in lines
    assert "====" not in lines
