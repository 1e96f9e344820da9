"""Topologies small enough to follow with a pencil."""

import pytest

from medseg.planning.topology import build_topology, initial_patch, pad_to_multiple, shrink_patch, trainable_topology


def test_initial_patch_has_the_reference_volume_and_equal_edges_in_mm() -> None:
    assert initial_patch((1.0, 1.0, 1.0), (999.0, 999.0, 999.0)) == (256, 256, 256)
    assert initial_patch((1.0, 1.0), (9999.0, 9999.0)) == (2048, 2048)
    assert initial_patch((8.0, 1.0, 1.0), (999.0, 999.0, 999.0)) == (64, 512, 512)


def test_initial_patch_is_cut_to_the_median_and_keeps_its_halves() -> None:
    assert initial_patch((1.0, 1.0, 1.0), (237.5, 400.0, 20.0)) == (237.5, 256, 20)


def test_initial_patch_has_a_voxel_along_every_axis() -> None:
    assert initial_patch((500.0, 0.01, 0.01), (10.0, 9e9, 9e9))[0] == 1


def test_padding_goes_up_to_the_next_multiple() -> None:
    assert pad_to_multiple((237.5, 48.0, 5.0), (16, 16, 1)) == (240, 48, 5)


def test_isotropic_patch_is_halved_down_to_the_smallest_bottleneck() -> None:
    topology = build_topology((1.0, 1.0), (16, 16))
    assert topology.strides == ((1, 1), (2, 2), (2, 2))  # 16, 8, 4
    assert topology.kernels == ((3, 3), (3, 3), (3, 3))
    assert topology.divisor == (4, 4)
    assert topology.patch_voxels == (16, 16)
    assert topology.n_stages == 3


def test_too_small_a_patch_is_not_halved() -> None:
    topology = build_topology((1.0, 1.0), (7, 7))
    assert topology.strides == ((1, 1),)
    assert topology.kernels == ((3, 3),)
    assert topology.patch_voxels == (7, 7)


@pytest.mark.parametrize(("edge", "n_stages"), [(11, 1), (12, 2), (23, 3)])
def test_an_axis_alone_needs_twelve_voxels(edge: int, n_stages: int) -> None:
    # 12 is halved to 6; 23 to 12 (rounded up) and that once more.
    assert build_topology((1.0, 1.0), (edge, 4)).n_stages == n_stages


def test_odd_sizes_are_halved_upwards_and_the_patch_is_padded() -> None:
    topology = build_topology((1.0, 1.0), (15, 15))  # 15, 8, 4
    assert topology.divisor == (4, 4)
    assert topology.patch_voxels == (16, 16)


def test_a_coarse_axis_waits_until_the_others_are_within_a_factor_of_two() -> None:
    topology = build_topology((4.0, 1.0, 1.0), (32, 64, 64))
    # Spacing along the first axis against the others: 4, 2 (still waits), 1. The sizes end at 8, 4, 4, and an
    # axis alone must have 12 for another halving.
    assert topology.strides == ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2))
    assert topology.kernels == ((1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))
    assert topology.divisor == (4, 16, 16)
    assert "2 of 5 stages" in topology.reasons()["kernels"]
    assert topology.reasons()["strides"].startswith("2, 4, 4 halvings")


def test_bottleneck_kernel_is_three_even_along_a_coarse_axis() -> None:
    assert build_topology((10.0, 1.0, 1.0), (4, 16, 16)).kernels == ((1, 3, 3), (1, 3, 3), (3, 3, 3))


def test_a_short_fine_axis_does_not_hold_back_the_others() -> None:
    # The finest axis is too short to halve, so the other two are compared with each other alone.
    assert build_topology((0.1, 1.0, 1.0), (4, 8, 8)).strides == ((1, 1, 1), (1, 2, 2))


def test_shrinking_does_not_skip_sizes_with_a_smaller_divisor() -> None:
    spacing, median = (1.0, 1.0), (256.0, 300.0)
    topology = build_topology(spacing, (256, 256))
    assert topology.divisor == (64, 64)
    smaller = shrink_patch(topology, spacing, median)
    assert smaller is not None
    assert smaller.patch_voxels == (224, 256)
    assert smaller.divisor == (32, 32)


def test_shrinking_takes_the_last_of_equally_long_axes() -> None:
    topology = build_topology((1.0, 1.0, 1.0), (128, 128, 128))
    smaller = shrink_patch(topology, (1.0, 1.0, 1.0), (182.0, 182.0, 182.0))
    assert smaller is not None
    assert smaller.patch_voxels == (128, 128, 112)


def test_shrinking_ends_at_one_voxel() -> None:
    topology = build_topology((1.0, 1.0), (2, 1))
    last = shrink_patch(topology, (1.0, 1.0), (1.0, 1.0))
    assert last is not None
    assert last.patch_voxels == (1, 1)
    assert shrink_patch(last, (1.0, 1.0), (1.0, 1.0)) is None


@pytest.mark.parametrize(
    ("spacing_mm", "patch", "expected"),
    [
        ((1.0, 1.0), (6, 6), (8, 8)),
        ((1.0, 1.0), (5.5, 3), (8, 8)),
        ((1.0, 1.0), (1, 9), (1, 12)),
        ((1.0, 1.0), (1, 1), (8, 8)),
        ((3.0, 1.0), (6, 6), (6, 12)),
        ((1.0, 1.0, 1.0), (6, 6, 6), (8, 8, 8)),
        ((5.0, 1.0, 1.0), (2, 6, 6), (2, 8, 8)),
        ((1.0, 1.0), (16, 16), (16, 16)),
    ],
)
def test_a_patch_too_small_for_a_halving_is_enlarged_for_one(spacing_mm, patch, expected) -> None:
    topology = trainable_topology(spacing_mm, patch)
    assert topology.patch_voxels == expected
    assert topology.n_stages >= 2
    if build_topology(spacing_mm, patch).n_stages > 1:
        assert topology == build_topology(spacing_mm, patch)
