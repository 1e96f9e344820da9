"""Round what enters a network's layers to 8 bits, so that OpenVINO computes them with whole numbers.

A graph is not stored: it is made from the module or traced as for other precisions, and gets the ranges that `medseg
quantize` found (`openvino_fit_int8`). Layers are counted in the order of computation, and a hash of their kinds tells
whether they are still those that were counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from medseg.inference.backends.openvino_import import without_telemetry
from medseg.models.quantization import Rounding

with without_telemetry():
    from openvino import Model, Node, PartialShape
    from openvino import opset13 as ops

_VALUES = ("Constant", "Parameter", "Result")
"""Kinds of nodes that compute nothing."""


def layers_of(graph: Model) -> list[Node]:
    """Return the nodes of a graph that compute something, in the order of computation."""
    return [node for node in graph.get_ordered_ops() if node.get_type_name() not in _VALUES]


def graph_hash(graph: Model) -> str:
    """Return a hash of the kinds of a graph's layers, in the order of computation."""
    kinds = " ".join(node.get_type_name() for node in layers_of(graph))
    return hashlib.blake2b(kinds.encode(), digest_size=12).hexdigest()


def insert_roundings(graph: Model, roundings: Sequence[Rounding]) -> None:
    """Round what enters the layers of a graph, in place.

    Args:
        graph: as the network's other precisions have it.
        roundings: made for a graph of the same `graph_hash`.

    Raises:
        RuntimeError: they do not fit the graph.
    """
    layers = layers_of(graph)
    for rounding in roundings:
        try:
            inputs = [layers[layer].input(number) for layer, number in rounding.inputs]
        except (IndexError, RuntimeError):
            raise RuntimeError("int8.json rounds a layer that the network does not have") from None
        low, high = (
            ops.constant(np.array(values, np.float32).reshape(rounding.shape))
            for values in (rounding.low, rounding.high)
        )
        source = inputs[0].get_source_output()
        if any(other.get_source_output() != source for other in inputs):
            raise RuntimeError("int8.json rounds several values as if they were one")
        if not _fits(rounding.shape, source.get_partial_shape()):
            raise RuntimeError(f"int8.json has ranges of the shape {rounding.shape} for {source.get_partial_shape()}")
        rounded = ops.fake_quantize(source, low, high, low, high, rounding.levels)
        for target in inputs:
            target.replace_source_output(rounded.output(0))
    graph.validate_nodes_and_infer_types()


def _fits(shape: Sequence[int], values: PartialShape) -> bool:
    """Return whether ranges leave the shape of the values as it is: each axis has one range, or as many as values."""
    axes = list(values)[len(values) - len(shape) :]
    return len(shape) <= len(axes) and all(
        size == 1 or (axis.is_static and axis.get_length() == size) for size, axis in zip(shape, axes, strict=True)
    )
