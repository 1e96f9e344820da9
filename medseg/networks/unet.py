"""U-Nets in 2D and 3D, plain or with a residual encoder, stage by stage as the plan says.

Architecture of nnU-Net v2 (Isensee et al., Nature Methods 2021, doi.org/10.1038/s41592-020-01008-z; residual encoders:
Isensee et al., MICCAI 2024, arxiv.org/abs/2404.09556): convolution, instance normalization, leaky ReLU; strided
convolutions down, transposed convolutions up (or interpolation, `network.upsampling`), a 1x1 head on every decoder
level.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import nn

from medseg.networks.layout import to_fast_layout
from medseg.networks.norm_act import norm_act
from medseg.networks.upsampling import Interpolation, upsample
from medseg.plans.schema import Network

_SLOPE = 0.01  # of leaky ReLU, and
_EPS = 1e-5  # of instance normalization: nnU-Net's


def _convolution(dimensions: int) -> Any:
    return nn.Conv2d if dimensions == 2 else nn.Conv3d


def _normalization(dimensions: int, features: int) -> nn.InstanceNorm2d | nn.InstanceNorm3d:
    kind = nn.InstanceNorm2d if dimensions == 2 else nn.InstanceNorm3d
    return kind(features, eps=_EPS, affine=True)


class ConvBlock(nn.Module):
    """Convolution, instance normalization and leaky ReLU.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: size along each axis, odd; the grid stays the same but for the stride.
        stride: along each axis.
        bias: whether the convolution has one.
        activate: whether there is a leaky ReLU at the end.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int], bias: bool, activate: bool = True
    ) -> None:
        super().__init__()
        padding = [(size - 1) // 2 for size in kernel]
        self.conv = _convolution(len(kernel))(inputs, outputs, tuple(kernel), tuple(stride), tuple(padding), bias=bias)
        self.norm = _normalization(len(kernel), outputs)
        self.slope = _SLOPE if activate else 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (batch, outputs, ...) activations of (batch, inputs, ...)."""
        return norm_act(self.conv(x), self.norm.weight, self.norm.bias, _EPS, self.slope)


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut, which is pooled and projected where shapes differ.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: size along each axis, odd.
        stride: the stride of the first convolution along each axis.
        bias: whether the convolutions have one.
    """

    def __init__(self, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int], bias: bool) -> None:
        super().__init__()
        self.first = ConvBlock(inputs, outputs, kernel, stride, bias)
        self.second = ConvBlock(outputs, outputs, kernel, [1] * len(kernel), bias, activate=False)
        pool: Any = nn.AvgPool2d if len(kernel) == 2 else nn.AvgPool3d
        self.pool = pool(tuple(stride), tuple(stride)) if prod(stride) > 1 else nn.Identity()
        ones = [1] * len(kernel)
        self.project = (
            ConvBlock(inputs, outputs, ones, ones, False, activate=False) if inputs != outputs else nn.Identity()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (batch, outputs, ...) activations of (batch, inputs, ...)."""
        shortcut = self.project(self.pool(x))
        return nn.functional.leaky_relu(self.second(self.first(x)) + shortcut, _SLOPE, inplace=True)


class UNet(nn.Module):
    """A U-Net.

    Args:
        network: stages, kernels, strides as the plan has them.
        channels: the number of channels of the image.
        outputs: the number of channels of the answer (logits).
        residual: residual blocks in the encoder, behind a stem of one convolution.

    Attributes:
        supervision_scales: how much coarser than the image each answer is that deep supervision looks at, per axis, the
            full resolution first. nnU-Net gives the coarsest decoder level a weight of zero, so it is left out here.
    """

    def __init__(self, network: Network, channels: int, outputs: int, residual: bool) -> None:
        super().__init__()
        features, kernels, strides = network.features, network.kernels, network.strides
        levels = max(1, len(features) - 2)
        self.supervision_scales = [
            [prod(axis) for axis in zip(*strides[: level + 1], strict=True)] for level in range(levels)
        ]
        self.stem = (
            ConvBlock(channels, features[0], kernels[0], [1] * len(kernels[0]), network.bias) if residual else None
        )
        block = ResidualBlock if residual else ConvBlock
        inputs = features[0] if residual else channels
        encoder: list[nn.Module] = []
        for size, kernel, stride, count in zip(features, kernels, strides, network.blocks, strict=True):
            first = block(inputs, size, kernel, stride, network.bias)
            rest = [block(size, size, kernel, [1] * len(kernel), network.bias) for _ in range(count - 1)]
            encoder.append(nn.Sequential(first, *rest))
            inputs = size
        self.encoder = nn.ModuleList(encoder)
        up, decoder, heads = [], [], []
        transposed: Any = nn.ConvTranspose2d if len(kernels[0]) == 2 else nn.ConvTranspose3d
        for level, count in zip(reversed(range(len(features) - 1)), network.decoder_convolutions, strict=True):
            size, kernel, step = features[level], kernels[level], tuple(strides[level + 1])
            up.append(
                Interpolation(features[level + 1], size, step, network.bias)
                if network.upsampling == "interpolation"
                else transposed(features[level + 1], size, step, step, bias=network.bias)
            )
            ones = [1] * len(kernel)
            widths = [2 * size] + [size] * (count - 1)
            decoder.append(nn.Sequential(*(ConvBlock(width, size, kernel, ones, network.bias) for width in widths)))
            heads.append(_convolution(len(kernel))(size, outputs, 1, bias=True))
        self.up, self.decoder, self.heads = nn.ModuleList(up), nn.ModuleList(decoder), nn.ModuleList(heads)
        self.apply(_initialize)
        for module in self.modules():
            if isinstance(module, ResidualBlock):  # as in nnU-Net, each block begins as its shortcut alone
                nn.init.zeros_(module.second.norm.weight)

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        """Return the logits of the finest decoder levels, the full resolution first.

        Args:
            x: (batch, channel, ...) image.
            levels: how many decoder levels to answer; heads of coarser ones are not computed.
        """
        x = to_fast_layout(x)
        if self.stem is not None:
            x = self.stem(x)
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        answers = []
        for depth, (up, decode, head) in enumerate(zip(self.up, self.decoder, self.heads, strict=True)):
            x = decode(torch.cat((upsample(x, up), skips[-2 - depth]), dim=1))
            if depth >= len(self.up) - levels:
                answers.append(head(x))
        return answers[::-1]


def _initialize(module: nn.Module) -> None:
    """Draw weights by Kaiming's normal law for a leaky ReLU of slope 0.01, and set biases to zero, as in nnU-Net."""
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        if module.weight.is_meta:  # about to be filled; drawing "nothing" would import torch's compiler
            return
        nn.init.kaiming_normal_(module.weight, a=_SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
