"""Every verb refuses a place for its output that is a file, or lies in one, before it works, and leaves the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_sets import run, write_all

from medseg.cli.app import VERBS, verb_function
from medseg.cli.parsing.signature import fields_of_function, flat

LINES = {
    "check": ["check data --output PLACE", "check data --workspace PLACE"],
    "labelme": ["labelme drawn PLACE"],
    "plan": ["plan data --workspace PLACE"],
    "train": ["train --workspace PLACE"],
    "crossval": ["crossval --workspace PLACE"],
    "select": ["select --workspace PLACE"],
    "quantize": ["quantize --workspace PLACE"],
    "predict": ["predict data/imagesTr PLACE --model MODEL"],
    "view": ["view data/imagesTr/case_0.nii.gz --output PLACE/page.html"],
    "watch": ["watch data/imagesTr PLACE --once"],
    "evaluate": ["evaluate masks data/labelsTr --output PLACE"],
    "dicom": ["dicom map.nii.gz study PLACE --structures ball=1"],
    "codes": ["codes kidney --output PLACE/codes.csv"],
    "package": ["package MODEL PLACE/model.medseg"],
    "export": ["export MODEL PLACE/model.onnx", "export MODEL PLACE/bundle --monai-bundle"],
    "import-nnunet": ["import-nnunet nnunet --workspace PLACE"],
    "demo": ["demo PLACE"],
}
"""Commands of each verb that writes, with PLACE where its output goes."""
ELSEWHERE = {
    "rank": "writes as predict does",
    "networks": "reads a plan of the workspace",
    "report": "writes into a run that is there",
}


def writes(verb: str) -> bool:
    names = {field.name for field in flat(fields_of_function(verb_function(verb)))}
    return bool(names & {"output", "workspace"}) or verb == "demo"


def test_every_verb_that_writes_is_tried() -> None:
    assert {verb for verb in VERBS if writes(verb)} == LINES.keys() | ELSEWHERE.keys()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outputs")
    write_all(folder)
    (folder / "taken").write_text("keep")
    (folder / "astray").symlink_to("nowhere/at/all")
    return folder


@pytest.mark.parametrize("place", ["taken", "taken/new", "astray"])
@pytest.mark.parametrize("line", [line for lines in LINES.values() for line in lines])
def test_a_file_is_no_place_for_an_output(
    line: str,
    place: str,
    folder: Path,
    small_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    assert run(line.replace("PLACE", place).replace("MODEL", str(small_model))) == 2
    said = " ".join(capsys.readouterr().err.split())
    kind = "a link that leads nowhere" if place == "astray" else "a file"
    assert f"{place.partition('/')[0]} is {kind}; expected a folder" in said.replace(", which is", " is")
    assert (folder / "taken").read_text() == "keep"
