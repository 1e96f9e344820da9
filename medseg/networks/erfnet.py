"""ERFNet in 2D and 3D (Romera et al. 2018, doi.org/10.1109/TITS.2017.2750080): fast, with few weights.

Layers are those of the authors' code (github.com/Eromera/erfnet_pytorch): residual blocks whose 3x3 convolutions are
factorized into 3x1 and 1x3; in 3D there is a third factor, which is not in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from medseg.core.errors import PlanError
from medseg.plans.arguments import check_shares, check_sizes
from medseg.plans.schema import Configuration

_EPS = 1e-3  # of batch normalization, as in the authors' code
_DILATIONS = (2, 4, 8, 16) * 2  # of the blocks at an eighth of the resolution
_SHALLOW_BLOCKS = 5  # blocks at a quarter


def _layer(name: str, dimensions: int) -> Any:
    return getattr(nn, f"{name}{dimensions}d")


class Downsampler(nn.Module):
    """Halves the grid: a strided convolution beside max pooling, so that the pooled channels cost no weights.

    Args:
        inputs: channels in.
        outputs: channels out, more than `inputs`.
        dimensions: 2 or 3.
    """

    def __init__(self, inputs: int, outputs: int, dimensions: int) -> None:
        super().__init__()
        self.conv = _layer("Conv", dimensions)(inputs, outputs - inputs, 3, stride=2, padding=1)
        self.pool = _layer("MaxPool", dimensions)(2)
        self.norm = _layer("BatchNorm", dimensions)(outputs, eps=_EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (batch, outputs, ...) of half the size, from (batch, inputs, ...)."""
        return functional.relu(self.norm(torch.cat((self.conv(x), self.pool(x)), dim=1)))


class FactorizedBlock(nn.Module):
    """The paper's "non-bottleneck-1D": two convolutions beside a shortcut, each factorized axis by axis.

    Args:
        channels: in and out.
        dimensions: 2 or 3.
        dropout: share of the channels that training drops.
        dilation: of the second convolution's factors.
    """

    def __init__(self, channels: int, dimensions: int, dropout: float = 0.0, dilation: int = 1) -> None:
        super().__init__()
        self.first = self._factors(channels, dimensions, 1)
        self.first_norm = _layer("BatchNorm", dimensions)(channels, eps=_EPS)
        self.second = self._factors(channels, dimensions, dilation)
        self.second_norm = _layer("BatchNorm", dimensions)(channels, eps=_EPS)
        self.dropout = _layer("Dropout", dimensions)(dropout) if dropout else nn.Identity()

    @staticmethod
    def _factors(channels: int, dimensions: int, dilation: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for axis in range(dimensions):
            kernel = tuple(3 if number == axis else 1 for number in range(dimensions))
            step = tuple(dilation if number == axis else 1 for number in range(dimensions))
            padding = tuple(dilation if number == axis else 0 for number in range(dimensions))
            layers += [
                _layer("Conv", dimensions)(channels, channels, kernel, padding=padding, dilation=step),
                nn.ReLU(),
            ]
        return nn.Sequential(*layers[:-1])  # the last factor is normalized before its activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (batch, channels, ...) on the same grid."""
        y = functional.relu(self.first_norm(self.first(x)))
        y = self.dropout(self.second_norm(self.second(y)))
        return functional.relu(y + x)


class Upsampler(nn.Module):
    """Doubles the grid by a transposed convolution.

    Args:
        inputs: channels in.
        outputs: channels out.
        dimensions: 2 or 3.
    """

    def __init__(self, inputs: int, outputs: int, dimensions: int) -> None:
        super().__init__()
        self.conv = _layer("ConvTranspose", dimensions)(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
        self.norm = _layer("BatchNorm", dimensions)(outputs, eps=_EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (batch, outputs, ...) of double size, from (batch, inputs, ...)."""
        return functional.relu(self.norm(self.conv(x)))


class ERFNet(nn.Module):
    """ERFNet: `encoder` down to an eighth of the resolution, `decoder` back up.

    The authors train the encoder first, with a 1x1 convolution as its head and labels at an eighth of the resolution,
    and start the whole network from it (section IV-A; `train/main.py` of their code). `encoder_only` is that network.

    Args:
        dimensions: 2 or 3.
        channels: the number of channels of the image.
        outputs: the number of channels of the logits.
        features: channels at a half, a quarter and an eighth of the resolution.
        dropout: share of the channels that training drops in the blocks at a quarter and at an eighth.
        encoder_only: leave out the decoder. The network then has two answers, an eighth of the resolution and the same
            logits interpolated to the image; only the coarse one is in the loss, unless the plan says otherwise.
    """

    def __init__(
        self,
        dimensions: int,
        channels: int,
        outputs: int,
        features: Sequence[int] = (16, 64, 128),
        dropout: Sequence[float] = (0.03, 0.3),
        encoder_only: bool = False,
    ) -> None:
        super().__init__()
        check_sizes("erfnet", "features", features, 3)
        check_shares("erfnet", "dropout", dropout, 2)
        half, quarter, eighth = features
        if not channels < half < quarter < eighth:
            raise PlanError(
                f"The network erfnet needs more features on each level: its image has {channels} channels, and "
                f"network.arguments.features is {list(features)}.",
                "Expected three numbers that increase, the first larger than the number of channels.",
            )
        shallow = [FactorizedBlock(quarter, dimensions, dropout[0]) for _ in range(_SHALLOW_BLOCKS)]
        deep = [FactorizedBlock(eighth, dimensions, dropout[1], dilation) for dilation in _DILATIONS]
        self.encoder = nn.Sequential(
            Downsampler(channels, half, dimensions),
            Downsampler(half, quarter, dimensions),
            *shallow,
            Downsampler(quarter, eighth, dimensions),
            *deep,
        )
        if encoder_only:
            self.decoder: nn.Sequential | None = None
            self.head = _layer("Conv", dimensions)(eighth, outputs, 1)
            self.supervision_scales = [[1] * dimensions, [8] * dimensions]
            self.supervision_weights = (0.0, 1.0)
            return
        self.decoder = nn.Sequential(
            Upsampler(eighth, quarter, dimensions),
            *(FactorizedBlock(quarter, dimensions) for _ in range(2)),
            Upsampler(quarter, half, dimensions),
            *(FactorizedBlock(half, dimensions) for _ in range(2)),
        )
        self.head = _layer("ConvTranspose", dimensions)(half, outputs, 2, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Return logits (batch, outputs, ...) of an image (batch, channel, ...).

        The encoder alone returns a list of them: on the grid of the image, and at an eighth of its resolution.
        """
        if self.decoder is None:
            coarse: torch.Tensor = self.head(self.encoder(x))
            mode = "bilinear" if coarse.ndim == 4 else "trilinear"
            return [functional.interpolate(coarse, x.shape[2:], mode=mode), coarse]
        logits: torch.Tensor = self.head(self.decoder(self.encoder(x)))
        return logits


def make_erfnet(configuration: Configuration, channels: int, outputs: int) -> ERFNet:
    """Return ERFNet as a configuration describes it.

    Args:
        configuration: has the dimensions and the arguments.
        channels: the number of channels of the image.
        outputs: the number of channels of the logits.
    """
    return ERFNet(configuration.dimensions, channels, outputs, **configuration.network.arguments)
