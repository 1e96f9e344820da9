"""NIfTI files that are damaged, cut short or something else are refused by name."""

import gzip

import numpy as np
import pytest

from medseg.core.errors import DataError
from medseg.io.images import read_image


def damage_checksum(data: bytes) -> bytes:
    return data[:-8] + bytes([data[-8] ^ 0xFF]) + data[-7:]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", r"is empty \(0 bytes\)"),
        (lambda data: data[:40], r"first bytes are those of gzip"),
        (lambda data: data[: len(data) // 2], "is incomplete: its header declares 8 x 8 x 8 voxels of uint8"),
        (lambda data: data[:-4], "its packed content ends early"),
        (damage_checksum, r"its packed content is broken \(.*check"),
    ],
    ids=["empty", "header cut", "data cut", "end cut", "checksum"],
)
def test_damaged_files_are_named(tmp_path, save_nifti, damage, message):
    noise = np.random.default_rng(0).integers(0, 255, (8, 8, 8), dtype=np.uint8)
    path = save_nifti(tmp_path / "a.nii.gz", noise)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=rf"a\.nii\.gz (?s:.*){message}") as caught:
        read_image(path)
    assert "again" in str(caught.value)


def test_header_without_data_is_named(tmp_path, save_nifti):
    path = save_nifti(tmp_path / "a.nii", np.zeros((4, 4, 4), np.int16))
    path.write_bytes(path.read_bytes()[:352])
    with pytest.raises(DataError, match=r"a\.nii is incomplete: .* which is 128 bytes; there are at most 0") as caught:
        read_image(path)
    assert caught.value.kind == "no data"


def test_a_header_that_lies_claims_no_memory(tmp_path, save_nifti):
    path = save_nifti(tmp_path / "a.nii.gz", np.zeros((4, 4, 4), np.int16))
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[40:48] = np.array([3, 32767, 32767, 32767], "<i2").tobytes()  # 70 TB
    path.write_bytes(gzip.compress(bytes(data)))
    with pytest.raises(DataError, match="declares 32767 x 32767 x 32767 voxels of int16"):
        read_image(path)


@pytest.mark.parametrize(
    ("begin", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(600), "PNG"),
        (bytes(128) + b"DICM" + bytes(600), "DICOM"),
        (b"<html>", "a web page"),
    ],
)
def test_another_format_under_this_name_is_named(tmp_path, begin, kind):
    (tmp_path / "a.nii.gz").write_bytes(begin)
    with pytest.raises(DataError, match=rf"first bytes are those of {kind}"):
        read_image(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.nii.gz", "There is no file"),
        ("folder.nii", "is a folder"),
        ("a.xyz", "does not know; it knows .nii.gz, .nii"),
    ],
)
def test_what_is_no_file_of_a_known_format_is_refused(tmp_path, name, message):
    (tmp_path / "folder.nii").mkdir()
    (tmp_path / "a.xyz").write_bytes(b"x")
    with pytest.raises(DataError, match=message):
        read_image(tmp_path / name)


@pytest.mark.real
def test_damaged_headers_never_end_in_another_error(data_dir, tmp_path):
    damaged = sorted((data_dir / "nifti_odd/typed/fuzz_artifacts").iterdir())
    assert len(damaged) == 5
    for path in damaged:
        (tmp_path / "a.nii").write_bytes(path.read_bytes())
        with pytest.raises(DataError, match=r"a\.nii"):
            read_image(tmp_path / "a.nii")
