"""The layout in which activations lie on a CPU."""

import pytest
import torch
from torch import nn

from medseg.networks.layout import to_fast_layout


@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (1, 1, 4, 4, 4), (2, 3, 4, 4, 4)])
def test_the_fast_layout_has_channels_last_strides_even_for_one_channel(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    fast = to_fast_layout(x)
    torch.testing.assert_close(fast, x, rtol=0, atol=0)
    assert fast.stride()[1] == 1
    assert fast.stride()[-1] == shape[1]
    assert nn.Conv2d(1, 4, 3)(to_fast_layout(torch.randn(1, 1, 200, 200))).stride()[1] == 1
