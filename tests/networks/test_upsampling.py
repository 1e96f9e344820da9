"""Upsampling in the fast layout against torch's transposed convolution."""

import pytest
import torch
from torch import nn

from medseg.networks.layout import to_fast_layout
from medseg.networks.upsampling import upsample


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
