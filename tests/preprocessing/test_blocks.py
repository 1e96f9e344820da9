"""Block by block equals the whole at once."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from builders import make_image, make_plan
from numpy.typing import NDArray

from medseg.plans.schema import Resampling
from medseg.preprocessing import blocks
from medseg.preprocessing.blocks import Box, resample_blocks
from medseg.preprocessing.resample import resample_image
from medseg.preprocessing.volume import prepare

SHAPES = [
    ((9, 8, 7), (14, 13, 12)),
    ((9, 8, 7), (5, 4, 3)),
    ((9, 8, 7), (17, 8, 3)),
    ((13, 11, 12), (6, 23, 12)),
    ((13, 11, 12), (13, 5, 12)),
    ((13, 11, 12), (13, 11, 12)),
    ((1, 9, 8), (1, 13, 5)),
    ((5, 6, 7), (1, 1, 1)),
    ((2, 3, 2), (7, 7, 7)),
    ((30, 3, 3), (12, 3, 3)),
]


def resampled(channel: NDArray, shape: tuple[int, ...], how: Resampling, axis: int | None) -> NDArray[np.float32]:
    out = np.full(shape, np.nan, dtype=np.float32)

    def read(box: Box) -> NDArray[np.float32]:
        return channel[box].astype(np.float32, order="C")

    resample_blocks(read, channel.shape, out, how, axis)
    return out


@pytest.mark.parametrize("block_voxels", [1, 100, 1 << 19])
@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize(("axis", "across"), [(None, 0), (0, 0), (1, 0), (2, 0), (0, 1), (2, 1)])
@pytest.mark.parametrize(("old", "new"), SHAPES)
def test_blocks_equal_the_whole(
    monkeypatch: pytest.MonkeyPatch, old: Any, new: Any, axis: int | None, across: int, order: int, block_voxels: int
) -> None:
    monkeypatch.setattr(blocks, "_BLOCK_VOXELS", block_voxels)
    channel = 100 + 40 * np.random.default_rng(0).normal(size=old).astype(np.float32)
    how = Resampling(order=order, order_across=across, separate_axis=None)
    whole = resample_image(torch.from_numpy(channel)[None], new, how, axis)[0].numpy()
    np.testing.assert_allclose(resampled(channel, new, how, axis), whole, atol=2e-6 * np.ptp(channel))


def test_a_turned_scan_is_read_like_any_other() -> None:
    channel = np.random.default_rng(0).integers(-1000, 1000, size=(7, 9, 8)).astype(np.int16)
    turned = channel.transpose(2, 0, 1)[::-1, :, ::-1]
    how = Resampling(order=3, order_across=0, separate_axis=None)
    np.testing.assert_array_equal(
        resampled(turned, (5, 4, 9), how, None), resampled(np.ascontiguousarray(turned), (5, 4, 9), how, None)
    )


def test_slices_that_no_new_one_is_nearest_to_are_not_read() -> None:
    channel = np.arange(12, dtype=np.float32).reshape(12, 1, 1) * np.ones((12, 4, 4), dtype=np.float32)
    seen: list[int] = []

    def read(box: Box) -> NDArray[np.float32]:
        seen.extend(range(12)[box[0]])
        return channel[box].copy()

    out = np.empty((4, 6, 6), dtype=np.float32)
    resample_blocks(read, channel.shape, out, Resampling(order=3, order_across=0, separate_axis=True), 0)
    assert seen == [1, 4, 7, 10]
    np.testing.assert_allclose(out[:, 0, 0], seen, atol=1e-5)


def test_a_scan_is_never_whole_in_floating_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_BLOCK_VOXELS", 1 << 14)
    rng = np.random.default_rng(0)
    image = make_image(rng.integers(-1000, 2000, size=(60, 160, 160), dtype=np.int16), (1.5, 0.8, 0.8))
    plan = make_plan(configuration={"spacing_mm": [1.5, 1.5, 1.5], "normalization": [{"scheme": "rescale_0_1"}]})
    configuration = plan.configuration("main")
    prepare(image, plan, configuration)  # what is imported and cached on the way is not what is measured
    tracemalloc.start()
    try:
        volume = prepare(image, plan, configuration)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert volume.image.shape == (1, 60, 85, 85)
    as_float = image.array.size * 4
    assert volume.image.nbytes < peak < volume.image.nbytes + as_float / 4
