"""CE-Net in 2D (Gu et al. 2019, arxiv.org/abs/1903.02740): a ResNet-34 encoder with context from far around.

Layers are those of the authors' code (github.com/Guzaiwang/CE-Net). The weights of `encoder` have the names that
torchvision gives those of its ResNet-34.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from medseg.plans.arguments import check_sizes
from medseg.plans.schema import Configuration

_BLOCKS = (3, 4, 6, 3)  # of each stage of ResNet-34
_POOLS = (2, 3, 5, 6)  # kernels of residual multi-kernel pooling
_LAST_FEATURES = 32


class BasicBlock(nn.Module):
    """ResNet's block of two 3x3 convolutions (He et al. 2016, arxiv.org/abs/1512.03385).

    Args:
        inputs: channels in.
        outputs: channels out.
        stride: of the first convolution; where shapes differ, the shortcut is a convolution, too.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (batch, outputs, y, x) activations of (batch, inputs, y, x)."""
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class ResNet34(nn.Module):
    """The encoder: ResNet-34 without its classifier.

    Args:
        channels: the number of channels of the image.
        features: of the four stages; the stem has those of the first.
    """

    def __init__(self, channels: int, features: Sequence[int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, features[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(features[0])
        inputs = features[0]
        for number, (size, count) in enumerate(zip(features, _BLOCKS, strict=True), start=1):
            first = BasicBlock(inputs, size, 1 if number == 1 else 2)
            setattr(
                self, f"layer{number}", nn.Sequential(first, *(BasicBlock(size, size, 1) for _ in range(count - 1)))
            )
            inputs = size

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return activations at a quarter, an eighth, a 16th and a 32nd of the resolution."""
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        stages = []
        for number in range(1, len(_BLOCKS) + 1):
            x = getattr(self, f"layer{number}")(x)
            stages.append(x)
        return stages


class DenseAtrousConvolution(nn.Module):
    """Four branches of more and more dilated convolutions beside a shortcut (DAC, section III-B1 of the paper).

    As in the authors' code, branches share the weights of convolutions with the same dilation, and the 1x1.

    Args:
        channels: in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dilated1, self.dilated3, self.dilated5 = (
            nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation) for dilation in (1, 3, 5)
        )
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (batch, channels, y, x) on the same grid."""
        dilated1 = self.dilated1(x)
        chain = self.dilated3(dilated1)
        branches = [self.project(self.dilated3(x)), self.project(chain), self.project(self.dilated5(chain))]
        for branch in (dilated1, *branches):
            x = x + functional.relu(branch)
        return x


class ResidualMultiKernelPooling(nn.Module):
    """Appends four channels that were pooled over larger and larger cells (RMP, section III-B2 of the paper).

    On a grid that is smaller than a cell, the cell is the whole grid; the paper's images have 14 x 14 voxels here.

    Args:
        channels: in; out are four more.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (batch, channels + 4, y, x) on the same grid."""
        size = list(x.shape[2:])
        pooled = [self.project(functional.max_pool2d(x, [min(kernel, length) for length in size])) for kernel in _POOLS]
        wide = [functional.interpolate(y, size, mode="bilinear", align_corners=False) for y in pooled]
        return torch.cat((*wide, x), dim=1)


class DecoderBlock(nn.Module):
    """Doubles the grid: 1x1 convolution, transposed convolution, 1x1 convolution, in a quarter of the channels.

    Args:
        inputs: channels in.
        outputs: channels out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        width = max(1, inputs // 4)
        self.conv1, self.norm1 = nn.Conv2d(inputs, width, 1), nn.BatchNorm2d(width)
        self.up = nn.ConvTranspose2d(width, width, 3, stride=2, padding=1, output_padding=1)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv3, self.norm3 = nn.Conv2d(width, outputs, 1), nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (batch, outputs, 2 y, 2 x) activations of (batch, inputs, y, x)."""
        x = functional.relu(self.norm1(self.conv1(x)))
        x = functional.relu(self.norm2(self.up(x)))
        return functional.relu(self.norm3(self.conv3(x)))


class CENet(nn.Module):
    """CE-Net.

    Args:
        channels: the number of channels of the image.
        outputs: the number of channels of the logits.
        features: of the four stages of the encoder.
    """

    def __init__(self, channels: int, outputs: int, features: Sequence[int] = (64, 128, 256, 512)) -> None:
        super().__init__()
        check_sizes("cenet", "features", features, len(_BLOCKS))
        first, second, third, last = features
        self.encoder = ResNet34(channels, features)
        self.context = nn.Sequential(DenseAtrousConvolution(last), ResidualMultiKernelPooling(last))
        inputs = last + len(_POOLS)
        self.decoder = nn.ModuleList(
            [
                DecoderBlock(inputs, third),
                DecoderBlock(third, second),
                DecoderBlock(second, first),
                DecoderBlock(first, first),
            ]
        )
        self.head = nn.Sequential(
            OrderedDict(
                up=nn.ConvTranspose2d(first, _LAST_FEATURES, 4, stride=2, padding=1),
                act1=nn.ReLU(),
                conv=nn.Conv2d(_LAST_FEATURES, _LAST_FEATURES, 3, padding=1),
                act2=nn.ReLU(),
                logits=nn.Conv2d(_LAST_FEATURES, outputs, 3, padding=1),
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, outputs, y, x) of an image (batch, channel, y, x)."""
        *skips, x = self.encoder(x)
        x = self.context(x)
        for block in self.decoder:
            x = block(x)
            if skips:
                x = x + skips.pop()
        logits: torch.Tensor = self.head(x)
        return logits


def make_cenet(configuration: Configuration, channels: int, outputs: int) -> CENet:
    """Return CE-Net as a configuration describes it.

    Args:
        configuration: has the arguments.
        channels: the number of channels of the image.
        outputs: the number of channels of the logits.
    """
    return CENet(channels, outputs, **configuration.network.arguments)
