"""From a plan's section to a module."""

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from builders import make_configuration, network_values
from encoder_library import require_encoders
from torch import nn

from medseg.core.errors import PlanError
from medseg.networks.device import autocast, choose_device, choose_precision, evaluating
from medseg.networks.encoders.rows import ENCODER_ROWS
from medseg.networks.row import ListOutput
from medseg.networks.table import NETWORKS, build_network, check_name, register_network, supervision_scales
from medseg.plans.network_rules import ONLY_2D, UNETS

ARGUMENTS = {
    "segresnet": {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]},
    "swin_unetr": {"feature_size": 12, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1]},
    "unetr": {"feature_size": 2, "hidden_size": 12, "mlp_dim": 12, "num_heads": 2},
    "attention_unet": {"channels": [4, 8], "strides": [2]},
    "basic_unet": {"features": [4, 4, 8, 8, 8, 4]},
    "basic_unet_plus_plus": {"features": [4, 4, 8, 8, 8, 4]},
}
LARGE = {"mednext_base", "mednext_medium", "mednext_large"}  # as mednext_small, with 10 to 60 million weights


def build(dimensions: int = 3, patch: int = 16, channels: int = 1, outputs: int = 2, **network: Any) -> torch.nn.Module:
    """A network from the values of its section; the small U-Net of the tests unless a name says otherwise."""
    values = network if "name" in network and network["name"] not in UNETS else network_values(dimensions, **network)
    configuration = make_configuration(dimensions, patch_voxels=[patch] * dimensions, network=values)
    return build_network(configuration, channels, outputs)


@pytest.fixture
def registered() -> Iterator[str]:
    """The name of a network of one's own, which answers one tensor."""
    register_network("one_layer", lambda configuration, channels, outputs: nn.Conv2d(channels, outputs, 1), (2,))
    yield "one_layer"
    del NETWORKS["one_layer"]


@pytest.mark.parametrize("name", UNETS)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_our_networks_by_name(name: str, dimensions: int) -> None:
    network = build(dimensions, channels=2, outputs=4, name=name)
    (answer,) = network(torch.zeros(1, 2, *[8] * dimensions))
    assert answer.shape == (1, 4, *[8] * dimensions)
    residual = any("project" in key for key in network.state_dict())
    assert residual == (name == "residual_unet")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - UNETS.keys() - LARGE))
def test_every_networks_by_name(name: str) -> None:
    if name in ENCODER_ROWS:
        require_encoders()
    if "unetr" in name:
        pytest.importorskip("einops")
    # these halve five times, and normalize over what is left
    size = 64 if name in ("swin_unetr", "cenet") else 32
    network = build(2, size, outputs=3, name=name, arguments=ARGUMENTS.get(name, {})).eval()
    with torch.no_grad():
        (answer,) = network(torch.zeros(1, 1, size, size))
    assert tuple(answer.shape) == (1, 3, size, size)
    assert supervision_scales(network, 2, True)[0] == [1, 1]


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(PlanError, match=r"no network 'unett'; there are plain_unet, residual_unet, cenet, ") as caught:
        build(name="unett")
    assert "medseg.register_network('unett'" in str(caught.value)


@pytest.mark.parametrize("name", sorted(LARGE))
def test_monai_has_the_large_networks(name: str) -> None:
    from monai.networks import nets

    make = NETWORKS[name].make
    assert isinstance(make, partial)
    assert hasattr(nets, make.args[0])
    assert NETWORKS[name].paper


def test_a_package_that_is_missing_is_named() -> None:
    if find_spec("einops") is not None:
        pytest.skip("einops, which MONAI's transformers need, is installed")
    with pytest.raises(PlanError, match=r"unetr needs another package: .*einops"):
        build(2, 32, name="unetr", arguments=ARGUMENTS["unetr"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [({"wideness": 3}, "wideness"), ({"init_filters": "many"}, "expected a whole number"), ({"blocks_down": 3}, "int")],
)
def test_arguments_that_do_not_fit_are_named(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(PlanError, match=rf"network\.arguments do not fit segresnet: .*{told}") as caught:
        build(name="segresnet", arguments=arguments)
    assert str(arguments) in str(caught.value)


def test_a_network_of_ones_own_by_name(registered: str) -> None:
    network = build(2, outputs=3, name=registered)
    (answer,) = network(torch.zeros(1, 1, 8, 8), 2)
    assert answer.shape == (1, 3, 8, 8)
    with pytest.raises(PlanError, match="one_layer takes 2D images, and the configuration is 3D"):
        build(3, name=registered)
    with pytest.raises(PlanError, match="medseg has a network named 'segresnet'"):
        register_network("segresnet", lambda configuration, channels, outputs: nn.Identity())


class Levels(nn.Module):
    """Answers on two resolutions, as a list."""

    supervision_scales = ((1, 1), (2, 2))

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 2, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        fine = self.layer(x)
        return fine, fine[..., ::2, ::2]


class OwnLevels(Levels):
    """Is told how many resolutions are asked for."""

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:  # type: ignore[override]
        return list(super().forward(x)[:levels])


@pytest.mark.parametrize("kind", [Levels, OwnLevels])
def test_a_module_says_on_which_scales_it_answers(kind: type[nn.Module]) -> None:
    network = build_network(make_configuration(2), 1, 2, lambda configuration, channels, outputs: kind())
    assert isinstance(network, OwnLevels if kind is OwnLevels else ListOutput)
    assert [list(scale) for scale in supervision_scales(network, 2, True)] == [[1, 1], [2, 2]]
    assert [list(scale) for scale in supervision_scales(network, 2, False)] == [[1, 1]]
    assert [tuple(answer.shape[2:]) for answer in network(torch.zeros(1, 1, 8, 8), 2)] == [(8, 8), (4, 4)]
    assert len(network(torch.zeros(1, 1, 8, 8))) == 1


def test_an_answer_that_is_no_tensor_is_refused() -> None:
    class Named(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"out": x}

    network = build_network(make_configuration(2), 1, 2, lambda configuration, channels, outputs: Named())
    with pytest.raises(PlanError, match=r"returned a dict; expected logits"):
        network(torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize(
    ("stages", "scales"),
    [
        (2, [[1, 1]]),
        (3, [[1, 1]]),
        (4, [[1, 1], [2, 2]]),
        (5, [[1, 1], [2, 2], [4, 4]]),
    ],
)
def test_the_coarsest_decoder_level_is_not_supervised(stages: int, scales: list[list[int]]) -> None:
    network = build(2, 32, stages=stages)
    assert supervision_scales(network, 2, True) == scales
    assert supervision_scales(network, 2, False) == [[1, 1]]


def test_scales_follow_anisotropic_strides() -> None:
    strides = [[1, 1, 1], [1, 2, 2], [2, 2, 2], [1, 2, 2], [2, 2, 2]]
    assert supervision_scales(build(3, stages=5, strides=strides), 3, True) == [[1, 1, 1], [1, 2, 2], [2, 4, 4]]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_other_modules_have_one_scale(dimensions: int) -> None:
    assert supervision_scales(nn.Identity(), dimensions, True) == [[1] * dimensions]


def test_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cuda", "mps", "cpu")
    with pytest.raises(PlanError, match=r"The device 'tpu' is not available here; available: .*cpu"):
        choose_device("tpu")


@pytest.mark.parametrize(
    ("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_precision_by_name(name: str, dtype: torch.dtype) -> None:
    assert choose_precision(name, torch.device("cpu")) == dtype


def test_autocast_follows_the_precision() -> None:
    layer, x = torch.nn.Linear(3, 3), torch.zeros(1, 3)
    with autocast(torch.device("cpu"), torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    with autocast(torch.device("cpu"), torch.float32):
        assert layer(x).dtype == torch.float32
    assert choose_precision("auto", torch.device("cpu")) in (torch.float32, torch.bfloat16)


@pytest.mark.parametrize("training", [True, False])
def test_evaluating_restores_the_mode_even_after_an_error(training: bool) -> None:
    network = torch.nn.Linear(2, 2).train(training)

    def predict_badly() -> None:
        with evaluating(network):
            assert not network.training
            assert not network(torch.zeros(1, 2)).requires_grad
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        predict_badly()
    assert network.training == training
    assert network(torch.zeros(1, 2)).requires_grad


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("unet++", "basic_unet_plus_plus"),
        ("U-Net++", "basic_unet_plus_plus"),
        ("nnU-Net", "plain_unet"),
        ("Attention_UNet", "attention_unet"),
        ("DeepLabV3+", "deeplabv3plus"),
        ("ce-net", "cenet"),
        ("PSP-Net", "pspnet"),
        ("swinunetr", "swin_unetr"),
    ],
)
def test_the_name_of_a_paper_leads_to_ours(name: str, meant: str) -> None:
    with pytest.raises(PlanError, match=f"Did you mean '{meant}'"):
        check_name(name)


def test_a_name_that_is_like_none_is_answered_with_all() -> None:
    with pytest.raises(PlanError) as caught:
        check_name("zzzzz")
    assert "Did you mean" not in str(caught.value)
    assert "plain_unet, residual_unet, cenet" in str(caught.value)


def test_plans_know_which_networks_take_no_volumes() -> None:
    assert {name for name, row in NETWORKS.items() if row.dimensions == (2,)} == {*ONLY_2D}
