"""Zips of DICOM files: read as the folder that they hold, and refused where they are damaged or dangerous."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from dicom.builders import ramp, write_series

from medseg.core.errors import DataError
from medseg.io.dicom.elements.files import read_member
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.listing.locate import instance_files
from medseg.io.dicom.pixels.volume import read_volume


def packed(folder, target):
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, f"study/{path.relative_to(folder)}")
    return target


def test_a_zip_reads_as_the_folder_does(tmp_path):
    write_series(tmp_path / "in")
    (tmp_path / "in" / "readme.txt").write_text("hello")
    target = packed(tmp_path / "in", tmp_path / "study.zip")
    (series,) = find_series(target).series
    np.testing.assert_array_equal(read_volume(series).image.array[0], ramp())
    assert series.key == find_series(tmp_path / "in").series[0].key
    assert series.attributes["SeriesDescription"] == "thorax"
    assert instance_files(series.path) == [target]


@pytest.mark.parametrize("name", ["../out.dcm", "/etc/out.dcm", "a\\b.dcm"])
def test_a_zip_that_leads_out_of_itself(tmp_path, name):
    target = tmp_path / "bad.zip"
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(DataError, match=r"bad\.zip holds"):
        find_series(target)


def test_a_zip_that_declares_too_much(tmp_path):
    target = tmp_path / "bomb.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(1000))
    data = bytearray(target.read_bytes())
    place = data.rindex(b"PK\x01\x02") + 24
    data[place : place + 4] = (1 << 31).to_bytes(4, "little")
    target.write_bytes(data)
    with pytest.raises(DataError, match="zip bomb"):
        find_series(target)


def test_a_damaged_zip(tmp_path):
    write_series(tmp_path / "in")
    target = packed(tmp_path / "in", tmp_path / "study.zip")
    data = bytearray(target.read_bytes())
    for place in range(200, len(data) - 2000, 97):
        data[place] ^= 0x55
    target.write_bytes(data)
    listing = find_series(target)
    assert len(listing.left_out) >= 1
    with pytest.raises(DataError, match="no longer holds 'absent'"):
        read_member(target, "absent")
