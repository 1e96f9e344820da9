"""Distances of surfaces: worked examples as DeepMind's surface-distance has them, and MONAI's values."""

import numpy as np
import pytest
from scipy import ndimage

from medseg.evaluation.surface import surface_distances


def voxels(shape, *places):
    mask = np.zeros(shape, bool)
    for index in places:
        mask[index] = True
    return mask


def directed_mean(side):
    return float(side.distance_mm @ side.area / side.area.sum())


def test_two_pixels_2_mm_apart():
    # the corners of one voxel are 2 mm (the far ones) or 1 mm (the near ones) from those of the other
    one, other = voxels((128, 128, 128), (50, 60, 70)), voxels((128, 128, 128), (50, 60, 72))
    distances = surface_distances(one, other, (3, 2, 1))
    assert distances.reference.distance_mm.tolist() == [1] * 4 + [2] * 4
    assert (directed_mean(distances.reference), directed_mean(distances.prediction)) == (1.5, 1.5)
    assert (distances.hausdorff_mm(), distances.hausdorff_mm(95), distances.average_mm) == (2, 2, 1.5)
    assert distances.within(1) == 0.5
    assert distances.within(0.99) == 0


def test_a_block_that_is_one_slice_thicker():
    one, other = np.zeros((2, 100, 100, 100), bool)
    one[:50] = True
    other[:51] = True
    distances = surface_distances(one, other, (2, 1, 1))
    # DeepMind's figures to three digits
    assert directed_mean(distances.reference) == pytest.approx(0.322, abs=5e-4)
    assert directed_mean(distances.prediction) == pytest.approx(0.339, abs=5e-4)
    assert (distances.hausdorff_mm(), distances.hausdorff_mm(95)) == (2, 2)
    assert distances.within(1) == pytest.approx(0.836, abs=5e-4)


def test_two_squares_shifted_by_one():
    # 2 x 2 pixels of 1 x 3 mm, one to the right. On each contour 9 corners less the one in the middle: 4 cut corners
    # of half a diagonal, 2 sides of 1 and 2 of 3 mm. 3 mm away lie the 3 on the far side, nothing else: the middle
    # one of the near side of the other lies inside, 1 mm from the contour.
    one, other = np.zeros((2, 5, 5), bool)
    one[1:3, 1:3] = True
    other[1:3, 2:4] = True
    distances = surface_distances(one, other, (1, 3))
    corner = np.sqrt(10) / 2
    assert distances.reference.distance_mm.tolist() == [0] * 4 + [1] + [3] * 3
    whole, far = 4 * corner + 2 * 1 + 2 * 3, 2 * corner + 1
    assert distances.reference.area.sum() == pytest.approx(whole)
    assert distances.average_mm == pytest.approx((1 * 1 + 3 * far) / whole)
    assert distances.within(0.5) == pytest.approx((2 * corner + 6) / whole)
    assert distances.within(1) == pytest.approx((2 * corner + 7) / whole)
    assert (distances.hausdorff_mm(), distances.hausdorff_mm(70), distances.hausdorff_mm(60)) == (3, 1, 0)  # 64 %, 71 %


def test_the_larger_direction_counts():
    one = voxels((9, 9), (2, 2))
    both = voxels((9, 9), (2, 2), (7, 2))
    for first, second in ((one, both), (both, one)):
        distances = surface_distances(first, second, (1, 1))
        assert sorted((distances.reference.percentile(100), distances.prediction.percentile(100))) == [0, 5]
        assert distances.hausdorff_mm() == 5


def test_one_side_empty():
    mask, nothing = voxels((4, 4, 4), (1, 2, 1)), np.zeros((4, 4, 4), bool)
    for distances in (surface_distances(mask, nothing, (1, 1, 1)), surface_distances(nothing, mask, (1, 1, 1))):
        assert distances.empty
        assert (distances.hausdorff_mm(), distances.hausdorff_mm(95), distances.average_mm) == (None, None, None)
        assert distances.within(100) == 0
    assert np.isinf(surface_distances(mask, nothing, (1, 1, 1)).reference.distance_mm).all()


@pytest.mark.parametrize("shape", [(3, 3, 3), (0, 0, 0), (2, 2), (1, 1, 1)])
def test_both_sides_empty(shape):
    distances = surface_distances(np.zeros(shape, bool), np.zeros(shape, bool), (1,) * len(shape))
    assert (distances.hausdorff_mm(), distances.average_mm, distances.within(1)) == (None, None, None)


def test_equal_masks_are_0_apart():
    mask = np.random.default_rng(0).random((6, 7, 8)) > 0.5
    distances = surface_distances(mask, mask, (3, 1, 0.5))
    assert (distances.hausdorff_mm(), distances.average_mm, distances.within(0)) == (0, 0, 1)


def test_a_slice_is_measured_in_2d_whatever_its_thickness():
    rng = np.random.default_rng(1)
    one, other = rng.random((2, 9, 9)) > 0.6
    flat = surface_distances(one, other, (2, 3))
    for axis, spacing in ((0, (999, 2, 3)), (1, (2, 999, 3)), (2, (2, 3, 999))):
        distances = surface_distances(np.expand_dims(one, axis), np.expand_dims(other, axis), spacing)
        assert distances.average_mm == flat.average_mm
        assert distances.hausdorff_mm(95) == flat.hausdorff_mm(95)


def test_a_structure_at_the_edge_of_the_image_has_a_surface_there():
    one, other = np.zeros((2, 4, 4), bool)
    one[:2], other[:3] = True, True
    apart = surface_distances(one, other, (1, 1))
    padded = surface_distances(np.pad(one, 2), np.pad(other, 2), (1, 1))
    assert apart.average_mm == padded.average_mm
    assert apart.hausdorff_mm() == padded.hausdorff_mm() == 1


def test_a_distance_that_equals_the_tolerance_is_within():
    one, other = voxels((9, 9), (4, 1)), voxels((9, 9), (4, 4))  # 3 pixels apart; 3 * 0.8 is 2.4000000000000004
    assert surface_distances(one, other, (0.8, 0.8)).within(2.4) == 1


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"\(3, 3\), the prediction \(3, 4\)"):
        surface_distances(np.zeros((3, 3), bool), np.zeros((3, 4), bool), (1, 1))
    with pytest.raises(ValueError, match="there are 2 spacings"):
        surface_distances(np.zeros((3, 3, 3), bool), np.zeros((3, 3, 3), bool), (1, 1))


def random_pair(seed):
    """Two masks of smooth blobs or of noise in 2D or 3D, anisotropic."""
    rng = np.random.default_rng(seed)
    dimensions = 2 + seed % 2
    shape = rng.integers(4, 18, dimensions)
    spacing = tuple(rng.uniform(0.4, 3.0, dimensions).tolist())
    masks = []
    for _ in range(2):
        field = ndimage.gaussian_filter(rng.normal(size=shape), 1.0 if seed % 4 < 2 else 0.0)
        masks.append(field > np.quantile(field, rng.uniform(0.3, 0.9)))
    return masks[0], masks[1], spacing


def naive_distances(one, other, spacing):
    """From every corner point on one surface to the nearest on the other, by comparing all with all."""
    points = []
    for mask in (one, other):
        count = sum(
            np.pad(mask.astype(int), [(shift, 1 - shift) for shift in shifts])
            for shifts in np.ndindex(*(2,) * mask.ndim)
        )
        points.append(np.argwhere((count > 0) & (count < 2**mask.ndim)) * spacing)
    apart = np.linalg.norm(points[0][:, None] - points[1][None], axis=2)
    return np.sort(apart.min(1)), np.sort(apart.min(0))


@pytest.mark.parametrize("seed", range(12))
def test_distances_agree_with_comparing_all_points(seed):
    one, other, spacing = random_pair(seed)
    distances = surface_distances(one, other, spacing)
    first, second = naive_distances(one, other, np.array(spacing))
    np.testing.assert_allclose(distances.reference.distance_mm, first, atol=1e-12)
    np.testing.assert_allclose(distances.prediction.distance_mm, second, atol=1e-12)


@pytest.mark.slow
def test_monai_agrees_where_the_definitions_do():
    """50 random anisotropic pairs; MONAI's place of a percentile is in single precision, which moves HD95 a little."""
    metrics = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    for seed in range(50):
        one, other, spacing = random_pair(seed)
        sides = [torch.from_numpy(mask)[None, None] for mask in (other, one)]
        rules = {"include_background": True, "spacing": spacing}
        elements = surface_distances(one, other, spacing)
        surface = surface_distances(one, other, spacing, "voxels")
        theirs = [
            metrics.compute_surface_dice(*sides, [1.1], use_subvoxels=True, **rules),
            metrics.compute_surface_dice(*sides, [1.1], **rules),
            metrics.compute_hausdorff_distance(*sides, **rules),
            metrics.compute_hausdorff_distance(*sides, percentile=95, **rules),
            metrics.compute_average_surface_distance(*sides, symmetric=True, **rules),
        ]
        mine = [
            elements.within(1.1),
            surface.within(1.1),
            surface.hausdorff_mm(),
            surface.hausdorff_mm(95),
            surface.average_mm,
        ]
        difference = np.abs(np.array(mine) - [float(value) for value in theirs])
        assert (difference < [1e-6, 1e-6, 1e-6, 1e-5, 1e-6]).all()


def test_voxels_as_a_surface():
    # 3 x 3 pixels against the one in the middle: 4 neighbours 1 away, 4 corners sqrt(2) away
    block, middle = np.ones((3, 3), bool), voxels((3, 3), (1, 1))
    distances = surface_distances(block, middle, (1, 1), "voxels")
    assert distances.reference.distance_mm == pytest.approx([1] * 4 + [np.sqrt(2)] * 4)
    assert distances.prediction.distance_mm.tolist() == [1]
    assert distances.average_mm == pytest.approx((4 + 4 * np.sqrt(2) + 1) / 9)
    assert distances.within(1) == 5 / 9
    assert distances.reference.percentile(50) == pytest.approx((1 + np.sqrt(2)) / 2)
