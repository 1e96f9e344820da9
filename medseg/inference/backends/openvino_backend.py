"""Let OpenVINO compute a network on a processor, where it measured faster than torch (docs/prediction/inference.md).

Installed with medseg on x86, elsewhere by `pip install 'medseg[openvino]'`. This module is imported only where it is
installed and wanted.

medseg's own U-Nets are written down as a graph from the module's parts instead of traced: that takes a tenth of a
second, and the number of tiles stays free. Weights are shared with the module, not copied. Other networks are traced.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from medseg.inference.backends.choose import Forward
from medseg.inference.backends.openvino_import import without_telemetry
from medseg.models.quantization import Quantization
from medseg.networks.device import floating, is_out_of_memory
from medseg.networks.difference import largest_difference
from medseg.networks.row import FullResolution, ListOutput
from medseg.networks.unet import ConvBlock, ResidualBlock, UNet
from medseg.networks.upsampling import Interpolation

with without_telemetry():
    import openvino
    from openvino import Model, Node, PartialShape, Type
    from openvino import opset13 as ops

LIMIT = "ONEDNN_MAX_CPU_ISA"
"""Environment variable that limits oneDNN's instructions. OpenVINO's own oneDNN reads it, too, while the rest of
OpenVINO does not: with AVX2 on a processor with AVX-512, MONAI's UNETR ended in a segmentation fault (2026.4)."""
_LOWEST_LIMIT = "SSE41"
"""With this limit, a U-Net in 2D computed without end (2026.4)."""
_HINTS = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}
_LARGEST_DIFFERENCE = 0.05
"""Largest difference, as a share of the largest logit, that converting a network of another library may make."""


def openvino_forward(
    network: nn.Module,
    channels: int,
    tile: Sequence[int],
    precision: torch.dtype,
    quantization: Quantization | None = None,
) -> Forward:
    """Compile a network for tiles of one shape; the function takes any number of tiles at once, from any thread.

    Args:
        network: on the CPU. medseg's own U-Nets are written down as a graph; others are traced, and their answer is
            compared with torch's.
        channels: the number of channels of its input.
        tile: shape of a tile (y, x) or (z, y, x).
        precision: in which convolutions are computed; normalization and sums are computed in fp32.
        quantization: for int8, what is rounded to 8 bits; the rest is computed in the type of `auto`.

    Returns:
        A function from tiles (tile, channel, ...) to logits (tile, output, ...).

    Raises:
        RuntimeError: OpenVINO cannot compute this network.
    """
    graph = network_graph(network, channels, tile)
    if quantization is None:
        forward = _compiled(graph, network, precision)
        if not isinstance(network, UNet):
            _compare(network, forward, channels, tile)
        return forward
    from medseg.inference.backends.openvino_int8 import graph_hash, insert_roundings  # only int8 needs it

    if graph_hash(graph) != quantization.graph:
        raise RuntimeError(
            f"it has other layers here (OpenVINO {openvino.__version__}) than where it was quantized (OpenVINO "
            f"{quantization.openvino}); `medseg quantize` does that again"
        )
    if not isinstance(network, UNet):  # rounding makes differences of its own
        _compare(network, _compiled(graph.clone(), network, torch.float32), channels, tile)
    insert_roundings(graph, quantization.roundings)
    return _compiled(graph, network, floating(precision, torch.device("cpu")))


def _compiled(graph: Model, network: nn.Module, precision: torch.dtype) -> _Compiled:
    """Compile the graph of a network for this processor."""
    processing = openvino.preprocess.PrePostProcessor(graph)
    # an answer in 16 bits has half as many bytes to write and to add up; fp16 has more digits than bf16
    half = precision != torch.float32
    processing.output().tensor().set_element_type(Type.f16 if half else Type.f32)
    settings = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    compiled = openvino.Core().compile_model(processing.build(), "CPU", settings)
    return _Compiled(compiled, one_by_one=not isinstance(network, UNet))


def network_graph(network: nn.Module, channels: int, tile: Sequence[int]) -> Model:
    """Return the graph of a network in fp32: medseg's own U-Nets from their parts, others traced.

    Args:
        network: on the CPU.
        channels: the number of channels of its input.
        tile: shape of a tile (y, x) or (z, y, x).

    Raises:
        RuntimeError: OpenVINO cannot compute this network.
    """
    if why := why_not_here(network):
        raise RuntimeError(why)
    return unet_graph(network, channels, tile) if isinstance(network, UNet) else _traced(network, channels, tile)


def why_not_here(network: nn.Module) -> str:
    """Return why OpenVINO is not to compute a network under the limit that the environment sets; empty if it may."""
    if not isinstance(network, UNet) and LIMIT in os.environ:
        return f"{LIMIT} is set, with which OpenVINO has crashed on networks of other libraries"
    if os.environ.get(LIMIT, "").upper() == _LOWEST_LIMIT:
        return f"{LIMIT} is {_LOWEST_LIMIT}, with which OpenVINO has computed without end"
    return ""


class _Compiled:
    """A compiled network; each thread has its own inference request, as a request serves one call at a time."""

    def __init__(self, compiled: openvino.CompiledModel, one_by_one: bool) -> None:
        self.compiled = compiled
        self.one_by_one = one_by_one
        self.thread = threading.local()

    def __call__(self, tiles: torch.Tensor) -> torch.Tensor:
        if self.one_by_one and len(tiles) > 1:
            return torch.cat([self._infer(tile[None]).clone() for tile in tiles])
        return self._infer(tiles)

    def _infer(self, tiles: torch.Tensor) -> torch.Tensor:
        if not hasattr(self.thread, "request"):
            self.thread.request = self.compiled.create_infer_request()
        values = tiles.contiguous().numpy()
        answer: Any = self.thread.request.infer([values], share_inputs=True, share_outputs=True)[0]
        return torch.from_numpy(answer)


def _traced(network: nn.Module, channels: int, tile: Sequence[int]) -> Model:
    """Trace a network of another library for one tile at a time, as nothing is known of what it does to a batch.

    What `torch.jit.trace` writes down is converted in a quarter of the time that `torch.export` takes. But it records
    one of two branches without a word, where `torch.export` refuses a network that asks for values; so it is only for
    networks of which it is known that none does.
    """
    example = (torch.zeros(1, channels, *tile),)
    ways = (_by_jit, _by_export) if _asks_for_no_values(network) else (_by_export,)
    with torch.no_grad(), warnings.catch_warnings(), without_telemetry():
        warnings.simplefilter("ignore")
        for way in ways:
            try:
                graph = way(FullResolution(network), example)
                graph.reshape([1, channels, *tile])
                return graph
            except Exception as error:  # both libraries raise all kinds of errors
                if way is ways[-1] or is_out_of_memory(error):
                    raise
    raise AssertionError("one way returns, or the last one raises")


def _by_jit(network: nn.Module, example: tuple[torch.Tensor]) -> Model:
    # without torch's own check, which repeats the example: `_compare` looks at other values
    return openvino.convert_model(torch.jit.trace(network, example, check_trace=False), example_input=example)


def _by_export(network: nn.Module, example: tuple[torch.Tensor]) -> Model:
    return openvino.convert_model(torch.export.export(network, example))


def _asks_for_no_values(network: nn.Module) -> bool:
    """Return whether a network is medseg's or MONAI's: what those compute depends on the size of a tile alone.

    tests/networks/test_every_network_converted.py converts every one of them.
    """
    inner = network.network if isinstance(network, ListOutput) else network
    return type(inner).__module__.partition(".")[0] in ("medseg", "monai")


def _compare(network: nn.Module, forward: Forward, channels: int, tile: Sequence[int]) -> None:
    """Check a converted network against torch on a tile of noise.

    Raises:
        RuntimeError: the logits differ.
    """
    example = torch.randn(1, channels, *tile, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(example)[0].float()
    difference = largest_difference(forward(example), expected)
    if difference > _LARGEST_DIFFERENCE:
        raise RuntimeError(f"the converted network's logits differ by {difference:.0%}")


def unet_graph(network: UNet, channels: int, tile: Sequence[int]) -> Model:
    """Return the graph of a U-Net: (tile, channel, ...) float32 to logits (tile, outputs, ...) of full resolution.

    Args:
        network: on the CPU.
        channels: the number of channels of its input.
        tile: shape of a tile (y, x) or (z, y, x).
    """
    image = ops.parameter(PartialShape([-1, channels, *tile]), Type.f32, name="tiles")
    x: Node = image
    if network.stem is not None:
        x = _block(x, network.stem)
    skips = []
    for stage in network.encoder:
        for block in stage:  # type: ignore[attr-defined]
            x = _block(x, block)
        skips.append(x)
    for depth, (up, decode) in enumerate(zip(network.up, network.decoder, strict=True)):
        x = ops.concat([_upsample(x, up), skips[-2 - depth]], 1)
        for block in decode:  # type: ignore[attr-defined]
            x = _block(x, block)
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
    if isinstance(layer, Interpolation):
        scales = ops.constant(np.array(layer.step, dtype=np.float32))
        axes = ops.constant(np.arange(2, 2 + len(layer.step), dtype=np.int64))
        y = _convolution(x, layer.conv)
        # "linear_onnx" with half pixels is torch's bilinear and trilinear interpolation without aligned corners
        return ops.interpolate(
            y, scales, "linear_onnx", "scales", axes=axes, coordinate_transformation_mode="half_pixel"
        )
    padding, dilation = [0] * len(layer.stride), [1] * len(layer.stride)
    y = ops.convolution_backprop_data(x, _constant(layer.weight), layer.stride, None, padding, padding, dilation)
    return y if layer.bias is None else ops.add(y, _per_channel(layer.bias, layer.weight.ndim))


def _norm(x: Node, block: ConvBlock) -> Node:
    """Instance normalization; its statistics are in fp32 whatever convolutions are computed in."""
    dimensions = block.conv.weight.ndim
    axes = ops.constant(np.arange(2, dimensions, dtype=np.int64))
    y = ops.mvn(x, axes, True, block.norm.eps, "inside_sqrt")
    y = ops.multiply(y, _per_channel(block.norm.weight, dimensions))
    return ops.add(y, _per_channel(block.norm.bias, dimensions))


def _activation(x: Node, slope: float) -> Node:
    """Leaky ReLU; a slope of 1 means no activation."""
    return x if slope == 1 else ops.prelu(x, ops.constant(np.array([slope], dtype=np.float32)))


def _per_channel(values: torch.Tensor, dimensions: int) -> Node:
    """Return a constant of shape (1, channel, 1, ...), to be broadcast over voxels."""
    return _constant(values.reshape(1, -1, *[1] * (dimensions - 2)))


def _constant(values: torch.Tensor) -> Node:
    return ops.constant(values.detach().float().contiguous().numpy(), shared_memory=True)
