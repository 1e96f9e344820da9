"""From a plan's section to a module."""

from importlib.util import find_spec

import pytest
import torch
from builders import network_section

from medseg.core.errors import PlanError
from medseg.networks.build import MONAI_NETWORKS, UNETS, build_network, supervision_scales
from medseg.networks.device import autocast, choose_device, choose_precision, evaluating

ARGUMENTS = {
    "segresnet": {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]},
    "swin_unetr": {"feature_size": 12, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1]},
    "unetr": {"img_size": 32, "feature_size": 2, "hidden_size": 12, "mlp_dim": 12, "num_heads": 2},
    "attention_unet": {"channels": [4, 8], "strides": [2]},
}


@pytest.mark.parametrize("name", UNETS)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_our_networks_by_name(name: str, dimensions: int) -> None:
    network = build_network(network_section(dimensions, name=name), 2, 4, dimensions)
    (answer,) = network(torch.zeros(1, 2, *[8] * dimensions))
    assert answer.shape == (1, 4, *[8] * dimensions)
    residual = any("project" in key for key in network.state_dict())
    assert residual == (name == "residual_unet")


@pytest.mark.slow
@pytest.mark.parametrize("name", MONAI_NETWORKS)
def test_monais_networks_by_name(name: str) -> None:
    pytest.importorskip("monai")
    if "unetr" in name:
        pytest.importorskip("einops")
    section = network_section().model_validate({"name": name, "arguments": ARGUMENTS[name]})
    network = build_network(section, 1, 3, 2)
    size = 64 if name == "swin_unetr" else 32  # it halves five times, and normalizes over what is left
    answers = network(torch.zeros(1, 1, size, size), 3)
    assert [tuple(answer.shape) for answer in answers] == [(1, 3, size, size)]


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(PlanError, match=r"no network 'unett'; there are plain_unet, residual_unet, segresnet"):
        build_network(network_section(name="unett"), 1, 2, 3)


def test_a_package_that_is_missing_is_named() -> None:
    pytest.importorskip("monai")
    if find_spec("einops") is not None:
        pytest.skip("einops, which MONAI's transformers need, is installed")
    section = network_section().model_validate({"name": "unetr", "arguments": ARGUMENTS["unetr"]})
    with pytest.raises(PlanError, match=r"unetr needs another package: .*einops"):
        build_network(section, 1, 3, 2)


def test_arguments_that_do_not_fit_are_named() -> None:
    pytest.importorskip("monai")
    section = network_section().model_validate({"name": "segresnet", "arguments": {"wideness": 3}})
    with pytest.raises(PlanError, match=r"network\.arguments do not fit segresnet: .*wideness"):
        build_network(section, 1, 2, 3)


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
    assert supervision_scales(network_section(2, stages), 2, True) == scales
    assert supervision_scales(network_section(2, stages), 2, False) == [[1, 1]]


def test_scales_follow_anisotropic_strides() -> None:
    strides = [[1, 1, 1], [1, 2, 2], [2, 2, 2], [1, 2, 2], [2, 2, 2]]
    assert supervision_scales(network_section(3, 5, strides=strides), 3, True) == [[1, 1, 1], [1, 2, 2], [2, 4, 4]]


def test_other_networks_have_one_scale() -> None:
    section = network_section().model_validate({"name": "segresnet"})
    assert supervision_scales(section, 3, True) == [[1, 1, 1]]
    assert supervision_scales(section, 2, True) == [[1, 1]]


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
