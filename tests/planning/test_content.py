"""Figures of a case, on arrays small enough to count by hand."""

import numpy as np
import pytest

from medseg.planning.content import case_content
from medseg.planning.intensity import sample_channel


def look(image, marked):
    image, marked = np.asarray(image), np.asarray(marked, bool)
    values = [channel[marked] for channel in image]
    return case_content(image, marked, values, [sample_channel(one) for one in values if one.size], "RAS")


def test_a_worked_example():
    image = np.zeros((1, 1, 10, 10), np.int16)
    image[0, 0, :, 5:] = np.arange(1, 51).reshape(10, 5)  # half is 0, the other half 1 to 50
    marked = np.zeros((1, 10, 10), bool)
    marked[0, 0, :] = True  # five voxels at 0, and 1 to 5
    content = look(image, marked)
    (channel,) = content.channels
    assert (channel.low, channel.high, channel.mean, channel.constant) == (0, 50, 12.75, False)
    assert channel.quantiles == (0, 0, 0, 25, 45)
    assert channel.spread == 45
    assert (channel.flat, channel.share_high, channel.share_negative) == (0, 0.01, 0)
    assert channel.foreground_rank == pytest.approx(0.505)  # its median, 1, is above 50 voxels and one of 1
    assert (content.foreground_share, content.outside_share) == (0.1, 0.5)
    assert content.border_share == pytest.approx((10 + 0 + 1 + 1) / 40)  # rows 0 and 9, columns 0 and 9


def test_empty_is_where_every_channel_is():
    image = np.zeros((2, 1, 10, 10))
    image[0, 0, :5], image[1, 0, :, :5] = 3 + np.arange(50).reshape(5, 10), 9 + np.arange(50).reshape(10, 5)
    assert look(image, np.ones((1, 10, 10))).outside_share == 0.25


def test_without_foreground_or_content():
    content = look(np.full((1, 2, 3, 4), -5.0), np.zeros((2, 3, 4)))
    assert (content.foreground_share, content.border_share, content.outside_share) == (0, 0, 0)
    assert (content.channels[0].foreground_rank, content.channels[0].constant) == (None, True)
    assert (content.channels[0].share_high, content.channels[0].share_negative) == (1, 1)


def test_where_the_foreground_is_tells_labels_apart():
    image, one, other = np.zeros((1, 2, 3, 4)), np.zeros((2, 3, 4)), np.zeros((2, 3, 4))
    one[0, 1, 1], other[0, 1, 2] = 1, 1
    assert look(image, one).foreground_checksum == look(image, one.copy()).foreground_checksum
    assert look(image, one).foreground_checksum != look(image, other).foreground_checksum


@pytest.mark.parametrize("columns", [64, 63, 100])
def test_large_images_are_thinned_without_running_in_time_with_rows(columns):
    image = np.tile(np.arange(columns, dtype=np.float32), (1, 40, 64, 1))  # a ramp along each row
    (channel,) = look(image, np.zeros((40, 64, columns))).channels
    assert channel.quantiles == pytest.approx([share * columns for share in (0.05, 0.25, 0.5, 0.75, 0.95)], abs=1.5)
