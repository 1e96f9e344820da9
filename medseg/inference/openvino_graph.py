"""A U-Net of `networks.unet` as an OpenVINO graph, layer by layer.

Written down from the module's own parts instead of traced: that takes a tenth of a second, and nothing about the
tiles' number is fixed. Weights are shared with the module, not copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from openvino import Model, Node, PartialShape, Type
from openvino import opset13 as ops
from torch import nn

from medseg.networks.unet import ConvBlock, ResidualBlock, UNet


def unet_graph(network: UNet, channels: int, tile: Sequence[int]) -> Model:
    """The graph of a U-Net: (tile, channel, ...) float32 to logits (tile, outputs, ...) of the full resolution."""
    image = ops.parameter(PartialShape([-1, channels, *tile]), Type.f32, name="tiles")
    x: Node = image
    if network.stem is not None:
        x = _block(x, network.stem)
    skips = []
    for stage in network.encoder:
        for part in stage:  # type: ignore[attr-defined]
            x = _block(x, part)
        skips.append(x)
    for depth, (up, decode) in enumerate(zip(network.up, network.decoder, strict=True)):
        x = ops.concat([_upsample(x, up), skips[-2 - depth]], 1)
        for part in decode:  # type: ignore[attr-defined]
            x = _block(x, part)
    return Model([_convolution(x, network.heads[-1])], [image], "unet")


def _block(x: Node, block: nn.Module) -> Node:
    if isinstance(block, ConvBlock):
        return _activation(_norm(_convolution(x, block.conv), block), block.slope)
    assert isinstance(block, ResidualBlock)
    shortcut = x
    if not isinstance(block.pool, nn.Identity):
        size = [int(step) for step in block.pool.kernel_size]
        zero = [0] * len(size)
        shortcut = ops.avg_pool(x, size, zero, zero, size, True)
    if not isinstance(block.project, nn.Identity):
        shortcut = _block(shortcut, block.project)
    answer = _block(_block(x, block.first), block.second)
    return _activation(ops.add(answer, shortcut), block.first.slope)


def _convolution(x: Node, layer: Any) -> Node:
    padding = [int(size) for size in layer.padding]
    y = ops.convolution(x, _constant(layer.weight), layer.stride, padding, padding, layer.dilation)
    return y if layer.bias is None else ops.add(y, _per_channel(layer.bias, layer.weight.ndim))


def _upsample(x: Node, layer: Any) -> Node:
    zero = [0] * len(layer.stride)
    one = [1] * len(layer.stride)
    y = ops.convolution_backprop_data(x, _constant(layer.weight), layer.stride, None, zero, zero, one)
    return y if layer.bias is None else ops.add(y, _per_channel(layer.bias, layer.weight.ndim))


def _norm(x: Node, block: ConvBlock) -> Node:
    """Instance normalization; its statistics are computed in fp32 whatever convolutions are computed in."""
    dimensions = block.conv.weight.ndim
    axes = ops.constant(np.arange(2, dimensions, dtype=np.int64))
    y = ops.mvn(x, axes, True, block.norm.eps, "inside_sqrt")
    y = ops.multiply(y, _per_channel(block.norm.weight, dimensions))
    return ops.add(y, _per_channel(block.norm.bias, dimensions))


def _activation(x: Node, slope: float) -> Node:
    """Leaky ReLU; none for a slope of 1."""
    return x if slope == 1 else ops.prelu(x, ops.constant(np.array([slope], dtype=np.float32)))


def _per_channel(values: torch.Tensor, dimensions: int) -> Node:
    return _constant(values.reshape(1, -1, *[1] * (dimensions - 2)))


def _constant(values: torch.Tensor) -> Node:
    return ops.constant(values.detach().float().contiguous().numpy(), shared_memory=True)
