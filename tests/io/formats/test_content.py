"""Bytes of files: packed or not, complete or not, and never more than they can be."""

from __future__ import annotations

import bz2
import gzip
import os
import zlib

import numpy as np
import pytest

from medseg.core.errors import DataError
from medseg.io.formats import content
from medseg.io.images import read_image, read_label

DATA = bytes(range(250)) * 8


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:])]
)
def test_start_and_body(tmp_path, pack):
    path = tmp_path / "a"
    path.write_bytes(pack(DATA))
    assert content.start(path, 300) == DATA[:300]
    assert content.body(path, 100, 1500, "").tobytes() == DATA[100:1600]
    assert content.body(path, 0, 2000, "").tobytes() == DATA
    with pytest.raises(DataError, match="its header declares 9 things, which is 1901 bytes; there are at most 1900"):
        content.body(path, 100, 1901, "9 things")


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, bz2.compress])
def test_unpack(tmp_path, pack):
    packed = pack(DATA)
    assert content.unpack(packed, 2000, tmp_path / "a", "").tobytes() == DATA
    assert content.unpack(packed + b"more", 1000, tmp_path / "a", "").tobytes() == DATA[:1000]
    with pytest.raises(DataError, match=r"is incomplete") as caught:
        content.unpack(packed, 2001, tmp_path / "a", "9 things")
    assert caught.value.kind == "truncated"
    with pytest.raises(DataError, match=r"ends early|is incomplete|is broken"):
        content.unpack(packed[:-2], 2000, tmp_path / "a", "9 things")
    with pytest.raises(DataError, match=r"ends early|is incomplete|is broken"):
        content.unpack(packed[:11] + bytes([packed[11] ^ 255]) + packed[12:], 2000, tmp_path / "a", "9 things")


def test_a_claim_that_a_file_cannot_hold_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(bytes(100))
    content.check_claim(tmp_path / "a", (1000, 1000), 1)
    with pytest.raises(DataError, match="it declares 2000 x 1000 values, 16000000 bytes, in a file of 100 bytes"):
        content.check_claim(tmp_path / "a", (2000, 1000), 8)


def test_what_comes_after_the_declared_bytes_is_left_packed(tmp_path):
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 24)
    packed = b"".join(packer.compress(zeros) for _ in range(16)) + packer.flush()  # 256 MB in 256 KB
    assert len(content.unpack(packed, 1000, tmp_path / "a", "")) == 1000
    (tmp_path / "a").write_bytes(packed)
    assert len(content.body(tmp_path / "a", 0, 1000, "")) == 1000


def test_a_folder_a_missing_file_and_one_without_permission(tmp_path, save_nifti):
    (tmp_path / "folder.mha").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        read_image(tmp_path / "folder.mha")
    with pytest.raises(DataError, match="There is no file"):
        read_label(tmp_path / "none.nrrd")
    with pytest.raises(DataError, match="cannot be opened"):
        read_image(tmp_path / ("x" * 300 + ".nii"))
    (tmp_path / "loop.tif").symlink_to(tmp_path / "loop.tif")
    with pytest.raises(DataError, match=r"loop\.tif"):
        read_image(tmp_path / "loop.tif")
    path = save_nifti(tmp_path / "a.nii.gz", np.zeros((2, 2, 2), np.uint8))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(DataError, match="cannot be opened: Permission denied"):
        read_image(path)
