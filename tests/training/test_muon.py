"""Muon: what its updates look like, worked out by hand and against singular values."""

import pytest
import torch

from medseg.training.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(16, 432), (128, 3456), (64, 8), (8, 8)], ids=str)
def test_singular_values_come_near_one_and_singular_vectors_stay(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = orthogonal(matrix[None])[0]
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    values = u.T @ found @ v.T  # diagonal, if the vectors are the same
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


def test_first_step_by_hand() -> None:
    """A gradient with one singular value, 5: the update has that direction and the size 0.2 sqrt(2) times about 1."""
    weight = torch.nn.Parameter(torch.tensor([[1.0, 2.0]]))
    weight.grad = torch.tensor([[3.0, 4.0]])
    Muon([weight], lr=0.1, momentum=0.9, weight_decay=0.5).step()
    lost = torch.tensor([[1.0, 2.0]]) * (1 - 0.1 * 0.5) - weight.detach()
    assert lost[0, 1] / lost[0, 0] == pytest.approx(4 / 3, abs=1e-5)
    assert 0.6 < float(lost.norm()) / (0.1 * 0.2 * 2**0.5) < 1.3


def test_no_gradient_moves_nothing_and_zero_gradient_only_decays() -> None:
    still, decayed = (torch.nn.Parameter(torch.ones(2, 3)) for _ in range(2))
    decayed.grad = torch.zeros(2, 3)
    Muon([still, decayed], lr=0.1, momentum=0.9, weight_decay=0.5).step()
    assert torch.equal(still.detach(), torch.ones(2, 3))
    assert torch.allclose(decayed.detach(), torch.full((2, 3), 0.95))


def test_state_goes_on_where_it_was() -> None:
    def run(breaks: bool) -> torch.Tensor:
        weight = torch.nn.Parameter(torch.ones(4, 2, 3, 3))
        optimizer = Muon([weight], lr=0.01, momentum=0.9, weight_decay=0.0)
        for step in range(4):
            if breaks and step == 2:
                state = optimizer.state_dict()
                optimizer = Muon([weight], lr=0.01, momentum=0.9, weight_decay=0.0)
                optimizer.load_state_dict(state)
            weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(step))
            optimizer.step()
        return weight.detach()

    assert torch.equal(run(True), run(False))
