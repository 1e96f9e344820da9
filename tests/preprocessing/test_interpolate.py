"""Readings against the matrices that resample images."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from medseg.plans.schema import Resampling
from medseg.preprocessing.interpolate import Reads, Resize, axis_reads, read_along
from medseg.preprocessing.resample import spline_matrix

SIZES = [1, 2, 3, 5, 7, 8, 16, 31, 64, 137]


def matrix(reads: Reads, present: int) -> NDArray[np.float64]:
    result = np.zeros((len(reads), present))
    np.add.at(result, (range(len(reads)), reads.lower), 1 - reads.share.astype(np.float64))
    np.add.at(result, (range(len(reads)), reads.upper), reads.share.astype(np.float64))
    return result


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("present", SIZES)
@pytest.mark.parametrize("size", SIZES)
def test_readings_are_the_rows_of_the_matrix(present: int, size: int, order: int) -> None:
    reads = axis_reads(present, size, order)
    assert (reads.share >= 0).all()
    assert (reads.share < 1).all()
    np.testing.assert_array_equal(reads.upper, reads.lower + (reads.share > 0))
    np.testing.assert_allclose(matrix(reads, present), spline_matrix(present, size, order), atol=1e-6)


def test_readings_by_hand() -> None:
    reads = axis_reads(2, 4, 1)  # the outer two lie beyond the centres of the outer voxels, so the edge repeats
    assert reads.lower.tolist() == [0, 0, 0, 1]
    assert reads.upper.tolist() == [0, 1, 1, 1]
    assert reads.share.tolist() == [0, 0.25, 0.75, 0]
    assert axis_reads(4, 2, 1).share.tolist() == [0.5, 0.5]
    assert axis_reads(9, 3, 1).lower.tolist() == [1, 4, 7]  # centres on centres: nothing to interpolate
    assert not axis_reads(9, 3, 1).interpolates
    assert axis_reads(3, 5, 0).lower.tolist() == [0, 0, 1, 2, 2]


def test_a_part_of_the_readings_counts_from_a_plane() -> None:
    part = axis_reads(10, 20, 1).part(range(8, 12), 3)
    assert part.lower.tolist() == [0, 1, 1, 2]
    assert part.upper.tolist() == [1, 2, 2, 3]


def test_reading_along_an_axis() -> None:
    data = torch.tensor([[0.0, 4.0], [8.0, 0.0]])
    assert read_along(data, 1, axis_reads(2, 4, 1)).tolist() == [[0, 1, 3, 4], [8, 6, 2, 0]]
    assert read_along(data, 0, axis_reads(2, 1, 1)).tolist() == [[4, 2]]
    assert read_along(data, 0, axis_reads(2, 3, 0)).tolist() == [[0, 4], [8, 0], [8, 0]]
    assert data.tolist() == [[0, 4], [8, 0]]


def test_orders_across_slices_and_in_them() -> None:
    how = Resampling(order=3, order_across=0, separate_axis=None)
    apart = Resize.of((2, 3, 4), (4, 5, 6), how, 1)
    assert apart.orders == (3, 0, 3)
    assert (apart.convex, apart.streams) == (False, False)
    assert Resize.of((2, 3, 4), (4, 5, 6), how, 0).streams
    same = Resize.of((2, 3, 4), (2, 3, 4), how, None)  # nothing is resampled, whatever the order
    assert same.convex
    assert not any(same.reads(place).interpolates for place in range(3))
