"""Arrays in one block are the arrays again."""

import numpy as np
import pytest
import torch

from medseg.training.data.transfer import pack, send, unpack

ARRAYS = [
    np.arange(5),
    np.arange(6, dtype=np.float32).reshape(1, 2, 3) / 7,
    np.empty((0, 3), np.float32),
    np.arange(12, dtype=np.float32).reshape(3, 4).T,
    np.array([2**40]),
]


@pytest.mark.parametrize("count", [0, 1, 5])
def test_what_is_packed_comes_out_again(count: int) -> None:
    arrays = ARRAYS[:count]
    for found in (unpack(pack(arrays, False), arrays), send(arrays, torch.device("cpu"))):
        assert len(found) == count
        for tensor, array in zip(found, arrays, strict=True):
            assert tensor.dtype == torch.from_numpy(array).dtype
            np.testing.assert_array_equal(tensor.numpy(), array)
