"""OpenVINO computes a network on a processor: measured faster there than torch (docs/inference.md).

Optional: `pip install 'medseg[openvino]'`. Imported only where it is installed and wanted.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from typing import Any

import openvino
import torch

from medseg.inference.openvino_graph import unet_graph
from medseg.inference.window_pass import Forward
from medseg.networks.unet import UNet

_HINTS = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}
_SAME = 0.05
"""Largest difference, as a share of the largest logit, that converting a network of another library may make."""


def openvino_forward(network: torch.nn.Module, channels: int, tile: Sequence[int], precision: torch.dtype) -> Forward:
    """A network compiled for tiles of one shape; any number of tiles at once, from any thread.

    Args:
        network: on the CPU. medseg's own U-Nets are written down as a graph; others are traced, and compared with
            what torch says.
        channels: of its input.
        tile: (y, x) or (z, y, x).
        precision: of convolutions; normalization and sums are fp32.

    Raises:
        RuntimeError: OpenVINO cannot take this network.
    """
    graph = unet_graph(network, channels, tile) if isinstance(network, UNet) else _traced(network, channels, tile)
    processing = openvino.preprocess.PrePostProcessor(graph)
    half = precision != torch.float32
    processing.output().tensor().set_element_type(openvino.Type.f16 if half else openvino.Type.f32)
    settings = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    compiled = openvino.Core().compile_model(processing.build(), "CPU", settings)
    forward = _Compiled(compiled, one_by_one=not isinstance(network, UNet))
    if forward.one_by_one:
        _compare(network, forward, channels, tile)
    return forward


class _Compiled:
    """A compiled network. Each thread has a request of its own, as one request answers one call at a time."""

    def __init__(self, compiled: openvino.CompiledModel, one_by_one: bool) -> None:
        self.compiled = compiled
        self.one_by_one = one_by_one
        self.own = threading.local()

    def __call__(self, tiles: torch.Tensor) -> torch.Tensor:
        if self.one_by_one and len(tiles) > 1:
            return torch.cat([self._answer(tile[None]).clone() for tile in tiles])
        return self._answer(tiles)

    def _answer(self, tiles: torch.Tensor) -> torch.Tensor:
        if not hasattr(self.own, "request"):
            self.own.request = self.compiled.create_infer_request()
        values = tiles.contiguous().numpy()
        answer: Any = self.own.request.infer([values], share_inputs=True, share_outputs=True)[0]
        return torch.from_numpy(answer)


def _traced(network: torch.nn.Module, channels: int, tile: Sequence[int]) -> openvino.Model:
    """A network of another library as a graph for one tile at a time: what it does to a batch is not known."""
    example = torch.zeros(1, channels, *tile)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(_FirstOutput(network), (example,))
        graph = openvino.convert_model(exported)
    graph.reshape([1, channels, *tile])
    return graph


class _FirstOutput(torch.nn.Module):
    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.network(tiles)[0]
        return answer


def _compare(network: torch.nn.Module, forward: Forward, channels: int, tile: Sequence[int]) -> None:
    example = torch.randn(1, channels, *tile, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(example)[0].float()
    difference = float((forward(example).float() - expected).abs().max() / expected.abs().max().clamp(min=1e-6))
    if difference > _SAME:
        raise RuntimeError(f"the converted network's logits differ by {difference:.0%}")
