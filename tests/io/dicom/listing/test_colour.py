"""Images with three channels: grey where the channels are equal, left out or refused by name where they differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom.builders import ramp, write_series
from numpy.typing import NDArray
from pydicom.uid import RLELossless

from medseg.core.errors import DataError
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.pixels.volume import read_volume

GREY = ramp(3, 4, 6).astype(np.uint8)
"""No value is another's neighbour in all three channels."""
KINDS: dict[str, dict[str, Any]] = {
    "by pixel": {"PlanarConfiguration": 0},
    "by plane": {"PlanarConfiguration": 1},
    "luminance": {"PhotometricInterpretation": "YBR_FULL"},
    "RLE": {"syntax": RLELossless},
    "16 bits": {},
}


def write(folder: Path, array: NDArray, syntax: str | None = None, **changes: Any) -> None:
    """Write a CT series of (slice, row, column, channel)."""
    about: dict[str, Any] = {"PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, **changes}
    if about["PlanarConfiguration"] == 1:
        rows, columns = array.shape[1:3]
        array = np.moveaxis(array, -1, 1).reshape(len(array), rows, columns, 3)
    write_series(folder, array, SamplesPerPixel=3, Rows=array.shape[1], Columns=array.shape[2], syntax=syntax, **about)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_channels_are_read_as_one_and_told(tmp_path: Path, kind: str) -> None:
    grey = GREY.astype(np.uint16) * 100 if kind == "16 bits" else GREY
    channels = [grey] * 3
    if kind == "luminance":
        channels = [grey, np.full_like(grey, 128), np.full_like(grey, 128)]
    write(tmp_path, np.stack(channels, -1), **KINDS[kind])
    (series,) = find_series(tmp_path).series
    assert not series.problems
    assert "three equal channels" in series.notes[0]
    assert np.array_equal(read_volume(series).image.array[0], grey)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_colours_in_a_slice_that_is_looked_at_leave_the_series_out(tmp_path: Path, number: int) -> None:
    array = np.stack([GREY] * 3, -1)
    array[number, 2, 3, 1] += 1
    write(tmp_path, array)
    listing = find_series(tmp_path)
    assert not listing.series
    assert listing.counts() == {"colour image": 3}


def test_colours_in_another_slice_are_refused_by_name(tmp_path: Path) -> None:
    array = np.stack([np.concatenate([GREY, GREY])] * 3, -1)
    array[1, 2, 3, 1] += 1
    write(tmp_path, array)
    (series,) = find_series(tmp_path).series
    with pytest.raises(DataError, match=r"IM0001\.dcm is in colour: its three channels differ"):
        read_volume(series)


def test_a_grey_series_beside_colours_stays(tmp_path: Path) -> None:
    write(tmp_path / "colour", np.stack([GREY, GREY, GREY + 1], -1), series="colour")
    write_series(tmp_path / "grey", ramp())
    listing = find_series(tmp_path)
    assert [series.notes for series in listing.series] == [()]
    assert listing.counts() == {"colour image": 3}


def test_damaged_pixels_are_left_out_as_before(tmp_path: Path) -> None:
    write(tmp_path, np.stack([GREY] * 3, -1))
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-20])
    assert find_series(tmp_path).counts() == {"colour image": 3}
