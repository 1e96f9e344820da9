"""Find the ranges in which a network is computed in 8 bits, on tiles of training cases, with NNCF.

`medseg quantize` does that once; prediction needs no NNCF (`openvino_int8`). NNCF (Apache-2.0) chooses what is rounded
and how: ranges of activations a layer, those of weights a channel.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from medseg.inference.backends.openvino_backend import network_graph
from medseg.inference.backends.openvino_import import without_telemetry
from medseg.inference.backends.openvino_int8 import graph_hash, layers_of
from medseg.models.quantization import Rounding

with without_telemetry():
    from openvino import Model

_KIND = "FakeQuantize"
_STATISTICS = "MVN"
"""OpenVINO's kind of the layers that take mean and variance of instance normalization."""
_PRODUCT, _ATTENTION = "MatMul", "ScaledDotProductAttention"


def fit_roundings(
    network: nn.Module, tiles: Sequence[torch.Tensor], careful: bool = False, weight_bits: Literal[7, 8] = 8
) -> tuple[str, list[Rounding]]:
    """Return the hash of a network's graph, and what is to be rounded.

    Args:
        network: on the CPU.
        tiles: (1, channel, y, x) or (1, channel, z, y, x), all of one shape, as the network sees them.
        careful: leave what instance normalization reads as it is, and round activations by ranges that are not
            symmetric: half the error of logits, and less of the gain (docs/prediction/int8.md).
        weight_bits: 8, or 7 for processors without VNNI, too (`int8_weight_bits`); products of two activations, as in
            attention, are then left as they are, since no weight in them can have fewer bits.

    Raises:
        RuntimeError: OpenVINO cannot compute this network, or NNCF cannot quantize it.
    """
    shape = tiles[0].shape
    graph = network_graph(network, shape[1], shape[2:])
    left_alone = [] if weight_bits == 8 else _products_of_activations(graph)
    with _quiet_nncf(), without_telemetry():
        import nncf

        preset = nncf.QuantizationPreset
        quantized = nncf.quantize(
            graph,
            nncf.Dataset([tile.numpy() for tile in tiles]),
            subset_size=len(tiles),
            preset=preset.MIXED if careful else preset.PERFORMANCE,
            ignored_scope=nncf.IgnoredScope(left_alone, types=[_STATISTICS] if careful else [], validate=False),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                # corrected biases are weights of their own, and instance normalization takes most of them out again
                disable_bias_correction=True,
                overflow_fix=nncf.OverflowFix.DISABLE if weight_bits == 8 else nncf.OverflowFix.ENABLE,
                backend_params={"compress_weights": False},
            ),
        )
    numbers = {node.get_friendly_name(): number for number, node in enumerate(layers_of(graph))}
    roundings = [_rounding(node, numbers) for node in quantized.get_ordered_ops() if node.get_type_name() == _KIND]
    if not roundings:
        raise RuntimeError("NNCF found no layer that can be computed in 8 bits")
    return graph_hash(graph), roundings


def _products_of_activations(graph: Model) -> list[str]:
    """Return the names of the layers that multiply two activations by each other."""
    return [
        node.get_friendly_name()
        for node in layers_of(graph)
        if node.get_type_name() == _ATTENTION
        or (
            node.get_type_name() == _PRODUCT
            and all(value.get_node().get_type_name() != "Constant" for value in node.input_values())
        )
    ]


def _rounding(node: Any, numbers: dict[str, int]) -> Rounding:
    """Return what a node of a quantized graph rounds.

    Args:
        node: of the kind `FakeQuantize`.
        numbers: {name of a layer: its number in the graph that was quantized}.
    """
    low, high, low_after, high_after = (node.input_value(index).get_node().data for index in range(1, 5))
    if not (np.array_equal(low, low_after) and np.array_equal(high, high_after)):
        raise RuntimeError("NNCF moves values while it rounds them, which medseg does not write down")
    targets = node.output(0).get_target_inputs()
    return Rounding(
        inputs=sorted((numbers[target.get_node().get_friendly_name()], target.get_index()) for target in targets),
        levels=node.get_attributes()["levels"],
        shape=list(low.shape),
        low=_digits(low),
        high=_digits(high),
    )


def _digits(values: np.ndarray) -> list[float]:
    """Return numbers of float32 with the nine digits that tell them apart."""
    return [float(f"{value:.9g}") for value in values.ravel().astype(np.float32)]


@contextmanager
def _quiet_nncf() -> Iterator[None]:
    """Keep NNCF from printing, and from changing how the process logs, while a block runs."""
    from rich import get_console

    console, kind = get_console(), logging.getLoggerClass()
    quiet, console.quiet = console.quiet, True
    try:
        with without_telemetry():
            import nncf  # which makes its own class that of all later loggers
        nncf.set_log_level(logging.ERROR)
        yield
    finally:
        console.quiet = quiet
        logging.setLoggerClass(kind)
