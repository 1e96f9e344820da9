"""Damaged DICOM ends in voxels or in a message, within seconds and in little memory.

These are few; `python tests/helpers/dicom/damaged.py --count 1000` makes as many as one likes.
"""

from __future__ import annotations

import subprocess
import sys
import zlib

import pytest
from dicom.builders import image_dataset, ramp, save
from paths import HELPERS

from medseg.io.dicom.elements import dataset
from medseg.io.dicom.listing.find import find_series

SCRIPT = HELPERS / "dicom" / "damaged.py"
WRITTEN = ("plain", "implicit", "big", "deflated", "rle", "enhanced", "zip")


def check(count, *kinds):
    command = [sys.executable, "-W", "ignore", SCRIPT, "--inside", "--count", str(count), "--seed", "7", *kinds]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, f"{done.stdout}\nthe last one was {done.stderr.strip()[-200:]}"
    assert done.stdout.count(f": {count} damaged, 0 failures") == len(kinds)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does")
def test_damaged_files_of_each_kind():
    check(50, *WRITTEN)


@pytest.mark.real
@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does")
def test_damaged_files_of_each_codec():
    check(20, "jpeg", "jpegls", "j2k")


def test_a_deflated_file_that_is_a_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "_MAX_INFLATED_BYTES", 1 << 22)
    found = image_dataset(ramp(1)[0])
    found.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    path = save(found, tmp_path / "bomb.dcm")
    data = path.read_bytes()
    end = 144 + int.from_bytes(data[140:144], "little")
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    path.write_bytes(data[:end] + packer.compress(bytes(1 << 24)) + packer.flush())
    (gone,) = find_series(tmp_path).left_out
    assert "bomb" in gone.reason
