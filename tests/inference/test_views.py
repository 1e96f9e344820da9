"""What networks are shown: tiles in all their mirrored copies, in order, and which of them are uniform."""

import pytest
import torch
from builders import INFERENCE, make_configuration

from medseg.inference.tiles import View, Views, uniform_intensities
from medseg.plans.sections import Inference


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
