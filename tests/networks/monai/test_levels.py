"""Deep supervision of MONAI's networks, as MONAI's own forward answers it."""

from typing import Any

import pytest
import torch
from builders import make_plan
from tiny_networks import tiny
from torch import nn

from medseg.core.errors import PlanError
from medseg.networks.table import build_network


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
