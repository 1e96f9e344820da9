"""A pretrained encoder from `medseg plan --network` to the answers of a package."""

from pathlib import Path

import numpy as np
import pytest
import torch
from encoder_library import require_encoders
from PIL import Image as pillow
from safetensors.torch import load_file

import medseg
from medseg.plans.file import load_plan
from medseg.plans.schema import Plan
from medseg.training.length.extension import parse_extension

WHOLE = ["training.validation_cases=1", "training.validations=1"]


def write_colours(folder: Path, grey: bool = False) -> Path:
    """Six pictures of a disk in another colour than what is around it, larger than the patch and no multiple of 32."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:70, :90]
    for number in range(6):
        mask = (rows - 30 - number) ** 2 + (columns - 40) ** 2 < 300
        picture = rng.integers(0, 60, (70, 90, 3)) + mask[..., None] * [150, 60, 20]
        values = picture[..., 0] if grey else picture
        for name, array in (("images", values), ("masks", mask * 1)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            pillow.fromarray(array.astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


def planned(folder: Path, weights: Path | str | None, **options: object) -> Plan:
    named = medseg.PlanOptions(preset="cpu", weights=None if weights is None else str(weights), **options)
    return medseg.plan(folder / "data", folder, "colours", named).plan


@pytest.mark.parametrize(("encoder", "first"), [(None, "imagenet_red"), ("timm-tf_efficientnet_lite0", "rgb_minus1_1")])
def test_a_plan_with_an_encoder(tmp_path: Path, encoder: str | None, first: str) -> None:
    require_encoders()
    write_colours(tmp_path / "data")
    (tmp_path / "file.pth").write_bytes(b"")
    made = planned(tmp_path, tmp_path / "file.pth", network="Unet", encoder=encoder)
    read = load_plan(tmp_path / "plans" / "colours.yaml")
    assert read.model_dump() == made.model_dump()
    configuration = read.configuration("2d")
    assert configuration.network.model_dump(exclude_defaults=True) == {
        "name": "smp_unet",
        "weights": "file.pth",
        **({} if encoder is None else {"encoder": encoder}),
    }
    assert all(size % 32 == 0 for size in configuration.patch_voxels)
    assert configuration.normalization[0].scheme == first
    text = (tmp_path / "plans" / "colours.yaml").read_text()
    assert "needs multiples of [32, 32]" in text or configuration.patch_voxels == [64, 96]


def test_colours_are_normalized_for_the_weights_alone(tmp_path: Path) -> None:
    require_encoders()
    write_colours(tmp_path / "data")
    made = planned(tmp_path, None, network="fpn")
    assert [how.scheme for how in made.configuration("2d").normalization] == ["zscore"] * 3
    write_colours(tmp_path / "grey" / "data", grey=True)
    made = planned(tmp_path / "grey", "imagenet", network="fpn")
    assert [how.scheme for how in made.configuration("2d").normalization] == ["zscore"]


def test_mistakes_of_a_plan(tmp_path: Path) -> None:
    write_colours(tmp_path / "data")
    with pytest.raises(medseg.PlanError, match=r"no encoder 'mobilenet'|need segmentation-models|cannot be imported"):
        planned(tmp_path, None, network="fpn", encoder="mobilenet")
    with pytest.raises(medseg.PlanError, match="no such file"):
        planned(tmp_path, "folder/file.pth", network="fpn")
    with pytest.raises(medseg.PlanError, match="none was named"):
        planned(tmp_path, None, encoder="resnet18")
    with pytest.raises(medseg.PlanError, match="has no encoder by name"):
        planned(tmp_path, None, network="attention_unet", encoder="resnet18")
    assert not (tmp_path / "plans" / "colours.yaml").exists()


def test_another_network_keeps_the_stages_of_the_rules(tmp_path: Path) -> None:
    write_colours(tmp_path / "data")
    plain = planned(tmp_path, None).configuration("2d")
    made = planned(tmp_path, None, network="AttentionUnet", replace=True).configuration("2d")
    assert made.network.name == "attention_unet"
    assert made.network.strides == plain.network.strides


@pytest.mark.slow
def test_a_frozen_pretrained_encoder_all_the_way(tmp_path: Path) -> None:
    require_encoders()
    import torchvision

    write_colours(tmp_path / "data")
    model = torchvision.models.mobilenet_v2(weights=None)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
    torch.save(model.state_dict(), tmp_path / "mobilenet.pth")
    planned(tmp_path, tmp_path / "mobilenet.pth", network="smp_unet", overrides=WHOLE)
    events: list[medseg.Progress] = []
    frozen = ["training.encoder_learning_rate=0"]
    options = medseg.TrainOptions(steps=3, device="cpu", overrides=frozen)
    result = medseg.train("colours", tmp_path, options, events.append)
    shown = next(event.info["weights"] for event in events if event.stage == "encoder weights")
    record = result.record.as_json()["encoder_weights"]
    assert (record["share"], record["found_by"], record["encoder"]) == (1, "names", "mobilenet_v2")
    assert record["sha256"] == shown.sha256
    assert "Pretrained encoder" in (result.folder / "report.html").read_text()
    trained, given = load_file(result.folder / "weights.safetensors"), model.state_dict()
    for name, value in trained.items():
        if name.startswith("encoder."):
            assert torch.equal(value, given[name.removeprefix("encoder.")]), name
    (tmp_path / "mobilenet.pth").unlink()  # a trained model has all its weights
    medseg.train("colours", tmp_path, medseg.TrainOptions(extend=parse_extension("1"), device="cpu"))
    package = tmp_path / "model.medseg"
    medseg.package(result.folder.parent, package)
    answers = []
    for number, source in enumerate((result.folder.parent, package)):
        medseg.predict(tmp_path / "data" / "images", tmp_path / f"out{number}", source)
        answers.append(np.asarray(pillow.open(tmp_path / f"out{number}" / "0.png")))
    assert np.array_equal(*answers)
    assert answers[0].shape == (70, 90)
    with pytest.raises(medseg.PlanError, match="there is no such file"):
        medseg.train("colours", tmp_path, medseg.TrainOptions(fold="1", steps=1, device="cpu"))
