"""Secondary captures: a grey stack that says where it lies is a volume, a screenshot is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom.builders import OBLIQUE, ramp, write_series

from medseg.io.dicom.elements.options import DicomOptions
from medseg.io.dicom.listing.channel import choose_series
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.pixels.volume import read_volume
from medseg.io.layouts.studies import studies_in

SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
GREY_WORD = f"{SECONDARY}.3"


@pytest.mark.parametrize("sop_class", [SECONDARY, GREY_WORD])
@pytest.mark.parametrize("modality", ["MR", "CT", "OT"])
def test_a_stack_with_geometry_is_a_volume(tmp_path: Path, sop_class: str, modality: str) -> None:
    write_series(tmp_path, orientation=OBLIQUE, SOPClassUID=sop_class, Modality=modality)
    (series,) = find_series(tmp_path).series
    assert not series.problems
    assert np.array_equal(read_volume(series).image.array[0], ramp())


@pytest.mark.parametrize(
    "changes",
    [{"ImagePositionPatient": None}, {"ImageOrientationPatient": None}, {"PixelSpacing": None}, {"SamplesPerPixel": 3}],
    ids=str,
)
def test_what_lacks_a_part_of_it_is_left_out(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_series(tmp_path, SOPClassUID=SECONDARY, **changes)
    listing = find_series(tmp_path)
    assert not listing.series
    assert set(listing.counts()) <= {"secondary capture", "colour image"}


XRAY = {"Modality": "CR", **dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient"))}


@pytest.mark.parametrize("sop_class", [SECONDARY, GREY_WORD])
def test_a_grey_one_of_a_modality_of_radiographs_is_a_radiograph(tmp_path: Path, sop_class: str) -> None:
    write_series(tmp_path, ramp(1), SOPClassUID=sop_class, **XRAY)
    (series,) = find_series(tmp_path).series
    assert not series.problems
    assert np.array_equal(read_volume(series).image.array[0], ramp(1))


def test_a_copy_of_a_radiograph_counts_only_where_there_is_no_other(tmp_path: Path) -> None:
    write_series(tmp_path, ramp(1), SOPClassUID=SECONDARY, series="copy", name="copy{}.dcm".format, **XRAY)
    write_series(tmp_path, ramp(1), SOPClassUID="1.2.840.10008.5.1.4.1.1.1", **XRAY)
    listing = find_series(tmp_path)
    assert len(listing.series) == 2
    chosen = choose_series(listing, "image", None, DicomOptions()).series
    assert chosen.slices[0].sop_class_uid == "1.2.840.10008.5.1.4.1.1.1"
    assert [*studies_in(tmp_path)] == [tmp_path.name]
