"""Instance norm with activation in compiled loops, against torch's functions in float64."""

import os
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch.nn import functional

from medseg.networks import norm_act as module
from medseg.networks import norm_act_numba as loops
from medseg.networks.layout import to_fast_layout
from medseg.networks.norm_act import norm_act

SHAPES = [(2, 5, 8, 6), (1, 3, 4, 4), (2, 4, 6, 4, 8), (3, 1, 4, 4, 4), (1, 2, 3, 3, 3), (2, 3, 1, 1), (1, 600, 2, 3)]
MANY = [(2, 16, 24, 40, 40), (1, 40, 200, 190)]  # several pieces, of several rows each, the last of which are shorter


def plain(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, slope: float) -> torch.Tensor:
    """The definition: also of an image of one voxel, which torch's own function refuses."""
    axes = tuple(range(2, x.ndim))
    shape = (1, -1, *(1 for _ in axes))
    centred = x - x.mean(axes, keepdim=True)
    normalized = centred / (centred.square().mean(axes, keepdim=True) + 1e-5).sqrt()
    return functional.leaky_relu(normalized * weight.view(shape) + bias.view(shape), slope)


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def with_gradients(function, leaves: list[torch.Tensor], above: torch.Tensor, fast_layout: bool) -> list[torch.Tensor]:
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    y = function(to_fast_layout(leaves[0]) if fast_layout else leaves[0] * 1, *leaves[1:])
    (y * above).sum().backward()
    return [y.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("fast_layout", [True, False])
@pytest.mark.parametrize("slope", [0.01, 1.0, 0.3])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients(shape: tuple[int, ...], slope: float, fast_layout: bool) -> None:
    if shape[2:] == (1, 1) and not fast_layout:
        pytest.skip("torch's own function refuses a single voxel")
    torch.manual_seed(0)
    leaves = [torch.randn(shape) * 3 + 10, torch.randn(shape[1]), torch.randn(shape[1])]
    above = torch.randn(shape)
    answer = with_gradients(lambda x, w, b: norm_act(x, w, b, 1e-5, slope), leaves, above, fast_layout)
    exact = [leaf.double() for leaf in leaves]
    truth = with_gradients(lambda x, w, b: plain(x, w, b, slope), exact, above.double(), False)
    for found, wanted in zip(answer, truth, strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", MANY)
def test_many_values_in_pieces_and_by_several_threads(shape: tuple[int, ...], dtype: torch.dtype, threads: int) -> None:
    torch.manual_seed(0)
    leaves = [torch.randn(shape).to(dtype) * 2 - 1, torch.rand(shape[1]) + 0.5, torch.randn(shape[1])]
    above = torch.randn(shape).to(dtype)
    found = with_gradients(lambda x, w, b: norm_act(x, w, b, 1e-5, 0.01), leaves, above, True)
    exact = [leaf.double() for leaf in leaves]
    truth = with_gradients(lambda x, w, b: plain(x, w, b, 0.01), exact, above.double(), False)
    # a rounding of float32 may take a value near zero to the other side of the activation's bend: compare but those
    far = (truth[0].abs() > 1e-4).double()
    rounding = 2**-8 if dtype == torch.bfloat16 else 1e-5  # bf16 has 8 significant bits
    for values, wanted in zip(found[:2], truth[:2], strict=True):
        torch.testing.assert_close(values.double() * far, wanted * far, rtol=rounding, atol=rounding * 0.1 + 1e-5)
    for sums, wanted in zip(found[2:], truth[2:], strict=True):  # sums of 38,000 values and more
        torch.testing.assert_close(sums.double(), wanted, rtol=1e-3, atol=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_number_of_threads_changes_nothing(dtype: torch.dtype) -> None:
    x, above = (torch.randn(MANY[0]).to(dtype) for _ in range(2))
    leaves = [x, torch.randn(16), torch.randn(16)]
    before, results = torch.get_num_threads(), []
    for count in (1, 3):
        torch.set_num_threads(count)
        results.append(with_gradients(lambda x, w, b: norm_act(x, w, b, 1e-5, 0.01), leaves, above, True))
    torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize("offset", [0.0, 1e3, -1e5])
def test_the_variance_of_values_far_from_zero(offset: float) -> None:
    """Squares of the values themselves would leave nothing of the variance in float32."""
    values = (np.random.default_rng(0).normal(size=(50_000, 3)) + offset).astype(np.float32)
    found = np.empty((1, 2, 3))
    loops.moments(values.reshape(1, -1), values.size, found, 0, 1)
    mean, squares = found[0]
    exact = values.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(squares / len(values), exact.var(axis=0), rtol=1e-4 + abs(offset) * 2**-23)


def test_every_bf16_is_read_and_rounded_as_torch_does() -> None:
    """All 65,536 of them, one by one and halfway to the next: ties to even, infinite stays infinite, NaN stays NaN."""
    every = torch.arange(-(1 << 15), 1 << 15).to(torch.int16).view(torch.bfloat16)
    exact = every.float()
    between = (exact.view(torch.int32) | 0x8000).view(torch.float32)

    def normalize(x: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
        y = np.empty((1, len(x)), np.uint16)
        affine = np.stack([scale, shift, shift], dtype=np.float32, casting="same_kind")[:, None]
        loops.normalize(x[None], y, len(x), affine, 1.0, 0, 1)
        return y[0]

    narrow = normalize(every.view(torch.int16).numpy().view(np.uint16), np.ones(1), np.zeros(1))
    read = torch.from_numpy(narrow.view(np.int16)).view(torch.bfloat16)
    torch.testing.assert_close(read, every, rtol=0, atol=0, equal_nan=True)
    # x * scale + shift with a scale of one is any float32: halves of the last place of bf16
    for start in range(0, len(between), 4096):
        shift = between[start : start + 4096].numpy()
        result = normalize(np.zeros(len(shift), np.uint16), np.ones(len(shift)), shift)
        rounded = torch.from_numpy(result.view(np.int16)).view(torch.bfloat16)
        wanted = between[start : start + 4096].bfloat16()
        torch.testing.assert_close(rounded, wanted, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so(value: float) -> None:
    x = torch.randn(1, 4, 8, 8)
    x[0, 2, 3, 3] = value
    leaves = [x, torch.ones(4), torch.zeros(4)]
    with np.errstate(all="raise"):
        found = with_gradients(lambda x, w, b: norm_act(x, w, b, 1e-5, 0.01), leaves, torch.ones(x.shape), True)
    for values in found[:2]:
        assert torch.isnan(values[0, 2]).all()
        assert torch.isfinite(values[0, [0, 1, 3]]).all()


def test_a_constant_channel_gives_its_bias() -> None:
    x = to_fast_layout(torch.full((1, 2, 4, 4), 7.0))
    y = norm_act(x, torch.ones(2), torch.tensor([2.0, -3.0]), 1e-5, 0.1)
    torch.testing.assert_close(y[0, :, 0, 0], torch.tensor([2.0, -0.3]), rtol=0, atol=1e-3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_has_threads_of_its_own() -> None:
    values = np.zeros((8, 1 << 18), np.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        module._Pieces(values, 1).each(lambda begin, end: None)
        child = os.fork()
        if child == 0:
            try:
                module._Pieces(values, 1).each(lambda begin, end: None)
                os._exit(7)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    finally:
        torch.set_num_threads(before)
