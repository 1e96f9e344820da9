"""Networks as ONNX: what other programs read is what torch computes, and the JSON says what lies around it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import make_plan
from toy_workspace import write_toy_workspace

import medseg
from medseg.cli.app import main
from medseg.core.errors import ModelError
from medseg.models.model import Model, make_network
from medseg.models.onnx_export import OPSET, check_can_export, describe, export_fold
from medseg.models.open import load_model
from medseg.networks.table import NETWORKS
from medseg.selection.file import selection_path, write_selection
from medseg.selection.record import Member, Selection, Step

onnx = pytest.importorskip("onnx", reason="ONNX is an option: pip install 'medseg[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX is an option: pip install 'medseg[onnx]'")

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a run of two folds."""
    workspace = tmp_path_factory.mktemp("export")
    write_toy_workspace(workspace)
    for fold in ("0", "all"):
        medseg.train(None, workspace, medseg.TrainOptions(device="cpu", fold=fold, steps=2))
    return workspace


@pytest.mark.slow
def test_another_program_computes_what_torch_does(workspace: Path) -> None:
    result = medseg.export("toy", workspace / "toy.onnx", workspace, medseg.ExportOptions(folds=["0"]))
    (file,) = result.files
    assert (file.path, file.metadata) == (workspace / "toy.onnx", workspace / "toy.json")
    graph = onnx.load(file.path)
    assert [entry.version for entry in graph.opset_import if entry.domain == ""] == [OPSET]
    about = json.loads(file.metadata.read_text())
    assert json.loads(graph.metadata_props[0].value) == about
    assert about["input"]["shape"] == ["any", 1, 16, 16]
    session = onnxruntime.InferenceSession(file.path, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape[1:] == [1, 16, 16]
    network = load_model(workspace / "runs" / "toy" / "main", CPU, ["0"]).networks[0]
    for count in (1, 4):
        tiles = np.random.default_rng(0).normal(size=(count, 1, 16, 16)).astype(np.float32)
        (logits,) = session.run(["logits"], {"tiles": tiles})
        with torch.no_grad():
            expected = network(torch.from_numpy(tiles))[0].numpy()
        np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)
    assert str(workspace) not in file.metadata.read_text()


@pytest.mark.slow
def test_several_folds_are_several_files(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = workspace / "folds" / "toy.onnx"
    assert main_code(["export", "toy", str(target), "--workspace", str(workspace)]) == 0
    names = sorted(path.name for path in target.parent.iterdir())
    assert names == ["toy_fold_0.json", "toy_fold_0.onnx", "toy_fold_all.json", "toy_fold_all.onnx"]
    said = capsys.readouterr()
    assert "averages the logits of all folds" in " ".join((said.out + said.err).split())
    assert json.loads((target.parent / "toy_fold_all.json").read_text())["fold"] == "all"
    with pytest.raises(ModelError, match=r"(?s)toy_fold_0\.onnx exists already.*--force"):
        medseg.export("toy", target, workspace)
    medseg.export("toy", target, workspace, medseg.ExportOptions(replace=True))


@pytest.mark.slow
@pytest.mark.parametrize(("named", "said"), [({}, True), ({"folds": ["0"]}, False)])
def test_what_predict_does_to_answers_and_an_export_does_not_is_said(
    workspace: Path, tmp_path: Path, named: dict[str, Any], said: bool
) -> None:
    """With folds named, `predict` does not use the selection, either."""
    member = Member(configuration="main", folds=["0", "all"])
    steps = [Step(operation="largest_component", structures=["one"])]
    path = selection_path(workspace / "runs" / "toy")
    write_selection(Selection(plan="toy", medseg="0", made="now", members=[member], postprocessing=steps), path)
    try:
        notes = medseg.export("toy", tmp_path / "toy.onnx", workspace, medseg.ExportOptions(**named)).notes
    finally:
        path.unlink()
    sentence = "medseg predict does to answers what the export does not: largest component of one"
    assert (sentence in notes) == said


def main_code(arguments: list[str]) -> Any:
    """The exit code of a command."""
    import sys

    before, sys.argv = sys.argv, ["medseg", *arguments]
    try:
        main()
    except SystemExit as error:
        return error.code
    finally:
        sys.argv = before


def a_model(**plan: Any) -> Model:
    made = make_plan(2, **plan)
    torch.manual_seed(0)
    network = make_network(made, made.configuration("main")).eval()
    return Model(made, "main", ("0",), (network,), Path("nowhere"))


def test_a_name_that_is_none_of_onnx_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"(?s)model\.pt does not end with \.onnx.*Name it model\.onnx"):
        medseg.export("toy", tmp_path / "model.pt", tmp_path)
    with pytest.raises(ModelError, match=r"is a folder\.\nName a file in it, such as model\.onnx"):
        medseg.export("toy", Path(), tmp_path)


def test_outputs_are_named_with_the_values_that_are_written() -> None:
    about = describe(a_model(), 0)
    assert [(output["structure"], output["value"]) for output in about["output"]["outputs"]] == [
        ("background", 0),
        ("one", 1),
        ("two", 2),
    ]
    assert any("largest logit" in step for step in about["what_a_caller_does"])
    starts = [step.split()[0] for step in about["what_a_caller_does"]]
    assert starts == ["Bring", "Crop", "Normalize", "Resample", "Pad", "Where", "Resample", "Compare"]
    steps = [step for step in about["what_a_caller_does"] if step.startswith("Normalize")]
    assert steps == [
        "Normalize each channel by its scheme in `normalization`. zscore: standardize by the channel's own mean and "
        "standard deviation."
    ]
    assert about["mirror_axes"] == ["y", "x"]
    regions = describe(
        a_model(labels={"structures": {"whole": [1, 2], "core": 2}, "activation": "sigmoid", "region_values": [1, 2]}),
        0,
    )
    assert [(output["structure"], output["value"]) for output in regions["output"]["outputs"]] == [
        ("whole", 1),
        ("core", 2),
    ]
    assert any("logit is above 0" in step for step in regions["what_a_caller_does"])
    scene = describe(a_model(labels={"structures": {"sky": 0, "road": 1}, "background": None}), 0)
    assert [(output["structure"], output["value"]) for output in scene["output"]["outputs"]] == [
        (None, None),
        ("sky", 0),
        ("road", 1),
    ]
    assert any("output 0 left out" in step for step in scene["what_a_caller_does"])
    assert not any(step.startswith("Crop") for step in scene["what_a_caller_does"]), "every voxel has an answer"


def test_what_cannot_be_exported_is_refused_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    model = a_model()
    with pytest.raises(ModelError, match=r"(?s)A cascade is not exported.*Export a model of main alone"):
        check_can_export(replace(model, previous=model))
    monkeypatch.setitem(NETWORKS, "plain_unet", replace(NETWORKS["plain_unet"], no_onnx="it sorts voxels"))
    with pytest.raises(ModelError, match=r"plain_unet cannot be exported to ONNX: it sorts voxels"):
        check_can_export(model)


class Sorting(torch.nn.Module):
    """Does what neither exporter can follow: its layers depend on the values that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 3, 1)

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        return [self.conv(x) if float(x.sum()) == 0 else -self.conv(x)]


@pytest.mark.slow
def test_a_graph_that_answers_otherwise_is_not_written(tmp_path: Path) -> None:
    """Traced on zeros, it has only one of the two branches."""
    model = replace(a_model(), networks=(Sorting(),))
    with pytest.raises(ModelError, match=r"logits differ from torch's by .* Nothing was written"):
        export_fold(model, 0, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
