"""Every row of the table of networks answers alike where OpenVINO or onnxruntime computes it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from tiny_networks import NAMES, plan_of, row_of, rows, some_network

from medseg.inference.backends.choose import make_members
from medseg.models.model import Model
from medseg.models.onnx_export import TOLERANCE, export_fold
from medseg.models.quantization import Quantization
from medseg.networks.device import int8_weight_bits

EVERY_2D_SLOWLY = pytest.mark.parametrize(("name", "dimensions"), rows(2, slow=True))
OPERATIONS_ELSEWHERE = {
    "basic_unet": "basic_unet_plus_plus",
    "basic_unet_interpolation": "plain_unet_interpolation",
    "dynunet": "plain_unet",
    "erfnet_encoder": "erfnet",
    "highresnet": "cenet",
    "segresnet_transposed": "segresnet",
}
"""Networks of convolutions, norms and sums that another network has, too, which is tried in 8 bits in their place."""
MINUTES_IN_NNCF = {"swin_unetr"}
"""Networks of so many operations that NNCF works on them for minutes."""


@EVERY_2D_SLOWLY
def test_openvino_answers_as_torch(name: str, dimensions: int) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is an option: pip install 'medseg[openvino]'")
    from medseg.inference.backends.openvino_backend import openvino_forward, why_not_here

    plan = plan_of(name, dimensions)
    tile = plan.configuration("main").patch_voxels
    network = some_network(plan).eval()
    if why := why_not_here(network):
        pytest.skip(why)
    forward = openvino_forward(network, 1, tile, torch.float32)
    tiles = torch.randn(2, 1, *tile)
    with torch.no_grad():
        expected = network(tiles)[0]
    # OpenVINO fuses and reorders sums of fp32; a few units in the fourth digit of the largest logit
    assert float((forward(tiles).float() - expected).abs().max() / expected.abs().max()) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in {*OPERATIONS_ELSEWHERE, *MINUTES_IN_NNCF}])
def test_8_bits_stay_near(tmp_path: Path, name: str) -> None:
    if find_spec("nncf") is None:  # `importorskip` would import its telemetry, too
        pytest.skip("NNCF is an option: pip install 'medseg[int8]'")
    if int8_weight_bits() is None:
        pytest.skip("this is no x86 processor")
    from medseg.commands.models.quantize_fold import quantization_of

    plan = plan_of(name, 2)
    tile = plan.configuration("main").patch_voxels
    network = some_network(plan).eval()
    tiles = [torch.randn(1, 1, *tile) for _ in range(2)]
    made = quantization_of(
        Model(plan, "main", ("0",), (network,), tmp_path), tiles, careful=False, weight_bits=int8_weight_bits() or 7
    )
    stored = Quantization.model_validate_json(made.model_dump_json())
    _, (forward,) = make_members([network], plan.inference, (1, *tile), 1, torch.int8, pytest.fail, [stored])
    with torch.no_grad():
        exact = network(torch.cat(tiles))[0]
    off = float((forward(torch.cat(tiles)).float() - exact).norm() / exact.norm())
    assert off < 0.7, "random weights differ by up to 0.45 (V-Net), trained ones by 0.01"


@EVERY_2D_SLOWLY
def test_onnx_answers_as_torch(tmp_path: Path, name: str, dimensions: int) -> None:
    """Written for any number of tiles, and checked against torch with two numbers of them by `export_fold` itself."""
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package, reason="ONNX is an option: pip install 'medseg[onnx]'")
    if row_of(name).no_onnx:
        pytest.skip(row_of(name).no_onnx)
    plan = plan_of(name, dimensions)
    network = some_network(plan).eval()
    exported = export_fold(Model(plan, "main", ("0",), (network,), tmp_path), 0, tmp_path / "model.onnx")
    assert exported.path.stat().st_size == exported.bytes
    assert exported.difference <= TOLERANCE
