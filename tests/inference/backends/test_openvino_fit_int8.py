"""Ranges that NNCF finds are written down, and make the same network again."""

import logging
from collections.abc import Sequence
from importlib.util import find_spec

import pytest
import torch
from tiny_networks import plan_of, some_network

from medseg.models.quantization import Quantization, Rounding
from medseg.networks.device import cpu_has_vnni

if find_spec("nncf") is None:  # `importorskip` would import its telemetry, too
    pytest.skip("NNCF is an option: pip install 'medseg[int8]'", allow_module_level=True)
if not cpu_has_vnni():
    pytest.skip("this processor has neither VNNI nor AMX", allow_module_level=True)
pytest.importorskip("openvino", reason="OpenVINO is an option: pip install 'medseg[openvino]'")
from medseg.inference.backends.openvino_backend import network_graph, openvino_forward
from medseg.inference.backends.openvino_fit_int8 import fit_roundings
from medseg.inference.backends.openvino_int8 import graph_hash, insert_roundings


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
    name: str, dimensions: int, careful: bool = False
) -> tuple[torch.nn.Module, Sequence[int], list[torch.Tensor], Quantization]:
    plan = plan_of(name, dimensions)
    tile = plan.configuration("main").patch_voxels
    network = some_network(plan).eval()
    tiles = [torch.randn(1, 1, *tile) for _ in range(3)]
    return network, tile, tiles, quantization_with(*fit_roundings(network, tiles, careful))


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
