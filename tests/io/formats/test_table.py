"""The table of formats, and a format of one's own in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.io.formats import table
from medseg.io.formats.stack import Stack
from medseg.io.formats.table import Format, answer_suffix, is_image, register, split_suffix
from medseg.io.images import read_image, read_label, read_stack, write_label
from medseg.io.several_files import files_of


@pytest.fixture(autouse=True)
def _table_as_it_was():
    before = dict(table.FORMATS)
    table.FORMATS.pop(".npz", None)  # the tests' own format, which may come with medseg one day
    yield
    table.FORMATS.clear()
    table.FORMATS.update(before)


def read_npz(path: Path) -> Stack:
    with np.load(path) as content:
        return Stack(content["voxels"][np.newaxis, np.newaxis], content["affine"])


def write_npz(path: Path, image: Image, like: Path | None) -> None:
    np.savez(path, voxels=image.array[0], affine=image.affine)


def test_a_format_of_ones_own_is_read_found_and_answered(tmp_path):
    register(Format((".npz",), read_npz))
    voxels, affine = np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.diag([0.5, 0.75, 3, 1])
    np.savez(tmp_path / "a.npz", voxels=voxels, affine=affine)
    image = read_image(tmp_path / "a.npz")
    np.testing.assert_array_equal(image.array[0], voxels)
    assert image.spacing_mm == (3, 0.75, 0.5)
    np.testing.assert_array_equal(read_label(tmp_path / "a.npz").array[0], voxels)
    assert is_image(tmp_path / "a.npz")
    assert split_suffix(tmp_path / "a.npz") == ("a", ".npz")
    assert files_of(tmp_path / "a.npz") == [tmp_path / "a.npz"]
    assert answer_suffix(tmp_path / "a.npz") == ".nii.gz"
    with pytest.raises(DataError, match=r"not written as \.npz"):
        write_label(tmp_path / "b.npz", image)
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and nothing else")
    with pytest.raises(DataError, match=r"broken\.npz cannot be read as \.npz"):
        read_image(tmp_path / "broken.npz")


def test_a_format_that_is_written_answers_in_itself(tmp_path):
    register(Format((".npz",), read_npz, write_npz))
    image = Image(np.arange(24).reshape(1, 2, 3, 4), np.diag([0.5, 0.75, 3, 1]))
    write_label(tmp_path / "a.npz", image)
    np.testing.assert_array_equal(read_label(tmp_path / "a.npz").array, image.array)
    assert answer_suffix(tmp_path / "a.npz") == ".npz"


def test_a_writer_of_ones_own_needs_no_folder_and_leaves_no_half_file(tmp_path):
    def write_half(path: Path, image: Image, like: Path | None) -> None:
        path.write_bytes(b"PK")
        if image.array.any():
            raise OSError("no space")

    register(Format((".half",), read_npz, write_half))
    image = Image(np.zeros((1, 2, 3, 4), np.uint8), np.eye(4))
    write_label(tmp_path / "new" / "a.half", image)
    with pytest.raises(OSError, match="no space"):
        write_label(tmp_path / "new" / "a.half", image.with_array(image.array + 1))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.half"]
    assert (tmp_path / "new" / "a.half").read_bytes() == b"PK"


@pytest.mark.parametrize("there", [False, True])
def test_a_writer_of_header_and_data_leaves_both_under_the_names_that_the_header_says(tmp_path: Path, there: bool):
    def write_pair(path: Path, image: Image, like: Path | None) -> None:
        with open(path, "xb") as header:  # as writers do that replace nothing
            header.write(f"data = {path.stem}.raw".encode())
        path.with_suffix(".raw").write_bytes(image.array.tobytes())
        if image.array.max() > 2:
            raise OSError(28, "No space left on device", *([str(path)] if image.array.max() > 3 else []))

    register(Format((".pair",), read_npz, write_pair))
    image = Image(np.full((1, 1, 1, 2), 1, np.uint8), np.eye(4))
    for value in (1, 2) if there else (2,):
        write_label(tmp_path / "new" / "a.pair", image.with_array(image.array * value))
    for value in (3, 4):
        with pytest.raises(OSError, match="No space left") as raised:
            write_label(tmp_path / "new" / "a.pair", image.with_array(image.array * value))
        assert raised.value.filename == str(tmp_path / "new" / "a.pair")
    contents = {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()}
    assert contents == {"a.pair": b"data = a.raw", "a.raw": b"\2\2"}


def test_reading_moves_what_a_killed_writer_had_yet_to_move(tmp_path: Path):
    def write_pair(path: Path, image: Image, like: Path | None) -> None:
        write_npz(path, image, like)
        path.with_suffix(".raw").write_bytes(b"1")

    register(Format((".npz",), read_npz, write_pair))
    image = Image(np.arange(24).reshape(1, 2, 3, 4), np.eye(4))
    old, killed = tmp_path / "a.npz", tmp_path / ".next.a.npz"
    assert write_label(old, image) == [old, tmp_path / "a.raw"]
    killed.mkdir()
    write_npz(killed / "a.npz", image.with_array(image.array + 1), None)  # its part was moved before the kill
    np.testing.assert_array_equal(read_label(old).array, image.array + 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "a.raw"]


def test_a_writer_through_simpleitk_leaves_a_header_that_leads_to_its_data(tmp_path: Path):
    import SimpleITK

    def write_itk(path: Path, image: Image, like: Path | None) -> None:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(image.array[0]), str(path.with_suffix(".mhd")))
        path.with_suffix(".mhd").rename(path)

    register(Format((".xmhd",), read_npz, write_itk))
    write_label(tmp_path / "a.xmhd", Image(np.ones((1, 2, 3, 4), np.uint8), np.eye(4)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.raw", "a.xmhd"]
    assert "ElementDataFile = a.raw" in (tmp_path / "a.xmhd").read_text()


def test_a_writer_that_writes_another_name_has_failed_and_leaves_nothing(tmp_path: Path):
    register(Format((".other",), read_npz, lambda path, *_: path.with_name("b.other").write_bytes(b"1")))
    with pytest.raises(FileNotFoundError, match=r"a\.other"):
        write_label(tmp_path / "a.other", Image(np.ones((1, 2, 3, 4), np.uint8), np.eye(4)))
    assert not [*tmp_path.iterdir()]


def test_masks_may_be_read_in_another_way(tmp_path):
    register(Format((".two",), lambda path: read_npz(path.with_suffix(".npz")), read_mask=_zeros))
    np.savez(tmp_path / "a.npz", voxels=np.ones((2, 3, 4), np.uint8), affine=np.eye(4))
    (tmp_path / "a.two").write_text("see a.npz")
    assert read_stack(tmp_path / "a.two").array.all()
    assert not read_stack(tmp_path / "a.two", mask=True).array.any()


def _zeros(path: Path) -> Stack:
    return Stack(np.zeros((1, 1, 2, 3, 4), np.uint8), np.eye(4))


@pytest.mark.parametrize(
    ("file_format", "message"),
    [
        (Format(("npz",), read_npz), "does not start with a dot"),
        (Format((".NPZ",), read_npz), "not in lower case"),
        (Format((".npz", ".nii.gz"), read_npz), r"end in \.nii\.gz already have a format"),
        (Format((".npz",), read_npz, answer=".mnc"), r"not written as \.mnc"),
        (Format((".npz",), read_npz, answer=".xyz"), r"not written as \.xyz"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_leave_the_table_as_it_is(file_format, message):
    before = dict(table.FORMATS)
    with pytest.raises(ValueError, match=message):
        register(file_format)
    assert before == table.FORMATS


def test_the_longest_suffix_counts(tmp_path):
    register(Format((".extra.nii.gz",), read_npz))
    assert split_suffix(Path("a.extra.nii.gz")) == ("a", ".extra.nii.gz")
    assert split_suffix(Path("a.EXTRA.nii.gz")) == ("a", ".extra.nii.gz")
    assert split_suffix(Path("a.nii.gz")) == ("a", ".nii.gz")
    assert split_suffix(Path("Case.7.NII.gz")) == ("Case.7", ".nii.gz")
    assert split_suffix(Path("a.b/case.7.gz")) == ("case.7", ".gz")
    assert split_suffix(Path("a.b/case")) == ("case", "")


def test_the_rows_that_come_with_medseg_fit_the_table():
    before = dict(table.FORMATS)
    for row in dict.fromkeys(before.values()):
        table.FORMATS.clear()
        table.FORMATS.update({suffix: file_format for suffix, file_format in before.items() if file_format is not row})
        register(row)
