"""`medseg quantize`: from a trained fold to predictions in 8 bits, with evidence."""

import json
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from builders import contents
from toy_workspace import write_toy_workspace

from medseg.commands.models.options import PackageOptions, QuantizeOptions
from medseg.commands.models.package import package
from medseg.commands.models.quantize import quantize
from medseg.commands.models.quantize_fold import _Calibration, _evidence, _Scores
from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.predict import predict
from medseg.commands.records.verify import verify
from medseg.commands.train.options import TrainOptions
from medseg.commands.train.train import train
from medseg.core.errors import DataError, ModelError, PlanError
from medseg.models.quantization import LARGEST_LOSS, read_quantization
from medseg.networks.device import int8_weight_bits

if find_spec("nncf") is None:  # `importorskip` would import its telemetry, too
    pytest.skip("NNCF is an option: pip install 'medseg[int8]'", allow_module_level=True)
if int8_weight_bits() is None:
    pytest.skip("this is no x86 processor", allow_module_level=True)

INT8 = ("inference.precision=int8",)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quantized")
    write_toy_workspace(folder)
    train(None, folder, TrainOptions(device="cpu", steps=2))
    return folder


@pytest.fixture
def any_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of two steps may lose anything."""
    monkeypatch.setattr("medseg.models.quantization.LARGEST_LOSS", 1.0)


def answers(workspace: Path, name: str, model: str | Path) -> dict[str, bytes]:
    options = PredictOptions(overrides=INT8, device="cpu")
    scans = sorted((workspace / "data").glob("*_image.nii.gz"))
    (workspace / "scans").mkdir(exist_ok=True)
    for scan in scans:
        (workspace / "scans" / scan.name).write_bytes(scan.read_bytes())
    result = predict(workspace / "scans", workspace / name, model, workspace, options)
    assert not result.failed
    return {file: content for file, content in contents(workspace / name).items() if file.endswith(".nii.gz")}


def test_a_run_and_its_package_predict_in_8_bits(workspace: Path, any_loss: None) -> None:
    result = quantize("toy", workspace)
    fold = result.folder / "fold_0"
    made = read_quantization(fold / "int8.json")
    assert made is not None
    assert made == result.folds["0"]
    assert made.evidence is not None
    assert made.evidence.calibrated_on == ["0", "1", "2"]
    assert (made.evidence.training_cases, made.evidence.validation_cases) == (3, 1)
    assert {*made.evidence.structures} == {"one", "two"}
    assert result.failed == {}
    commands = json.loads((fold / "manifest.json").read_text())["commands"]
    assert [file["file"] for file in commands["quantize"]["files"]] == ["int8.json"]

    of_run = answers(workspace, "of_run", "toy")
    entry = json.loads((workspace / "of_run" / "manifest.json").read_text())["commands"]["predict"]
    assert entry["computed_with"]["precision"] == "int8"
    assert entry["computed_with"]["backend"] == "openvino"
    assert [file["file"] for file in entry["model"]["int8"]] == ["fold_0/int8.json"]
    verified = verify(workspace / "of_run", model=result.folder)
    assert "fold_0/int8.json" in {file.file for file in verified.files if file.role == "model"}

    packed = package("toy", workspace / "toy.medseg", workspace, PackageOptions(replace=True)).path
    with zipfile.ZipFile(packed) as archive:
        assert "calibrated_on" not in archive.read("fold_0/int8.json").decode()
        assert json.loads(archive.read("metadata.json"))["schema_version"] == 3
    assert answers(workspace, "of_package", packed) == of_run


def test_weights_may_have_7_bits_for_any_processor(workspace: Path, any_loss: None) -> None:
    made = quantize("toy", workspace, QuantizeOptions(any_processor=True)).folds["0"]
    assert (made.weight_bits, made.schema_version) == (7, 2)
    assert "in int8 with weights of 7 bits, " in made.describe()
    assert read_quantization(workspace / "runs" / "toy" / "main" / "fold_0" / "int8.json") == made
    answers(workspace, "of_7_bits", "toy")


def test_what_loses_too_much_is_written_down_and_refused(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medseg.models.quantization.LARGEST_LOSS", -2.0)
    made = quantize("toy", workspace).folds["0"]
    assert not made.kept
    assert made.careful, "the second way was tried"
    with pytest.raises(ModelError, match="lost too much when it was quantized"):
        answers(workspace, "refused", "toy")
    packed = package("toy", workspace / "plain.medseg", workspace, PackageOptions(replace=True)).path
    with zipfile.ZipFile(packed) as archive:
        assert "fold_0/int8.json" not in archive.namelist()
        assert json.loads(archive.read("metadata.json"))["schema_version"] == 1


def test_what_cannot_be_quantized_is_named(workspace: Path) -> None:
    with pytest.raises(ModelError, match="has no trained fold 7; trained there: 0"):
        quantize("toy", workspace, QuantizeOptions(folds=("7",)))
    with pytest.raises(ModelError, match="fold_0 has no trained fold 1; trained there: 0"):
        quantize(workspace / "runs" / "toy" / "main" / "fold_0", workspace, QuantizeOptions(folds=("1",)))
    split = workspace / "runs" / "toy" / "main" / "fold_0" / "split.json"
    text = split.read_text()
    try:
        split.write_text('{"train": ["0"], "val": []}')
        with pytest.raises(ModelError, match="keeps no case apart"):
            quantize("toy", workspace)
        split.unlink()
        with pytest.raises(ModelError, match="does not say on which cases it was trained"):
            quantize("toy", workspace)
    finally:
        split.write_text(text)


def test_cases_that_are_gone_are_named(workspace: Path, any_loss: None) -> None:
    split = workspace / "runs" / "toy" / "main" / "fold_0" / "split.json"
    text = split.read_text()
    try:
        split.write_text(json.dumps({part: [*ids, f"gone_{part}"] for part, ids in json.loads(text).items()}))
        assert {*quantize("toy", workspace).failed} == {"gone_train", "gone_val"}
    finally:
        split.write_text(text)


def test_training_in_8_bits_is_refused(workspace: Path) -> None:
    with pytest.raises(PlanError, match="prepares a fold once it is trained"):
        train(None, workspace, TrainOptions(device="cpu", steps=1, fold="all", overrides=INT8))


def test_only_cases_that_both_precisions_scored_are_compared() -> None:
    """Case b failed in 8 bits: that a, the better one, is left must not look like a gain."""
    before = _Scores({"a": {"one": 0.9}, "b": {"one": 0.5}}, {"a": 2.0, "b": 4.0})
    after = _Scores({"a": {"one": 0.899}}, {"a": 1.0}, {"b": "no memory"})
    found = _evidence(["one", "two"], "bf16", _Calibration(), before, after)
    assert (found.dice_before, found.dice_after, found.validation_cases) == (0.9, 0.899, 1)
    assert found.structures == {"one": (0.9, 0.899), "two": (None, None)}
    assert (found.seconds_before, found.seconds_after) == (2.0, 1.0)
    assert found.loss == LARGEST_LOSS, "0.9 - 0.899 is a little more than 0.001 in binary"
    with pytest.raises(DataError, match="b: no memory"):
        _evidence(["one"], "bf16", _Calibration(), before, _Scores(failed=after.failed))
