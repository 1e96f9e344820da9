"""Ranges that NNCF finds are written down, and make the same network again."""

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import pytest
import torch
from tiny_networks import plan_of, some_network
from torch import nn
from torch.nn import functional

from medseg.models.quantization import Quantization, Rounding
from medseg.networks.device import int8_weight_bits

if find_spec("nncf") is None:  # `importorskip` would import its telemetry, too
    pytest.skip("NNCF is an option: pip install 'medseg[int8]'", allow_module_level=True)
if int8_weight_bits() is None:
    pytest.skip("this is no x86 processor", allow_module_level=True)
pytest.importorskip("openvino", reason="OpenVINO is an option: pip install 'medseg[openvino]'")
from medseg.inference.backends.openvino_backend import network_graph, openvino_forward
from medseg.inference.backends.openvino_fit_int8 import fit_roundings
from medseg.inference.backends.openvino_int8 import graph_hash, insert_roundings, layers_of


def quantization_with(graph: str, roundings: list[Rounding]) -> Quantization:
    return Quantization(
        schema_version=1,
        made="",
        medseg="",
        nncf="",
        openvino="2020.1",
        network="",
        graph=graph,
        careful=False,
        evidence=None,
        roundings=roundings,
    )


def fitted(
    name: str, dimensions: int, careful: bool = False, weight_bits: Literal[7, 8] | None = None
) -> tuple[torch.nn.Module, Sequence[int], list[torch.Tensor], Quantization]:
    plan = plan_of(name, dimensions)
    tile = plan.configuration("main").patch_voxels
    network = some_network(plan).eval()
    tiles = [torch.randn(1, 1, *tile) for _ in range(3)]
    bits = weight_bits or int8_weight_bits() or 7
    return network, tile, tiles, quantization_with(*fit_roundings(network, tiles, careful, bits))


@pytest.mark.parametrize(
    ("name", "dimensions", "careful"),
    [("plain_unet", 3, False), ("residual_unet", 2, True), ("plain_unet_interpolation", 2, False)],
)
def test_answers_stay_near(name: str, dimensions: int, careful: bool, capfd: pytest.CaptureFixture[str]) -> None:
    kind = logging.getLoggerClass()
    network, tile, tiles, quantization = fitted(name, dimensions, careful)
    assert capfd.readouterr() == ("", ""), "NNCF prints nothing"
    assert logging.getLoggerClass() is kind
    weights = [rounding for rounding in quantization.roundings if rounding.shape and rounding.levels == 255]
    assert len(weights) >= 6, "weights are rounded a channel"
    with torch.no_grad():
        exact = network(torch.cat(tiles))[0]
    forward = openvino_forward(network, 1, tile, torch.int8, quantization)
    rounded = forward(torch.cat(tiles)).float()
    off = float((rounded - exact).norm() / exact.norm())
    assert 0.001 < off < 0.3, "rounded, and near"


def test_weights_of_7_bits_fill_half_of_the_range() -> None:
    """So that a pair of products, of at most 255 and 64, does not overflow 16 bits."""
    whole, half = (fitted("plain_unet", 2, weight_bits=bits)[3].roundings for bits in (8, 7))
    assert [rounding.inputs for rounding in whole] == [rounding.inputs for rounding in half]
    for one, other in zip(whole, half, strict=True):
        doubled = bool(one.shape)  # a range a channel: weights
        assert other.high == pytest.approx([high * (2 if doubled else 1) for high in one.high], rel=0.01)


class Attending(nn.Module):
    """A convolution, attention among all pixels, and logits."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        values = self.first(image)
        tokens = values.flatten(2).transpose(1, 2)[:, None]
        mixed = functional.scaled_dot_product_attention(tokens, tokens, tokens)
        return [self.last(mixed[:, 0].transpose(1, 2).reshape(values.shape))]


def test_products_of_two_activations_have_no_weights_of_7_bits() -> None:
    network, tiles = Attending().eval(), [torch.randn(1, 1, 8, 8) for _ in range(3)]
    layers = layers_of(network_graph(network, 1, (8, 8)))
    products = {number for number, layer in enumerate(layers) if layer.get_type_name() == "ScaledDotProductAttention"}
    assert products, "OpenVINO computes it as one layer"
    rounded = [
        {number for rounding in fit_roundings(network, tiles, weight_bits=bits)[1] for number, _ in rounding.inputs}
        for bits in (8, 7)
    ]
    assert products <= rounded[0], "or there would be nothing to leave alone"
    assert not products & rounded[1]


_ELSEWHERE = """
import sys, torch
from tiny_networks import plan_of, some_network
from medseg.inference.backends.openvino_backend import openvino_forward
from medseg.models.quantization import Quantization
torch.manual_seed(0)
plan = plan_of("plain_unet", 2)
network, tile = some_network(plan).eval(), plan.configuration("main").patch_voxels
made = Quantization.model_validate_json(sys.argv[1])
forward = openvino_forward(network, 1, tile, torch.int8, made)
torch.save(forward(torch.randn(2, 1, *tile)).float(), sys.argv[2])
"""


def test_weights_of_7_bits_are_computed_alike_without_vnni(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, tile, _, quantization = fitted("plain_unet", 2, weight_bits=7)
    answers = []
    for limit in ("AVX2", "ALL"):
        text, file = quantization.model_dump_json(), tmp_path / limit
        environment = os.environ | {"ONEDNN_MAX_CPU_ISA": limit, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", _ELSEWHERE, text, file], check=True, env=environment)
        answers.append(torch.load(file, weights_only=True))
    with torch.no_grad():
        torch.manual_seed(0)
        some_network(plan_of("plain_unet", 2))  # which draws its weights before the tiles are drawn
        exact = network(torch.randn(2, 1, *tile))[0]
    off = [float((answer - exact).norm() / exact.norm()) for answer in answers]
    assert off[0] == pytest.approx(off[1], rel=0.1)
    apart = float((answers[0] - answers[1]).norm() / exact.norm())
    assert apart < 0.02, "what is not rounded is computed in fp32 by one, bf16 by the other"


def test_another_patch_has_the_same_ranges() -> None:
    network, tile, _, quantization = fitted("plain_unet", 2)
    larger = [2 * size for size in tile]
    tiles = torch.randn(2, 1, *larger)
    with torch.no_grad():
        exact = network(tiles)[0]
    rounded = openvino_forward(network, 1, larger, torch.int8, quantization)(tiles).float()
    assert float((rounded - exact).norm() / exact.norm()) < 0.3


def test_careful_rounds_less() -> None:
    counts = [len(fitted("plain_unet", 2, careful)[3].roundings) for careful in (False, True)]
    assert counts[1] < counts[0]


def test_ranges_of_another_network_are_refused() -> None:
    _, _, _, quantization = fitted("plain_unet", 2)
    plan = plan_of("residual_unet", 2)
    tile = plan.configuration("main").patch_voxels
    other = some_network(plan).eval()
    with pytest.raises(RuntimeError, match=r"it has other layers here .* than where it was quantized \(OpenVINO 2020"):
        openvino_forward(other, 1, tile, torch.int8, quantization)
    graph = network_graph(other, 1, tile)
    assert graph_hash(graph) != quantization.graph
    odd = [Rounding(inputs=[(10_000, 0)], levels=256, shape=[], low=[0], high=[1])]
    with pytest.raises(RuntimeError, match="rounds a layer that the network does not have"):
        insert_roundings(graph, odd)
    apart = [Rounding(inputs=[(0, 0), (0, 1)], levels=256, shape=[], low=[0], high=[1])]
    with pytest.raises(RuntimeError, match="rounds several values as if they were one"):
        insert_roundings(graph, apart)
    shape = [Rounding(inputs=[(0, 0)], levels=256, shape=[7, 1, 1, 1], low=[0] * 7, high=[1] * 7)]
    with pytest.raises(RuntimeError, match="has ranges of the shape"):
        insert_roundings(graph, shape)
