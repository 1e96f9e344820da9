"""What the plan fills in for MONAI's networks."""

from typing import Any

import pytest
import torch
from builders import make_configuration, make_plan, network_values
from tiny_networks import build, tiny
from torch import nn

from medseg.core.errors import PlanError
from medseg.models.model import filled_network, make_network
from medseg.networks.monai.rows import MONAI_ROWS
from medseg.networks.table import build_network
from medseg.plans.network_rules import UPSAMPLING_ARGUMENTS


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


@pytest.mark.parametrize("name", sorted(UPSAMPLING_ARGUMENTS))
def test_upsampling_reaches_monai(name: str) -> None:
    """Transposed convolutions are there with `transposed`, and only then."""
    for way in ("transposed", "interpolation"):
        values = network_values(2, 3, name, upsampling=way)
        configuration = make_configuration(2, network=values, patch_voxels=[64, 64])
        with torch.device("meta"):
            network = build_network(configuration, 1, 2)
        assert any(isinstance(module, nn.ConvTranspose2d) for module in network.modules()) == (way == "transposed")
