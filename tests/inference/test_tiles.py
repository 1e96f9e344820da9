"""Where tiles lie and what shares they have, by nnU-Net's rules; what networks see of them, and which are uniform."""

from itertools import product

import numpy as np
import pytest
import torch
from builders import INFERENCE, make_configuration
from scipy.ndimage import gaussian_filter

from medseg.inference.tiles import (
    View,
    Views,
    axis_spans,
    axis_starts,
    gaussian_profile,
    grid_of_tiles,
    uniform_intensities,
)
from medseg.plans.sections.inference import Inference


@pytest.mark.parametrize(
    ("size", "tile", "step", "starts"),
    [
        (4, 4, 0.5, [0]),
        (5, 4, 0.5, [0, 1]),  # ceil(1 / 2) + 1 = 2 tiles
        (6, 4, 0.5, [0, 2]),
        (10, 4, 0.5, [0, 2, 4, 6]),
        (11, 4, 0.5, [0, 2, 4, 5, 7]),  # 5 tiles, 1.75 apart: 0, 1.75, 3.5, 5.25, 7; a half goes to the even number
        (10, 5, 0.5, [0, 2, 5]),  # 0, 2.5, 5
        (9, 4, 0.5, [0, 2, 3, 5]),  # 5/3 apart
        (10, 4, 1.0, [0, 3, 6]),
        (110, 64, 0.5, [0, 23, 46]),  # the example in nnU-Net's comment
        (12, 10, 0.25, [0, 2]),
    ],
)
def test_starts_by_hand(size: int, tile: int, step: float, starts: list[int]) -> None:
    assert axis_starts(size, tile, step) == starts


@pytest.mark.parametrize("size", range(8, 40))
@pytest.mark.parametrize("step", [0.25, 0.5, 0.75, 1.0])
def test_tiles_cover_everything_and_stay_inside(size: int, step: float) -> None:
    covered = np.zeros(size, dtype=int)
    starts = axis_starts(size, 8, step)
    assert starts[0] == 0
    assert starts[-1] == size - 8
    for start in starts:
        covered[start : start + 8] += 1
    assert covered.min() >= 1
    assert max(np.diff(starts), default=0) <= 8 * step + 1


@pytest.mark.parametrize("fraction", [0.125, 0.25])
@pytest.mark.parametrize("tile", [(8,), (9,), (40, 56), (12, 56, 40), (7, 5, 16), (1, 8, 8)])
def test_profiles_make_up_the_filtered_impulse(tile: tuple[int, ...], fraction: float) -> None:
    impulse = np.zeros(tile)
    impulse[tuple(size // 2 for size in tile)] = 1
    expected = gaussian_filter(impulse, [size * fraction for size in tile], mode="constant", cval=0)
    assert expected.min() > 0  # so that nnU-Net, too, lifts nothing
    weight = np.ones(())
    for size in tile:
        weight = weight[..., None] * gaussian_profile(size, fraction)
    np.testing.assert_allclose(weight, expected / expected.max(), rtol=1e-9)


@pytest.mark.parametrize("fraction", [0.02, 0.0625, 0.125])
def test_a_weight_never_vanishes(fraction: float) -> None:
    profile = gaussian_profile(192, fraction)
    assert profile.min() ** 3 > np.finfo(np.float32).tiny
    assert profile.max() == profile[96] == 1


@pytest.mark.parametrize(("size", "length"), [(8, 8), (9, 8), (13, 8), (40, 8), (24, 7), (5, 1)])
@pytest.mark.parametrize("step", [0.3, 0.5, 1.0])
def test_shares_are_the_weights_over_their_sum(size: int, length: int, step: float) -> None:
    spans = axis_spans(size, length, step, 0.125)
    weights = np.zeros((len(spans), size))
    for row, span in zip(weights, spans, strict=True):
        assert span.tile == slice(0, length)
        row[span.volume] = gaussian_profile(length, 0.125)
    for row, span in zip(weights / weights.sum(axis=0), spans, strict=True):
        np.testing.assert_allclose(span.share.numpy(), row[span.volume], rtol=1e-6)


def test_a_lone_tile_has_the_whole_share() -> None:
    (span,) = axis_spans(8, 8, 0.5, 0.125)
    assert span.share.tolist() == [1.0] * 8


@pytest.mark.parametrize(("size", "before"), [(7, 0), (6, 1), (5, 1), (1, 3)])
def test_a_small_volume_lies_in_the_middle_of_its_tile(size: int, before: int) -> None:
    (span,) = axis_spans(size, 8, 0.5, 0.125)
    assert span.volume == slice(0, size)
    assert span.tile == slice(before, before + size)
    assert span.share.tolist() == [1.0] * size


def test_tiles_of_a_grid_are_all_combinations_those_of_the_first_planes_first() -> None:
    tiles = list(grid_of_tiles((4, 6, 5), (4, 4, 4), 0.5, 0.125))
    corners = [tuple(part.start for part in tile.volume) for tile in tiles]
    assert corners == list(product([0], [0, 2], [0, 1]))
    assert not any(tile.padded for tile in tiles)
    assert [tile.planes for tile in grid_of_tiles((2, 4, 4), (1, 4, 4), 0.5, 0.125)] == [range(1), range(1, 2)]
    assert all(tile.padded for tile in grid_of_tiles((9, 3, 9), (8, 8, 8), 0.5, 0.125))


# --- views: tiles in all their mirrored copies ---


def views_of(shape: tuple[int, ...], tile: list[int], mirror_axes: list[int], **others: object) -> Views:
    configuration = make_configuration(len(tile), patch_voxels=tile, mirror_axes=mirror_axes)
    return Views.of(shape, configuration, Inference.model_validate({**INFERENCE, "mirror": True, **others}))


def test_flips_are_all_combinations_of_the_mirror_axes() -> None:
    assert views_of((8, 8, 8), [8, 8, 8], [0, 2]).flips == ((), (1,), (3,), (1, 3))
    assert views_of((8, 8, 8), [8, 8], [0, 1]).flips == ((), (2,), (3,), (2, 3))
    assert views_of((8, 8, 8), [8, 8, 8], [0, 1, 2], mirror=False).flips == ((),)


def test_the_copies_of_a_tile_follow_each_other() -> None:
    views = views_of((8, 12, 8), [8, 8, 8], [1])
    assert len(views) == 4
    order = [(view.tile.volume[1].start, view.flip) for view in views.batch(0, 10)]
    assert order == [(0, ()), (0, (2,)), (4, ()), (4, (2,))]
    assert [(view.tile.volume[1].start, view.flip) for view in views.batch(1, 2)] == order[1:3]


def test_cut_views_turned_back_are_the_volume() -> None:
    image = torch.arange(2 * 8 * 12 * 9).reshape(2, 8, 12, 9).float()
    views = views_of(image.shape[1:], [8, 8, 8], [0, 1, 2])
    parts = views.batch(0, len(views))
    for view, cut in zip(parts, views.cut(image, parts), strict=True):
        torch.testing.assert_close(view.unmirror(cut), image[(slice(None), *view.tile.volume)])


def test_outside_of_the_volume_is_zero() -> None:
    image = torch.ones(1, 2, 3, 9)
    views = views_of((2, 3, 9), [4, 8, 8], [1])
    (cut, flipped, *_) = views.cut(image, views.batch(0, 9))
    assert cut.sum() == flipped.sum() == 2 * 3 * 8
    assert cut[0, 1:3, 2:5].min() == 1
    assert flipped[0, 1:3, 3:6].min() == 1


def test_slices_of_a_volume_are_two_dimensional_tiles() -> None:
    image = torch.randn(2, 3, 8, 8)
    views = views_of((3, 8, 8), [8, 8], [0])
    batch = views.cut(image, views.batch(0, 3))
    assert batch.shape == (3, 2, 8, 8)
    torch.testing.assert_close(batch[2], image[:, 1])
    torch.testing.assert_close(batch[1], image[:, 0].flip(1))


@pytest.mark.parametrize(("count", "depth"), [(1, 8), (2, 12), (3, 16), (100, 16)])
def test_depth_is_what_consecutive_views_span(count: int, depth: int) -> None:
    views = views_of((16, 8, 8), [8, 8, 8], [])  # tiles at planes 0, 4 and 8
    assert len(views) == 3
    assert views.depth(count) == depth


def test_uniform_tiles_are_known_by_their_intensity() -> None:
    image = torch.full((2, 8, 8, 16), 0.25)
    image[1] = -1
    image[0, 3, 3, 3] = 0.2504
    first, _, last = views_of((8, 8, 16), [8, 8, 8], []).tiles
    assert uniform_intensities(image, last, 0.0) == (0.25, -1)
    assert uniform_intensities(image, first, 0.0) is None
    assert uniform_intensities(image, first, 1e-3) == (0.25, -1)
    image[0, 0, 0, 0] = 0.5
    assert uniform_intensities(image, first, 1e-3) is None


def test_a_uniform_volume_inside_a_larger_tile_is_not_uniform() -> None:
    (tile,) = views_of((4, 8, 8), [8, 8, 8], []).tiles
    assert uniform_intensities(torch.ones(1, 4, 8, 8), tile, 0.0) is None


def test_only_asked_for_tiles_may_differ() -> None:
    assert views_of((8, 8, 8), [8, 8, 8], []).tolerance == 0
    assert views_of((8, 8, 8), [8, 8, 8], [], skip_empty_tiles=True).tolerance == 1e-3


def test_a_view_that_is_not_mirrored_is_not_copied() -> None:
    (tile,) = views_of((8, 8, 8), [8, 8, 8], []).tiles
    logits = torch.zeros(1, 8, 8, 8)
    assert View(tile, ()).unmirror(logits).data_ptr() == logits.data_ptr()
