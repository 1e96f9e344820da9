"""The rows of MONAI's networks: classes that exist, sizes as published, and mistakes in words."""

from importlib.util import find_spec
from typing import Any

import pytest
from builders import make_configuration, network_values
from tiny_networks import build, tiny

from medseg.core.errors import PlanError
from medseg.networks.anatomy import count_parameters, on_meta
from medseg.networks.monai.rows import MONAI_ROWS
from medseg.networks.table import build_network, find_network
from medseg.plans.network_rules import CLASS_NAMES


@pytest.mark.slow  # the first import of monai takes seconds
def test_every_row_is_a_class_of_monai() -> None:
    from monai.networks import nets

    assert set(CLASS_NAMES.values()) == set(MONAI_ROWS)
    assert all(hasattr(nets, name) for name in CLASS_NAMES)
    assert all(row.paper for row in MONAI_ROWS.values())


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("AttentionUnet", {"chanels": [4]}, r"it has no argument 'chanels'; did you mean 'channels'\? It has channels"),
        ("segresnet", {"spatial_dims": 3}, "it has no argument 'spatial_dims'"),
        ("mednext_small", {"width": 3}, r"no argument 'width'.* It has kernel_size, deep_supervision"),
        ("flexible_unet", {"pretrained": True}, "no argument 'pretrained'"),
        ("unet", {"channels": [4, 8]}, "channels has 2 entries and strides 3; expected one stride less than channels"),
        ("basic_unet_plus_plus", {"prune": 5}, "prune in network.arguments is 5; expected 1, 2, 3 or 4"),
        ("dynunet", {"res_block": "no"}, "dynunet: res_block is 'no'; expected true or false"),
        ("segresnet", {"dropout_prob": "a"}, "segresnet: dropout_prob is 'a'; expected a number"),
        ("attention_unet", {"kernel_size": 0}, r"declared as kernel_size: .*int.* = 3"),
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


@pytest.mark.parametrize("name", ["unetr", "swin_unetr"])
def test_a_package_that_is_missing_is_named(name: str) -> None:
    if find_spec("einops") is not None:
        pytest.skip("einops, which MONAI's transformers need, is installed")
    with pytest.raises(PlanError, match=rf"{name} needs another package: .*einops"):
        build_network(tiny(name, 2), 1, 2)


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
