"""All outputs, a few planes at a time, are what resampling in one piece gives."""

from itertools import product

import numpy as np
import pytest
import torch

from medseg.plans.schema import Resampling
from medseg.preprocessing.dense import dense_blocks
from medseg.preprocessing.interpolate import Resize
from medseg.preprocessing.resample import resample_image
from medseg.preprocessing.windows import windows

SHAPES = [((9, 8, 7), (14, 13, 12)), ((9, 8, 7), (5, 4, 3)), ((70, 3, 2), (90, 2, 3)), ((70, 3, 2), (40, 3, 2))]


@pytest.mark.parametrize("most_values", [1, 100, 1 << 24])
@pytest.mark.parametrize(("order", "across", "axis"), [*product([0, 1, 2, 3], [0, 1], [None, 0, 1, 2])])
@pytest.mark.parametrize(("present", "size"), SHAPES)
def test_blocks_together_are_the_resampled_volume(
    present: tuple[int, int, int],
    size: tuple[int, int, int],
    order: int,
    across: int,
    axis: int | None,
    most_values: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("medseg.preprocessing.dense._MOST_VALUES", most_values)
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(2, *present))).float()
    how = Resampling(order=order, order_across=across, separate_axis=None)
    resize = Resize.of(present, size, how, axis)
    planes: list[int] = []
    blocks = []
    for window in windows(logits.split(4, dim=1), resize):
        for some, block in dense_blocks(window, resize):
            assert block.shape == (2, len(some), *size[1:])
            planes += some
            blocks.append(block)
    assert planes == list(range(size[0]))
    expected = resample_image(logits, size, how, axis)
    np.testing.assert_allclose(torch.cat(blocks, dim=1), expected, atol=2e-6)
