"""OpenVINO against torch, for every kind of network that medseg has."""

import threading

import pytest
import torch
from builders import INFERENCE, make_configuration, network_values

from medseg.core.errors import PlanError
from medseg.inference.backends.choose import Forward, choose_backend, make_members, torch_forward
from medseg.networks.device import choose_precision
from medseg.networks.table import build_network
from medseg.plans.sections.inference import Inference

pytest.importorskip("openvino", reason="OpenVINO is an option: pip install 'medseg[openvino]'")
from medseg.inference.backends.openvino_backend import openvino_forward, why_not_here

CPU = torch.device("cpu")


def make_network(dimensions: int, name: str, **others: object) -> torch.nn.Module:
    torch.manual_seed(0)
    configuration = make_configuration(dimensions, network=network_values(dimensions, 3, name, **others))
    network = build_network(configuration, 2, 3).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.InstanceNorm2d | torch.nn.InstanceNorm3d):
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.uniform_(module.bias, -1, 1)
    return network


def compiled(network: torch.nn.Module, tile: tuple[int, ...], precision: torch.dtype = torch.float32) -> Forward:
    if why := why_not_here(network):
        pytest.skip(why)
    return openvino_forward(network, 2, tile, precision)


@pytest.mark.parametrize(
    ("name", "bias", "upsampling"),
    [
        ("plain_unet", True, None),
        ("plain_unet", False, None),
        ("residual_unet", True, None),
        ("residual_unet", False, None),
        ("plain_unet", True, "interpolation"),
    ],
)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_logits_are_torchs(dimensions: int, name: str, bias: bool, upsampling: str | None) -> None:
    strides = [[1] * dimensions, [2] * dimensions, [1] + [2] * (dimensions - 1)]
    network = make_network(dimensions, name, strides=strides, bias=bias, blocks=[1, 2, 2], upsampling=upsampling)
    tile = (16, 8, 24)[-dimensions:]
    forward = compiled(network, tile)
    for count in (3, 1):
        tiles = torch.randn(count, 2, *tile)
        answer, expected = forward(tiles), torch_forward(network, torch.float32)(tiles)
        torch.testing.assert_close(answer, expected, rtol=1e-3, atol=1e-4)


def test_half_precision_stays_near() -> None:
    if choose_precision("auto", torch.device("cpu")) != torch.bfloat16:
        pytest.skip("this processor computes no bf16, and OpenVINO has no transposed convolution in it there")
    network = make_network(3, "plain_unet")
    tiles = torch.randn(1, 2, 16, 16, 16)
    rough = compiled(network, (16, 16, 16), torch.bfloat16)(tiles).float()
    exact = torch_forward(network, torch.float32)(tiles)
    assert float((rough - exact).norm() / exact.norm()) < 0.05


def test_threads_get_their_own_answers() -> None:
    network = make_network(2, "plain_unet")
    forward = compiled(network, (16, 16))
    tiles = [torch.randn(2, 2, 16, 16) for _ in range(2)]
    expected = [forward(each).clone() for each in tiles]
    off: list[float] = []

    def ask(number: int) -> None:
        for _ in range(30):
            off.append(float((forward(tiles[number]) - expected[number]).abs().max()))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(off) == 60
    assert max(off) == 0


def test_it_is_chosen_by_itself_for_medsegs_own_networks_on_a_cpu() -> None:
    own, other = make_network(2, "plain_unet"), torch.nn.Conv2d(2, 3, 1)
    assert choose_backend("auto", [own], CPU) == "openvino"
    assert choose_backend("auto", [other], CPU) == "torch"
    assert choose_backend("torch", [own], CPU) == "torch"
    assert choose_backend("auto", [own], torch.device("cuda")) == "torch"
    with pytest.raises(PlanError, match="computes on the CPU; the device is cuda"):
        choose_backend("openvino", [own], torch.device("cuda"))


class Unusual(torch.nn.Module):
    """Does what cannot be traced: it looks at the values."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 3, 1)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [self.conv(x) if x.sum() > 0 else -self.conv(x)]


def test_a_network_that_it_cannot_take_is_an_error_where_it_was_asked_for() -> None:
    inference = Inference.model_validate({**INFERENCE, "backend": "openvino"})
    with pytest.raises(PlanError, match="OpenVINO cannot compute this network"):
        make_members([Unusual()], inference, (2, 8, 8), 1, torch.float32, print)
