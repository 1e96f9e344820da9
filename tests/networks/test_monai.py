"""MONAI's networks: what the plan fills, deep supervision as MONAI's own forward answers it, and mistakes in words."""

from importlib.util import find_spec
from typing import Any

import pytest
import torch
from builders import make_configuration, make_plan, network_values
from tiny_networks import tiny
from torch import nn

from medseg.core.errors import PlanError
from medseg.models.model import filled_network, make_network
from medseg.networks.anatomy import count_parameters, on_meta
from medseg.networks.monai.rows import MONAI_ROWS
from medseg.networks.table import build_network, find_network
from medseg.plans.network_rules import CLASS_NAMES, UPSAMPLING_ARGUMENTS


def build(dimensions: int, patch: list[int], channels: int = 2, **network: Any) -> Any:
    configuration = make_configuration(dimensions, patch_voxels=patch, network=network)
    torch.manual_seed(0)
    return build_network(configuration, channels, 3)


@pytest.mark.slow  # the first import of monai takes seconds
def test_every_row_is_a_class_of_monai() -> None:
    from monai.networks import nets

    assert set(CLASS_NAMES.values()) == set(MONAI_ROWS)
    assert all(hasattr(nets, name) for name in CLASS_NAMES)
    assert all(row.paper for row in MONAI_ROWS.values())


def test_the_plan_fills_stages() -> None:
    strides = [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2]]
    stages = network_values(3, 4, strides=strides, kernels=[[1, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]])
    for name in ("attention_unet", "unet"):
        network = build(3, [8, 16, 16], **stages | {"name": name}).network
        assert list(network.channels) == [4, 8, 16, 32]
        assert list(network.strides) == [(1, 2, 2), (2, 2, 2), (2, 2, 2)]
    network = build(3, [8, 16, 16], **stages | {"name": "dynunet"})
    assert network.network.kernel_size[0] == (1, 3, 3)
    assert network.supervision_scales == [[1, 1, 1], [1, 2, 2]]
    assert [tuple(answer.shape[2:]) for answer in network(torch.zeros(1, 2, 8, 16, 16), 2)] == [(8, 16, 16), (8, 8, 8)]
    thick = tiny("segresnet_ds", 3).model_copy(update={"spacing_mm": [5.0, 1.0, 1.0]})
    assert build_network(thick, 1, 2).supervision_scales == [[1, 1, 1], [1, 2, 2]]


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("segresnet", "init_filters", 16),
        ("segresnet_ds", "init_filters", 16),
        ("swin_unetr", "feature_size", 12),
        ("basic_unet", "features", [16, 16, 32, 64, 128, 16]),
    ],
)
def test_the_plan_fills_widths(name: str, key: str, value: Any) -> None:
    """The same weights as with the argument written out; an argument of the plan has the last word."""
    stages = network_values(2, 2, name, features=[16, 32])
    filled = build(2, [64, 64], **stages).state_dict()
    written = build(2, [64, 64], **stages | {"features": [8, 16], "arguments": {key: value}}).state_dict()
    assert {key: value.shape for key, value in filled.items()} == {key: value.shape for key, value in written.items()}


def test_without_stages_the_patch_decides() -> None:
    network = build(2, [48, 20], name="AttentionUnet").network
    assert list(network.channels) == [32, 64, 128, 256]
    assert list(network.strides) == [(2, 2), (2, 2), (2, 1)]
    with pytest.raises(PlanError, match=r"dynunet needs stages, and the patch \[30, 31\] cannot be halved twice"):
        build(2, [30, 31], name="dynunet")


def monais_answers(network: Any, x: torch.Tensor) -> list[torch.Tensor]:
    """What MONAI's own forward answers in training."""
    answer = network(x)
    return [*answer.unbind(1)] if isinstance(answer, torch.Tensor) else list(answer)


@pytest.mark.parametrize("name", ["dynunet", "segresnet_ds", "mednext", "basic_unet_plus_plus"])
def test_levels_are_those_of_monai(name: str) -> None:
    x = torch.randn(2, 2, 32, 32, generator=torch.Generator().manual_seed(1))
    network: Any = build_network(tiny(name, 2), 2, 3)
    plain = build_network(tiny(name, 2), 2, 3) if name == "dynunet" else network
    count = len(network.supervision_scales)
    ours = network(x, count)
    if name == "dynunet":  # the wrapper takes MONAI's skip layers away, so that they are no second name of the weights
        from monai.networks.nets import DynUNet

        inner = network.network
        keys = ("spatial_dims", "in_channels", "out_channels", "kernel_size", "strides", "upsample_kernel_size")
        plain = DynUNet(**{key: getattr(inner, key) for key in keys}, filters=inner.filters, deep_supervision=True)
        plain.load_state_dict(inner.state_dict(), strict=False)
        theirs = monais_answers(plain, x)
        ours = [ours[0], nn.functional.interpolate(ours[1], (32, 32))]
    else:
        theirs = monais_answers(network.network, x)
    theirs = theirs[::-1] if name == "basic_unet_plus_plus" else theirs
    assert len(ours) == len(theirs) == count
    for answer, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-5)
    network.eval()
    with torch.no_grad():
        assert len(network(x)) == 1
        assert len(network(x, count)) == count


@pytest.mark.parametrize("prune", [1, 2, 3, 4])
def test_a_pruned_unet_plus_plus_predicts_with_an_earlier_answer(prune: int) -> None:
    configuration = tiny("basic_unet_plus_plus", 2)
    whole: Any = build_network(configuration, 1, 2).eval()
    section = configuration.network.model_copy(update={"arguments": {"prune": prune}})
    pruned: Any = build_network(configuration.model_copy(update={"network": section}), 1, 2).eval()
    pruned.load_state_dict(whole.state_dict())
    x = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        answers = whole(x, 4)
        torch.testing.assert_close(pruned(x)[0], answers[4 - prune], rtol=1e-4, atol=1e-5)
    assert len(pruned.train()(x, 4)) == 4
    used: set[str] = set()
    for child_name, child in pruned.network.named_children():
        child.register_forward_hook(lambda *_, name=child_name: used.add(name))
    pruned.eval()(x)
    assert not {f"conv_{level}_0" for level in range(prune + 1, 5)} & used


def test_pruning_needs_answers_that_were_trained() -> None:
    network = {"name": "basic_unet_plus_plus", "arguments": {"prune": 2}}
    configuration = {"network": network, "patch_voxels": [32, 32]}
    make_plan(2, configuration)
    training = make_plan(2).training.model_dump(mode="json") | {"deep_supervision": False}
    with pytest.raises(PlanError, match=r"prune in its arguments is 2, which predicts with .* only training\.deep_sup"):
        make_plan(2, configuration, training=training)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("AttentionUnet", {"chanels": [4]}, r"it has no argument 'chanels'; did you mean 'channels'\? It has channels"),
        ("segresnet", {"spatial_dims": 3}, "it has no argument 'spatial_dims'"),
        ("mednext_small", {"width": 3}, r"no argument 'width'.* It has kernel_size, deep_supervision"),
        ("flexible_unet", {"pretrained": True}, "no argument 'pretrained'"),
        ("unet", {"channels": [4, 8]}, "channels has 2 entries and strides 3; expected one stride less than channels"),
        ("basic_unet_plus_plus", {"prune": 5}, "prune in network.arguments is 5; expected 1, 2, 3 or 4"),
        ("basic_unet", {"features": "many"}, r"network\.arguments do not fit basic_unet: "),
        ("swin_unetr", {"feature_size": 10}, "feature_size should be divisible by 12"),
        ("dynunet", {"strides": 3}, r"network\.arguments do not fit dynunet: "),
        ("segresnet_ds", {"blocks_down": 3}, r"network\.arguments do not fit segresnet_ds: "),
    ],
)
def test_mistakes_in_arguments_are_named(name: str, arguments: dict[str, Any], words: str) -> None:
    network = network_values(2, 4, name, arguments=arguments)
    with pytest.raises(PlanError, match=words):
        build(2, [64, 64], **network)


def test_unknown_arguments_are_seen_before_anything_is_built() -> None:
    configuration = make_configuration(2, patch_voxels=[64, 64], network={"name": "vnet", "arguments": {"depth": 2}})
    with pytest.raises(PlanError, match="vnet: it has no argument 'depth'"):
        find_network(configuration)


def test_vnet_says_which_channels_it_takes() -> None:
    with pytest.raises(PlanError, match="vnet takes 1, 2, 4, 8 or 16 channels, and its images have 3"):
        build(2, [32, 32], channels=3, name="vnet")


def test_models_of_versions_that_filled_no_arguments_are_read() -> None:
    """The plan says 8 features; basic_unet was once made with MONAI's 32 whatever the plan said."""
    network = network_values(2, 2, "basic_unet", features=[8, 16])
    plan = make_plan(2, {"network": network, "patch_voxels": [32, 32]})
    configuration = plan.configuration("main")
    before = make_network(plan, configuration, MONAI_ROWS["basic_unet"].make_as_before)
    assert before.network.conv_0.conv_0.conv.weight.shape[0] == 32
    weights = before.state_dict()
    loaded = filled_network(plan, configuration, weights, "weights").state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in loaded.items())
    now = make_network(plan, configuration).state_dict()
    loaded = filled_network(plan, configuration, now, "weights").state_dict()
    assert all(torch.equal(value, now[key]) for key, value in loaded.items())


@pytest.mark.parametrize("name", ["unetr", "swin_unetr"])
def test_a_package_that_is_missing_is_named(name: str) -> None:
    if find_spec("einops") is not None:
        pytest.skip("einops, which MONAI's transformers need, is installed")
    with pytest.raises(PlanError, match=rf"{name} needs another package: .*einops"):
        build_network(tiny(name, 2), 1, 2)


@pytest.mark.parametrize("name", sorted(UPSAMPLING_ARGUMENTS))
def test_upsampling_reaches_monai(name: str) -> None:
    """Transposed convolutions are there with `transposed`, and only then."""
    for way in ("transposed", "interpolation"):
        values = network_values(2, 3, name, upsampling=way)
        configuration = make_configuration(2, network=values, patch_voxels=[64, 64])
        with torch.device("meta"):
            network = build_network(configuration, 1, 2)
        assert any(isinstance(module, nn.ConvTranspose2d) for module in network.modules()) == (way == "transposed")


@pytest.mark.parametrize(
    ("name", "dimensions", "channels", "outputs", "arguments", "published"),
    [
        # the authors' table of models for BTCV (research-contributions/SwinUNETR/BTCV/README.md of Project-MONAI)
        ("swin_unetr", 3, 1, 14, {"feature_size": 48}, 62.1e6),
        ("swin_unetr", 3, 1, 14, {"feature_size": 24}, 15.7e6),
        ("swin_unetr", 3, 1, 14, {"feature_size": 12}, 4.0e6),
        # the authors' table (README.md of github.com/MIC-DKFZ/MedNeXt), of the sizes in table 1 of the paper
        ("mednext_small", 3, 1, 14, {"kernel_size": 3}, 5.6e6),
        ("mednext_small", 3, 1, 14, {"kernel_size": 5}, 5.9e6),
        ("mednext_base", 3, 1, 14, {"kernel_size": 3}, 10.5e6),
        ("mednext_base", 3, 1, 14, {"kernel_size": 5}, 11.0e6),
        ("mednext_medium", 3, 1, 14, {"kernel_size": 3}, 17.6e6),
        ("mednext_medium", 3, 1, 14, {"kernel_size": 5}, 18.3e6),
        ("mednext_large", 3, 1, 14, {"kernel_size": 3}, 61.8e6),
        ("mednext_large", 3, 1, 14, {"kernel_size": 5}, 63.0e6),
    ],
)
def test_as_many_parameters_as_published(
    name: str, dimensions: int, channels: int, outputs: int, arguments: dict[str, Any], published: float
) -> None:
    if name == "swin_unetr" and not find_spec("einops"):
        pytest.skip("einops is not installed")
    network = {"name": name, "arguments": arguments}
    configuration = make_configuration(dimensions, patch_voxels=[96] * dimensions, network=network)
    parameters = count_parameters(on_meta(lambda: build_network(configuration, channels, outputs)))
    assert parameters == pytest.approx(published, rel=0.02)
