"""The rolling mean against sums over the whole volume."""

import numpy as np
import pytest
import torch

from medseg.inference import rolling_mean
from medseg.inference.rolling_mean import RollingMean
from medseg.inference.tiles import View, grid_of_tiles

CPU = torch.device("cpu")


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_rolling_equals_dense(dtype: torch.dtype, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 25, size=3).tolist())
    tile = tuple(rng.integers(1, 9, size=3).tolist())
    monkeypatch.setattr(rolling_mean, "_BLOCK_BYTES", int(rng.integers(1, 5)) * 2 * shape[1] * shape[2] * 4)
    monkeypatch.setattr(rolling_mean, "_SINGLE_THREAD_VALUES", int(rng.integers(1, 1000)))
    tiles = list(grid_of_tiles(shape, tile, float(rng.choice([0.3, 0.5, 1.0])), 0.125))
    answers = rng.normal(size=(len(tiles), 2, *tile)).astype(np.float32)
    dense = np.zeros((2, *shape))
    mean = RollingMean(2, shape, tile[0], dtype, CPU)
    slabs = []
    for one, answer in zip(tiles, answers, strict=True):
        weight = np.ones(())
        for span in one.spans:
            weight = weight[..., None] * span.share.numpy()
        flip = tuple(axis for axis in (1, 2, 3) if rng.random() < 0.5)
        dense[(slice(None), *one.volume)] += (
            np.flip(answer, flip)[(slice(None), *(span.tile for span in one.spans))] * weight
        )
        slabs += mean.finish(one.planes.start)
        mean.add(View(one, flip), torch.from_numpy(answer) * 4, 0.25)
    slabs += mean.finish(shape[0])
    assert all(slab.dtype == dtype for slab in slabs)
    assert mean.sums.shape[1] <= tile[0]
    tolerance = 1e-5 if dtype == torch.float32 else 1e-2
    np.testing.assert_allclose(torch.cat(slabs, dim=1).float().numpy(), dense, rtol=tolerance, atol=tolerance)


def test_the_mean_of_a_constant_is_that_constant() -> None:
    tiles = list(grid_of_tiles((20, 9, 13), (6, 6, 6), 0.5, 0.125))
    mean = RollingMean(1, (20, 9, 13), 6, torch.float32, CPU)
    slabs = []
    for tile in tiles:
        slabs += mean.finish(tile.planes.start)
        mean.add(View(tile, ()), torch.full((1, 6, 6, 6), 3.0, dtype=torch.bfloat16), 1.0)
    slabs += mean.finish(20)
    torch.testing.assert_close(torch.cat(slabs, dim=1), torch.full((1, 20, 9, 13), 3.0))


def test_slabs_share_no_memory_with_what_is_still_summed_up() -> None:
    first, second = grid_of_tiles((6, 4, 4), (4, 4, 4), 0.5, 0.125)
    mean = RollingMean(1, (6, 4, 4), 4, torch.float32, CPU)
    mean.add(View(first, ()), torch.ones(1, 4, 4, 4), 1.0)
    (slab,) = mean.finish(2)
    mean.add(View(second, ()), torch.full((1, 4, 4, 4), 5.0), 1.0)
    assert slab.unique().tolist() == [1.0]


def test_planes_that_are_gone_or_too_far_ahead_are_refused() -> None:
    first, second, *_, last = grid_of_tiles((20, 4, 4), (4, 4, 4), 0.5, 0.125)
    mean = RollingMean(1, (20, 4, 4), 4, torch.float32, CPU)
    with pytest.raises(ValueError, match="not among the 4 planes from 0 on"):
        mean.add(View(last, ()), torch.ones(1, 4, 4, 4), 1.0)
    mean.add(View(first, ()), torch.ones(1, 4, 4, 4), 1.0)
    list(mean.finish(second.planes.start))
    with pytest.raises(ValueError, match="from 2 on"):
        mean.add(View(first, ()), torch.ones(1, 4, 4, 4), 1.0)
