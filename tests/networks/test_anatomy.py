"""What a network consists of and what training it keeps, by hand."""

from typing import Any

import torch
from torch import nn

from medseg.networks.anatomy import Stage, count_parameters, on_meta, stages, training_bytes


class Small(nn.Module):
    """Two equal layers at full resolution, one at half, one that is not used, and a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.top = nn.ModuleList([nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, padding=1)])
        self.act = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.low = nn.Sequential(nn.Conv2d(1, 4, 1, bias=False), nn.ReLU())
        self.low_again = self.low
        self.spare = nn.Conv2d(4, 2, 1)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        for layer in self.top:
            x = self.act(layer(x))
        return [self.scale * self.low(self.pool(x))]


def test_a_small_network() -> None:
    network = on_meta(Small)
    assert stages(network, (1, 8, 6), 1) == [
        Stage("", "weights of its own", (), 1),
        Stage("top.0 ... top.1", "Conv2d", (1, 8, 6), 20, 2),
        Stage("pool", "MaxPool2d", (1, 4, 3), 0),
        Stage("low", "Sequential", (4, 4, 3), 4),
        Stage("spare", "Conv2d", (), 10),
    ]
    assert count_parameters(network) == 35


def test_what_a_wrapper_adds_to_names_is_cut() -> None:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = nn.Sequential(nn.Conv2d(1, 2, 3, 2, 1), nn.Conv2d(2, 2, 3, 2, 1))

        def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
            return [self.network(x)]

    assert [part.name for part in stages(on_meta(Wrapper), (1, 8, 8), 1)] == ["0", "1"]


def test_memory_by_hand() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(1, 3, 1, bias=False)
            self.second = nn.Conv2d(3, 2, 1, bias=False)

        def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
            return [self.second(self.first(x).relu())]

    # the image, the activations of the first layer, and the answer; each once, in 4 bytes
    values = 5 * 8 * 8 * (1 + 3 + 2)
    for optimizer, kept in (("sgd", 3), ("adamw", 4)):  # weights, gradients, and one or two values for each
        assert training_bytes(on_meta(Two), (5, 1, 8, 8), 1, optimizer) == 4 * (values + kept * (3 + 6))


def test_a_network_that_looks_at_values_is_made_on_the_cpu_first() -> None:
    class Curious(nn.Conv2d):
        def __init__(self) -> None:
            super().__init__(1, int(torch.ones(2).sum().item()), 1)

        def forward(self, x: torch.Tensor, levels: int = 1) -> Any:
            return [super().forward(x)]

    network = on_meta(Curious)
    assert all(parameter.is_meta for parameter in network.parameters())
    assert count_parameters(network) == 4
