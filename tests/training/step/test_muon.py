"""Muon: what its updates look like, worked out by hand and against singular values."""

from collections.abc import Callable

import pytest
import torch

from medseg.training.step.muon import Muon, whitening


@pytest.mark.parametrize("shape", [(16, 432), (128, 3456), (64, 8), (8, 8)], ids=str)
def test_singular_values_come_near_one_and_singular_vectors_stay(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    orthogonalized = orthogonal(matrix[None])[0]
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    values = u.T @ orthogonalized @ v.T  # diagonal, if the vectors are the same
    assert torch.allclose(values, values.diagonal().diag(), atol=1e-3)
    square = shape[0] == shape[1]  # its smallest singular value may be too small to be lifted in five iterations
    assert values.diagonal().max() < 1.3
    assert values.diagonal()[: -1 if square else None].min() > 0.6


def test_the_short_way_equals_the_iteration_as_it_is_written() -> None:
    matrix = torch.randn(24, 216, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = matrix / matrix.norm()
    for _ in range(5):
        gram = x @ x.T
        x = (3.4445 * torch.eye(24, dtype=torch.float64) - 4.7750 * gram + 2.0315 * gram @ gram) @ x
    assert torch.allclose(orthogonal(matrix[None])[0], x, atol=1e-10)


def test_a_batch_is_its_matrices_one_by_one() -> None:
    matrices = torch.randn(3, 8, 27, generator=torch.Generator().manual_seed(2))
    one_by_one = torch.cat([orthogonal(matrix[None]) for matrix in matrices])
    assert torch.allclose(orthogonal(matrices), one_by_one, atol=1e-6)


def test_matrices_of_several_sizes_have_the_factors_that_each_has_alone() -> None:
    random = torch.Generator().manual_seed(3)
    batches = [torch.randn(shape, generator=random) for shape in ((2, 8, 27), (1, 30, 8), (3, 5, 5), (1, 8, 9))]
    for together, matrices in zip(whitening(batches), batches, strict=True):
        torch.testing.assert_close(together, whitening([matrices])[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(8, 2, 3, 3), (32, 2, 1, 3)], ids=["wide", "tall"])
def test_the_layout_of_a_weight_changes_no_value(shape: tuple[int, ...]) -> None:
    random = torch.Generator().manual_seed(4)
    value, gradient = torch.randn(shape, generator=random), torch.randn(shape, generator=random)

    def run(memory_format: torch.memory_format) -> torch.Tensor:
        weight = torch.nn.Parameter(value.to(memory_format=memory_format))
        weight.grad = gradient.to(memory_format=memory_format)
        muon([weight], lr=0.1, weight_decay=0.5).step()
        return weight.detach().contiguous()

    torch.testing.assert_close(run(torch.channels_last), run(torch.contiguous_format))


def test_first_step_by_hand() -> None:
    """A gradient with one singular value, 5: the update has that direction and the size 0.2 sqrt(2) times about 1."""
    weight = torch.nn.Parameter(torch.tensor([[1.0, 2.0]]))
    weight.grad = torch.tensor([[3.0, 4.0]])
    muon([weight], lr=0.1, weight_decay=0.5).step()
    lost = torch.tensor([[1.0, 2.0]]) * (1 - 0.1 * 0.5) - weight.detach()
    assert lost[0, 1] / lost[0, 0] == pytest.approx(4 / 3, abs=1e-5)
    assert 0.6 < float(lost.norm()) / (0.1 * 0.2 * 2**0.5) < 1.3


def test_no_gradient_moves_nothing_and_zero_gradient_only_decays() -> None:
    still, decayed = (torch.nn.Parameter(torch.ones(2, 3)) for _ in range(2))
    decayed.grad = torch.zeros(2, 3)
    muon([still, decayed], lr=0.1, weight_decay=0.5).step()
    assert torch.equal(still.detach(), torch.ones(2, 3))
    assert torch.allclose(decayed.detach(), torch.full((2, 3), 0.95))


def test_a_group_without_gradients_is_left_as_it_is() -> None:
    weights, gradients = problem()
    optimizer = both(weights)
    weights[1].grad = gradients[1]  # as where a network has frozen its own kernels
    optimizer.step()
    assert torch.equal(weights[0].detach(), torch.ones(weights[0].shape))
    assert not torch.equal(weights[1].detach(), torch.ones(weights[1].shape))


def test_many_rows_are_made_orthogonal_in_blocks() -> None:
    weight = torch.nn.Parameter(torch.zeros(160, 400))  # three equal blocks are too few: four of 40
    weight.grad = torch.randn(160, 400, generator=torch.Generator().manual_seed(0))
    muon([weight], lr=1.0, weight_decay=0.0).step()
    expected = orthogonal(weight.grad.view(4, 40, 400)).view(160, 400)
    assert torch.allclose(-weight.detach(), 0.2 * 20 * expected, atol=1e-4)


def test_the_others_step_as_adamw_does() -> None:
    def run(make: Callable[[torch.nn.Parameter], torch.optim.Optimizer]) -> torch.Tensor:
        bias = torch.nn.Parameter(torch.ones(5))
        optimizer = make(bias)
        for step in range(3):
            bias.grad = torch.randn(5, generator=torch.Generator().manual_seed(step))
            optimizer.step()
        return bias.detach()

    ours = run(lambda bias: Muon([{"params": [bias], "orthogonal": False}], 0.01, 0.9, 0.1))
    torch.testing.assert_close(ours, run(lambda bias: torch.optim.AdamW([bias], lr=0.01, weight_decay=0.1, fused=True)))


def test_a_gradient_that_is_no_number_changes_nothing() -> None:
    weights, gradients = problem()
    optimizer = both(weights)
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient
    optimizer.found_inf = torch.tensor(0.0)
    optimizer.step()
    before = [weight.detach().clone() for weight in weights]
    means = [value.clone() for weight in weights for value in optimizer.state[weight].values()]
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient * torch.nan
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.step()
    assert all(torch.equal(weight, old) for weight, old in zip(weights, before, strict=True))
    kept = [value for weight in weights for value in optimizer.state[weight].values()]
    assert all(torch.allclose(value, old) for value, old in zip(kept, means, strict=True))


def test_a_device_that_is_not_asked_leaves_weight_and_mean_as_they_are() -> None:
    """As on a GPU, where whether a step is to be skipped stays a tensor."""

    def run(skips: list[float | None]) -> torch.Tensor:
        weight = torch.nn.Parameter(torch.eye(3, 4))
        optimizer = muon([weight], lr=0.1, weight_decay=0.5)
        for step, skip in enumerate(skips):
            # with three directions: what rounding leaves of a missing one would be lifted, too
            gradient = torch.arange(12.0).view(3, 4) + 10 * torch.eye(3, 4)
            weight.grad = gradient * (step + 1) * (torch.nan if skip else 1)
            with torch.no_grad():
                optimizer._step_orthogonal(
                    [weight], optimizer.param_groups[0], None if skip is None else torch.tensor(skip)
                )
        return weight.detach()

    assert torch.allclose(run([0.0, 1.0]), run([None]), atol=1e-7)
    assert torch.allclose(run([0.0, 0.0]), run([None, None]), atol=1e-7)
    assert not torch.allclose(run([None, None]), run([None]), atol=1e-3)


def test_state_goes_on_where_it_was() -> None:
    def run(breaks: bool) -> list[torch.Tensor]:
        weights, gradients = problem()
        optimizer = both(weights)
        for step in range(4):
            if breaks and step == 2:
                state = optimizer.state_dict()
                optimizer = both(weights)
                optimizer.load_state_dict(state)
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient * (step - 1.5)
            optimizer.step()
        return [weight.detach() for weight in weights]

    assert all(torch.equal(one, other) for one, other in zip(run(True), run(False), strict=True))


def test_a_state_read_into_the_hosts_memory_goes_back_to_the_weights_device() -> None:
    """As from a checkpoint; `meta` stands for a GPU."""
    weights = [torch.nn.Parameter(torch.empty(shape, device="meta")) for shape in ((4, 2, 3, 3), (4,))]
    optimizer = both(weights)
    originals, gradients = problem()
    for weight, gradient in zip(originals, gradients, strict=True):
        weight.grad = gradient
    here = both(originals)
    here.step()
    optimizer.load_state_dict(here.state_dict())
    kept = [value for weight in weights for value in optimizer.state[weight].values()]
    assert len(kept) == 4
    assert {value.device.type for value in kept} == {"meta"}


def test_the_scaler_of_fp16_skips_a_step_that_overflowed() -> None:
    weights, gradients = problem()
    optimizer, scaler = both(weights), torch.amp.GradScaler("cpu", init_scale=8.0)
    for overflows in (False, True):
        before = [weight.detach().clone() for weight in weights]
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient * (torch.inf if overflows else 8.0)
        scaler.scale(torch.zeros(()))
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        assert all(torch.equal(new, old) == overflows for new, old in zip(weights, before, strict=True))
    assert scaler.get_scale() == 4.0


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Return a batch of matrices (batch, rows, columns) with the factors that make each of them orthogonal."""
    (factors,) = whitening([matrices])
    return factors @ matrices if matrices.shape[1] <= matrices.shape[2] else matrices @ factors


def muon(weights: list[torch.nn.Parameter], lr: float, weight_decay: float) -> Muon:
    return Muon([{"params": weights, "orthogonal": True}], lr=lr, momentum=0.9, weight_decay=weight_decay)


def problem() -> tuple[list[torch.nn.Parameter], list[torch.Tensor]]:
    """A kernel and a bias, and their gradients."""
    random = torch.Generator().manual_seed(0)
    shapes = [(4, 2, 3, 3), (4,)]
    weights = [torch.nn.Parameter(torch.ones(shape)) for shape in shapes]
    return weights, [torch.randn(shape, generator=random) for shape in shapes]


def both(weights: list[torch.nn.Parameter]) -> Muon:
    kernel, bias = weights
    groups = [{"params": [kernel], "orthogonal": True}, {"params": [bias], "orthogonal": False}]
    return Muon(groups, lr=0.01, momentum=0.9, weight_decay=0.1)


@pytest.mark.parametrize(("shape", "block"), [((128, 1, 3, 3, 3), 64), ((67, 8, 3, 3, 3), 67), ((96, 1, 1, 3, 3), 48)])
def test_blocks_of_kernels_with_few_inputs_and_odd_numbers_of_outputs(shape: tuple[int, ...], block: int) -> None:
    weight = torch.nn.Parameter(torch.zeros(shape))
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    weight.grad = gradient.clone()
    Muon([{"params": [weight], "orthogonal": True}], lr=1.0, momentum=0.0, weight_decay=0.0).step()
    matrix = gradient.flatten(1)
    blocks = torch.cat([orthogonal(part[None])[0] for part in matrix.split(block)])
    torch.testing.assert_close(
        weight.detach().flatten(1), -0.2 * max(matrix.shape) ** 0.5 * blocks, rtol=1e-4, atol=1e-5
    )
