"""Gradients of 3D convolutions in bf16 on a CPU, where the image is smaller than the kernel along an axis."""

import pytest
import torch
from builders import make_configuration
from torch import nn

from medseg.networks.shallow_convolution import Conv3d, with_right_gradients
from medseg.networks.table import build_network


def gradient(layer: nn.Module, image: torch.Tensor, enabled: bool) -> torch.Tensor:
    layer.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
        answer = layer(image)
    assert answer.dtype == (torch.bfloat16 if enabled else torch.float32)
    (answer.float() ** 2).sum().backward()
    return torch.cat([parameter.grad.flatten() for parameter in layer.parameters()])  # type: ignore[union-attr]


@pytest.mark.parametrize("groups", [1, 16])
@pytest.mark.parametrize(
    ("kernel", "size"),
    [
        *((3, (1, 8, 8)), (3, (2, 8, 8)), (3, (3, 8, 8)), (3, (8, 8, 2))),
        *((5, (2, 2, 2)), (5, (4, 8, 8)), (5, (5, 8, 8)), (7, (4, 8, 8)), (7, (8, 2, 8))),
    ],
)
def test_the_gradient_in_bf16_is_that_in_float32(kernel: int, size: tuple[int, ...], groups: int) -> None:
    """Where it was wrong, the error was as large as the gradient, or infinite."""
    torch.manual_seed(0)
    layer = with_right_gradients(nn.Conv3d(16, 16, kernel, padding=kernel // 2, groups=groups))
    image = torch.randn(2, 16, *size)
    expected = gradient(layer, image, enabled=False)
    torch.testing.assert_close(gradient(layer, image, enabled=True), expected, rtol=0.0, atol=0.02 * expected.norm())


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "more"),
    [((2, 4, 4), 3, 1, 0), ((3, 3, 3), 5, 1, 0), ((2, 2, 2), 5, 2, 1), ((1, 1, 1), 3, 2, 1), ((2, 2, 2), 3, 2, 1)],
)
def test_a_transposed_convolution_likewise(size: tuple[int, ...], kernel: int, stride: int, more: int) -> None:
    torch.manual_seed(0)
    layer = nn.ConvTranspose3d(16, 16, kernel, stride=stride, padding=kernel // 2, output_padding=more)
    layer, image = with_right_gradients(layer), torch.randn(2, 16, *size)
    expected = gradient(layer, image, enabled=False)
    torch.testing.assert_close(gradient(layer, image, enabled=True), expected, rtol=0.0, atol=0.02 * expected.norm())


def test_weights_and_answers_are_those_of_torch() -> None:
    plain = nn.Conv3d(4, 4, 3, padding=1)
    layer = nn.Conv3d(4, 4, 3, padding=1)
    layer.load_state_dict(plain.state_dict())
    image = torch.randn(1, 4, 2, 8, 8)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(with_right_gradients(layer)(image), plain(image))
    assert layer.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize("factory", [None, lambda configuration, channels, outputs: nn.Conv3d(channels, outputs, 1)])
def test_every_network_has_them(factory) -> None:  # type: ignore[no-untyped-def]
    network = build_network(make_configuration(3), 1, 2, factory)
    found = [module for module in network.modules() if isinstance(module, nn.Conv3d)]
    assert found
    assert all(type(module) is Conv3d for module in found)
