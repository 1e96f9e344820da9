"""Names of weights: nnU-Net's to ours and back, and what has no place."""

import pytest
import torch
from builders import make_configuration, network_values

from medseg.core.errors import ModelError
from medseg.models.nnunet.weights import weights_from_nnunet, weights_to_nnunet
from medseg.networks.table import build_network

STRIDES = [[1, 1], [2, 1], [1, 2], [1, 1]]


def network(name: str = "plain_unet") -> torch.nn.Module:
    values = network_values(
        2, 4, name, strides=STRIDES, blocks=[1, 2, 3, 1], features=[4, 8, 8, 8], decoder_convolutions=[2, 1, 1]
    )
    return build_network(make_configuration(2, network=values), 2, 3)


@pytest.fixture(params=["plain_unet", "residual_unet"])
def medseg_state(request: pytest.FixtureRequest) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {name: torch.randn_like(value) for name, value in network(request.param).state_dict().items()}


def test_every_weight_comes_back_under_its_name(medseg_state: dict[str, torch.Tensor]) -> None:
    nnunet_state = weights_to_nnunet(medseg_state, STRIDES)
    back = weights_from_nnunet(nnunet_state, "a test")
    assert back.keys() == medseg_state.keys()
    assert all(torch.equal(back[name], medseg_state[name]) for name in medseg_state)
    assert all(back[name].data_ptr() != medseg_state[name].data_ptr() for name in medseg_state)


def test_names_by_hand() -> None:
    plain, residual = (
        weights_to_nnunet(network(name).state_dict(), STRIDES).keys() for name in ("plain_unet", "residual_unet")
    )
    for name in (
        "encoder.stages.1.0.convs.1.conv.weight",
        "encoder.stages.1.0.convs.1.all_modules.1.bias",
        "decoder.encoder.stages.1.0.convs.0.conv.weight",
        "decoder.encoder.stages.1.0.convs.0.all_modules.0.weight",
        "decoder.stages.0.convs.1.norm.weight",
        "decoder.transpconvs.2.weight",
        "decoder.seg_layers.2.bias",
    ):
        assert name in plain
    for name in (
        "encoder.stem.convs.0.conv.weight",
        "encoder.stages.1.blocks.0.skip.1.conv.weight",  # behind the pooling of a stride
        "encoder.stages.2.blocks.1.conv2.all_modules.1.weight",
    ):
        assert name in residual
    assert not any("skip" in name for name in residual if ".stages.3." in name)  # neither stride nor change of width


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_wrappers_are_seen_through(medseg_state: dict[str, torch.Tensor], prefix: str) -> None:
    nnunet_state = {prefix + name: value for name, value in weights_to_nnunet(medseg_state, STRIDES).items()}
    assert weights_from_nnunet(nnunet_state, "a test").keys() == medseg_state.keys()


def test_one_name_of_several_is_enough(medseg_state: dict[str, torch.Tensor]) -> None:
    nnunet_state = weights_to_nnunet(medseg_state, STRIDES)
    single = {name: value for name, value in nnunet_state.items() if "all_modules" in name or ".conv" not in name}
    fewer = {name: value for name, value in single.items() if not name.startswith("decoder.encoder.")}
    assert weights_from_nnunet(fewer, "a test").keys() == medseg_state.keys()


def test_copies_that_differ_are_refused(medseg_state: dict[str, torch.Tensor]) -> None:
    nnunet_state = weights_to_nnunet(medseg_state, STRIDES)
    twin = next(name for name in nnunet_state if name.startswith("decoder.encoder."))
    nnunet_state[twin] = nnunet_state[twin] + 1
    with pytest.raises(
        ModelError, match=rf"a test: \S+ and {twin} are two names of one weight, but their values differ"
    ):
        weights_from_nnunet(nnunet_state, "a test")


def test_half_precision_becomes_float32(medseg_state: dict[str, torch.Tensor]) -> None:
    nnunet_state = {name: value.half() for name, value in weights_to_nnunet(medseg_state, STRIDES).items()}
    assert {value.dtype for value in weights_from_nnunet(nnunet_state, "a test").values()} == {torch.float32}


def test_heads_that_only_training_uses_may_be_absent(medseg_state: dict[str, torch.Tensor]) -> None:
    nnunet_state = weights_to_nnunet(medseg_state, STRIDES)
    final = {name: value for name, value in nnunet_state.items() if "seg_layers" not in name or "seg_layers.2" in name}
    weights = weights_from_nnunet(final, "a test")
    assert {name: value.shape for name, value in weights.items()} == {
        name: value.shape for name, value in medseg_state.items()
    }
    assert torch.equal(weights["heads.2.weight"], medseg_state["heads.2.weight"])
    assert not weights["heads.0.weight"].any()


def test_the_final_head_may_not_be_absent(medseg_state: dict[str, torch.Tensor]) -> None:
    nnunet_state = weights_to_nnunet(medseg_state, STRIDES)
    coarse = {name: value for name, value in nnunet_state.items() if "seg_layers.2" not in name}
    assert "heads.2.weight" not in weights_from_nnunet(coarse, "a test")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("encoder.stages.0.0.convs.0.norm.running_mean", "It belongs to batch normalization"),
        ("eva.blocks.0.attn.weight", "Only nnU-Net's plain and residual encoder U-Nets can be read"),
    ],
)
def test_a_weight_without_a_place_is_named(name: str, why: str) -> None:
    with pytest.raises(ModelError, match=rf"a test holds the weight {name}, which medseg's U-Nets do not have. {why}"):
        weights_from_nnunet({name: torch.zeros(1)}, "a test")
