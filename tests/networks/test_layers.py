"""The fast layers against the plain functions of torch that they stand for."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from medseg.networks.layers import norm_act, to_fast_layout, upsample

SHAPES = [(2, 5, 8, 6), (1, 3, 4, 4), (2, 4, 6, 4, 8), (3, 1, 4, 4, 4), (1, 2, 3, 3, 3)]


def plain(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, slope: float) -> torch.Tensor:
    return functional.leaky_relu(functional.instance_norm(x, weight=weight, bias=bias, eps=1e-5), slope)


@pytest.mark.parametrize("fast_layout", [True, False])
@pytest.mark.parametrize("slope", [0.01, 1.0, 0.3])
@pytest.mark.parametrize("shape", SHAPES)
def test_norm_and_activation(shape: tuple[int, ...], slope: float, fast_layout: bool) -> None:
    torch.manual_seed(0)
    source = torch.randn(shape) * 3 + 10
    weight, bias = torch.randn(shape[1]), torch.randn(shape[1])
    above = torch.randn(shape)
    results = []
    for function in (lambda x, w, b: norm_act(x, w, b, 1e-5, slope), lambda x, w, b: plain(x, w, b, slope)):
        leaves = [part.clone().requires_grad_() for part in (source, weight, bias)]
        x = to_fast_layout(leaves[0]) if fast_layout else leaves[0] * 1
        y = function(x, *leaves[1:])
        (y * above).sum().backward()
        results.append([y.detach(), *(leaf.grad for leaf in leaves)])
    for result, reference in zip(*results, strict=True):
        torch.testing.assert_close(result, reference, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_norm_and_activation_in_bfloat16(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    source = torch.randn(shape).bfloat16()
    weight, bias = torch.randn(shape[1]), torch.randn(shape[1])
    y = norm_act(to_fast_layout(source), weight, bias, 1e-5, 0.01)
    assert y.dtype == torch.bfloat16
    reference = plain(source.float(), weight, bias, 0.01)
    torch.testing.assert_close(y.float(), reference, rtol=0.02, atol=0.03)


def test_a_constant_channel_gives_its_bias() -> None:
    x = to_fast_layout(torch.full((1, 2, 4, 4), 7.0))
    y = norm_act(x, torch.ones(2), torch.tensor([2.0, -3.0]), 1e-5, 0.1)
    torch.testing.assert_close(y[0, :, 0, 0], torch.tensor([2.0, -0.3]), rtol=0, atol=1e-3)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kernel", [(2, 2), (1, 3), (2, 2, 2), (1, 2, 2), (3, 1, 2)])
def test_upsampling(kernel: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    kind = nn.ConvTranspose2d if len(kernel) == 2 else nn.ConvTranspose3d
    layer = kind(5, 3, kernel, kernel, bias=bias)  # type: ignore[arg-type]
    source = torch.randn(2, 5, *(4, 3, 6)[: len(kernel)])
    results = []
    for function in (lambda x: upsample(to_fast_layout(x), layer), layer):
        x = source.clone().requires_grad_()
        layer.zero_grad()
        y = function(x)
        torch.manual_seed(1)
        (y * torch.randn(y.shape)).sum().backward()
        results.append([y.detach(), x.grad, *(parameter.grad.clone() for parameter in layer.parameters())])
    for result, reference in zip(*results, strict=True):
        torch.testing.assert_close(result, reference, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (1, 1, 4, 4, 4), (2, 3, 4, 4, 4)])
def test_the_fast_layout_has_channels_last_strides_even_for_one_channel(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    fast = to_fast_layout(x)
    torch.testing.assert_close(fast, x, rtol=0, atol=0)
    assert fast.stride()[1] == 1
    assert fast.stride()[-1] == shape[1]
    assert nn.Conv2d(1, 4, 3)(to_fast_layout(torch.randn(1, 1, 200, 200))).stride()[1] == 1
