"""NRRD, MetaImage and GIPL: values and geometry as ITK reads them, and the kinds of header that ITK does not write."""

from __future__ import annotations

import bz2
import gzip
import zlib

import numpy as np
import pytest
import SimpleITK as sitk

from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.io.formats.table import is_image
from medseg.io.images import read_image, read_label, write_label
from medseg.io.several_files import files_of

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
DIRECTION = (0.36, 0.48, -0.8, -0.8, 0.6, 0.0, 0.48, 0.64, 0.6)
VOLUME = np.arange(24, dtype=np.int16).reshape(2, 3, 4)  # z, y, x


def itk_affine(image) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return LPS @ affine


@pytest.mark.parametrize("suffix", ["nrrd", "nhdr", "mha", "mhd", "gipl", "gipl.gz"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_as_itk_writes_it(tmp_path, suffix, packed, dtype):
    if "gipl" in suffix and dtype[1] in "48" and dtype[0] != "f":
        pytest.skip("ITK does not write it")
    path = tmp_path / f"a.{suffix}"
    image = sitk.GetImageFromArray((np.random.default_rng(0).random((4, 3, 2)) * 100).astype(dtype))
    image.SetSpacing((1.5, 2.25, 3.125))
    image.SetOrigin((10, -20, 30.5))
    if "gipl" not in suffix:
        image.SetDirection(DIRECTION)
    sitk.WriteImage(image, str(path), packed)
    theirs, ours = sitk.ReadImage(str(path)), read_image(path)
    expected = sitk.GetArrayFromImage(theirs)
    assert ours.array.dtype == ("f4" if dtype == "f8" else dtype)
    np.testing.assert_array_equal(ours.array[0], expected.astype(ours.array.dtype))
    np.testing.assert_allclose(ours.affine, itk_affine(theirs), atol=1e-9)
    assert ours.array.flags.writeable
    assert ours.array.flags.c_contiguous


@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
@pytest.mark.parametrize(
    ("shape", "vector", "expected"),
    [((3, 4), False, (1, 1, 3, 4)), ((2, 3, 4, 3), True, (3, 2, 3, 4)), ((5, 2, 3, 4), False, (5, 2, 3, 4))],
)
def test_dimensions(tmp_path, suffix, shape, vector, expected):
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=vector), str(tmp_path / f"a.{suffix}"))
    image = read_image(tmp_path / f"a.{suffix}")
    assert image.array.shape == expected
    np.testing.assert_array_equal(image.array, (np.moveaxis(array, -1, 0) if vector else array).reshape(expected))
    if shape[0] == 5:
        np.testing.assert_array_equal(read_image(tmp_path / f"a.{suffix}", frame=4).array[0], array[4])


def nrrd(path, data: bytes, **fields: str) -> None:
    given = {
        "type": "short",
        "dimension": "3",
        "sizes": "4 3 2",
        "endian": "little",
        "encoding": "raw",
        **{name.replace("_", " "): value for name, value in fields.items()},
    }
    path.write_bytes(
        b"NRRD0004\n" + "".join(f"{name}: {value}\n" for name, value in given.items()).encode() + b"\n" + data
    )


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("bzip2", bz2.compress),
        ("text", lambda data: b" ".join(b"%d" % value for value in np.frombuffer(data, "<i2"))),
    ],
)
def test_nrrd_encodings(tmp_path, encoding, pack):
    nrrd(tmp_path / "a.nrrd", pack(VOLUME.tobytes()), encoding=encoding)
    image = read_image(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(image.array[0], VOLUME)
    assert not image.spacing_known


@pytest.mark.parametrize(
    ("space", "flip"),
    [
        ("right-anterior-superior", (1, 1, 1)),
        ("RAS", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
        ("left-posterior-superior", (-1, -1, 1)),
        ("LPS", (-1, -1, 1)),
    ],
)
def test_nrrd_spaces(tmp_path, space, flip):
    nrrd(
        tmp_path / "a.nrrd",
        VOLUME.tobytes(),
        space=space,
        space_directions="(0,2,0) (3,0,0) (0,0.5,4)",
        space_origin="(10,20,30)",
    )
    expected = np.diag([*flip, 1.0]) @ [[0, 3, 0, 10], [2, 0, 0.5, 20], [0, 0, 4, 30], [0, 0, 0, 1]]
    np.testing.assert_array_equal(read_image(tmp_path / "a.nrrd").affine, expected)


@pytest.mark.parametrize(
    ("space", "noted"),
    [("LPS", False), ("right-anterior-superior-time", False), ("scanner-xyz", True), ("left-anterior-posterior", True)],
)
def test_a_nrrd_space_without_left_and_right_is_named(tmp_path, space, noted):
    nrrd(tmp_path / "a.nrrd", VOLUME.tobytes(), space=space, space_directions="(1,0,0) (0,1,0) (0,0,1)")
    image = read_image(tmp_path / "a.nrrd")
    assert [f"a.nrrd has the space {space!r}" in note for note in image.notes] == [True] * noted
    if noted:
        np.testing.assert_array_equal(image.affine, np.diag([-1, -1, 1, 1]))


def test_nrrd_units_and_big_endian(tmp_path):
    nrrd(
        tmp_path / "a.nrrd",
        VOLUME.astype(">i2").tobytes(),
        endian="big",
        space="left-posterior-superior",
        space_directions="(500,0,0) (0,500,0) (0,0,2000)",
        space_units='"um" "um" "um"',
    )
    image = read_image(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(image.array[0], VOLUME)
    assert image.spacing_mm == (2, 0.5, 0.5)


def test_nrrd_layers_and_colours(tmp_path):
    layers = np.stack([VOLUME, -VOLUME], -1)  # the fastest axis
    nrrd(
        tmp_path / "a.seg.nrrd",
        layers.tobytes(),
        dimension="4",
        sizes="2 4 3 2",
        kinds="list domain domain domain",
        space="left-posterior-superior",
        space_directions="none (1,0,0) (0,1,0) (0,0,1)",
    )
    np.testing.assert_array_equal(read_image(tmp_path / "a.seg.nrrd").array, [VOLUME, -VOLUME])
    colours = np.full((2, 3, 4, 4), 255, np.uint8)
    colours[..., 0] = 7
    kinds = "RGBA-color domain domain domain"
    nrrd(tmp_path / "b.nrrd", colours.tobytes(), type="uchar", dimension="4", sizes="4 4 3 2", kinds=kinds)
    assert read_image(tmp_path / "b.nrrd").array[:, 0, 0, 0].tolist() == [7, 255, 255]


def test_a_slice_in_space_gets_a_thickness_along_its_normal(tmp_path):
    nrrd(
        tmp_path / "a.nrrd",
        VOLUME[0].tobytes(),
        dimension="2",
        sizes="4 3",
        space="right-anterior-superior",
        space_directions="(0,0,2) (3,0,0)",
        space_origin="(1,2,3)",
    )
    image = read_image(tmp_path / "a.nrrd")
    assert image.shape_zyx == (1, 3, 4)
    np.testing.assert_array_equal(image.affine, [[0, 3, 0, 1], [0, 0, 1, 2], [2, 0, 0, 3], [0, 0, 0, 1]])


@pytest.mark.parametrize("skip", ["3", "-1"])
def test_detached_data_with_something_before_it(tmp_path, skip):
    (tmp_path / "voxels.raw").write_bytes(b"abc" + VOLUME.tobytes())
    nrrd(tmp_path / "a.nhdr", b"", data_file="voxels.raw", byte_skip=skip)
    np.testing.assert_array_equal(read_image(tmp_path / "a.nhdr").array[0], VOLUME)
    assert [path.name for path in files_of(tmp_path / "a.nhdr")] == ["a.nhdr", "voxels.raw"]
    assert not is_image(tmp_path / "voxels.raw")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "block"}, "has the type 'block'"),
        ({"encoding": "hex"}, "has the encoding 'hex'; expected raw, gzip, bzip2 or text"),
        ({"endian": ""}, "'endian' is ''; expected little or big"),
        ({"sizes": "4 3"}, "its sizes are '4 3' in '3' dimensions"),
        ({"sizes": "4 3 2000000000000"}, "is incomplete: its header declares 4 x 3 x 2000000000000 of int16"),
        ({"data_file": "voxels%03d.raw 1 2 1"}, "has its voxels in several files"),
        ({"data_file": "none.raw"}, "there is no file none.raw with its voxels"),
        ({"kinds": "complex domain domain"}, "holds complex numbers"),
        ({"spacings": "1 1 0"}, "affine without an inverse"),
        ({"spacings": "1 1"}, "'spacings' has 2 values for 3 axes"),
        ({"spacings": "1 x 1"}, "cannot be read as .nrrd: could not convert string to float: 'x'"),
    ],
)
def test_odd_nrrd_headers_are_refused(tmp_path, fields, message):
    nrrd(tmp_path / "a.nrrd", VOLUME.tobytes(), **fields)
    with pytest.raises(DataError, match=message):
        read_image(tmp_path / "a.nrrd")


@pytest.mark.parametrize("keep", [-1, 200, 3])
@pytest.mark.parametrize("packed", [True, False])
def test_truncated_nrrd(tmp_path, keep, packed):
    data = VOLUME.tobytes()
    nrrd(tmp_path / "a.nrrd", gzip.compress(data) if packed else data, encoding="gzip" if packed else "raw")
    whole = (tmp_path / "a.nrrd").read_bytes()
    (tmp_path / "a.nrrd").write_bytes(whole[:keep] if keep < len(whole) else whole[:-3])
    with pytest.raises(DataError, match=r"a\.nrrd"):
        read_image(tmp_path / "a.nrrd")


def meta(path, data: bytes, **fields: str) -> None:
    given = {"ObjectType": "Image", "NDims": "3", "DimSize": "4 3 2", "ElementType": "MET_SHORT", **fields}
    given["ElementDataFile"] = given.pop("ElementDataFile", "LOCAL")
    path.write_bytes("".join(f"{name} = {value}\n" for name, value in given.items()).encode() + data)


@pytest.mark.parametrize("spacing", ["ElementSpacing", "ElementSize"])
@pytest.mark.parametrize("offset", ["Offset", "Position", "Origin"])
def test_metaimage_fields(tmp_path, spacing, offset):
    sheared = {"TransformMatrix": "1 0 0 0 0 1 0 0.6 0.8", offset: "10 20 30", spacing: "2 3 5"}
    meta(tmp_path / "a.mha", VOLUME.astype(">i2").tobytes(), BinaryDataByteOrderMSB="True", **sheared)
    image = read_image(tmp_path / "a.mha")
    np.testing.assert_array_equal(image.array[0], VOLUME)
    np.testing.assert_allclose(image.affine, LPS @ [[2, 0, 0, 10], [0, 0, 3, 20], [0, 3, 4, 30], [0, 0, 0, 1]])


@pytest.mark.parametrize("name", [".\\b.raw", "C:\\scans\\b.raw", "/home/other/b.raw", "b.raw"])
def test_voxels_beside_a_header_of_another_computer(tmp_path, name):
    (tmp_path / "b.raw").write_bytes(VOLUME.tobytes())
    meta(tmp_path / "a.mhd", b"", ElementDataFile=name)
    np.testing.assert_array_equal(read_image(tmp_path / "a.mhd").array[0], VOLUME)
    assert [path.name for path in files_of(tmp_path / "a.mhd")] == ["a.mhd", "b.raw"]
    nrrd(tmp_path / "a.nhdr", b"", **{"data file": name})
    np.testing.assert_array_equal(read_image(tmp_path / "a.nhdr").array[0], VOLUME)


@pytest.mark.parametrize(("unit", "mm"), [("um", 0.001), ("mm", 1), ("cm", 10), ("?", 1)])
def test_metaimage_units(tmp_path, unit, mm):
    meta(tmp_path / "a.mha", VOLUME.tobytes(), ElementSpacing="2 3 5", Offset="1 0 0", DistanceUnits=unit)
    image = read_image(tmp_path / "a.mha")
    np.testing.assert_allclose(image.spacing_mm, np.multiply(mm, (5, 3, 2)))
    write_label(tmp_path / "b.mha", image.with_array(image.array.astype(np.uint8)), tmp_path / "a.mha")
    np.testing.assert_allclose(read_image(tmp_path / "b.mha").affine, image.affine)


def test_a_line_of_metaimage_that_is_not_applied_is_told(tmp_path):
    meta(
        tmp_path / "a.mha", VOLUME.tobytes(), ElementToIntensityFunctionSlope="2", ElementToIntensityFunctionOffset="0"
    )
    image = read_image(tmp_path / "a.mha")
    np.testing.assert_array_equal(image.array[0], VOLUME)
    (note,) = image.notes
    assert note.endswith(
        "a.mha states ElementToIntensityFunctionSlope 2, which is not applied to its numbers, as in ITK"
    )
    meta(tmp_path / "b.mha", VOLUME.tobytes(), ElementToIntensityFunctionSlope="1.0")
    assert not read_image(tmp_path / "b.mha").notes


@pytest.mark.parametrize(
    ("fields", "data"),
    [
        ({"CompressedData": "True"}, zlib.compress(VOLUME.tobytes())),
        ({"BinaryData": "False"}, b" ".join(b"%d" % value for value in VOLUME.ravel())),
        ({"HeaderSize": "5"}, b"12345" + VOLUME.tobytes()),
        ({"HeaderSize": "-1"}, b"1234567" + VOLUME.tobytes()),
    ],
)
def test_metaimage_encodings(tmp_path, fields, data):
    meta(tmp_path / "a.mha", data, **fields)
    image = read_image(tmp_path / "a.mha")
    np.testing.assert_array_equal(image.array[0], VOLUME)
    assert not image.spacing_known
    meta(tmp_path / "b.mhd", b"", ElementDataFile="b.zraw", **fields)
    (tmp_path / "b.zraw").write_bytes(data)
    np.testing.assert_array_equal(read_image(tmp_path / "b.mhd").array[0], VOLUME)
    assert [path.name for path in files_of(tmp_path / "b.mhd")] == ["b.mhd", "b.zraw"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ElementType": "MET_STRING"}, "has the type 'MET_STRING'"),
        ({"DimSize": "4 3"}, "its sizes are '4 3' in '3' dimensions"),
        ({"DimSize": "4 3 99999999999"}, "is incomplete"),
        ({"ElementDataFile": "LIST"}, "has its voxels in several files"),
        ({"ElementDataFile": "none.raw"}, "there is no file none.raw"),
        ({"ElementSpacing": "1 1"}, "ElementSpacing has 2 numbers instead of 3"),
        ({"ElementSpacing": "1 1 0"}, "affine without an inverse"),
        ({"ElementNumberOfChannels": "0"}, "it declares 0 channels"),
    ],
)
def test_odd_metaimage_headers_are_refused(tmp_path, fields, message):
    meta(tmp_path / "a.mha", VOLUME.tobytes(), **fields)
    with pytest.raises(DataError, match=message):
        read_image(tmp_path / "a.mha")


def test_gipl_without_its_mark_is_refused(tmp_path):
    (tmp_path / "a.gipl").write_bytes(bytes(600))
    with pytest.raises(DataError, match="does not have the mark of GIPL"):
        read_image(tmp_path / "a.gipl")


@pytest.mark.parametrize("suffix", ["nrrd", "mha", "gipl.gz"])
def test_itk_reads_what_is_written(tmp_path, suffix):
    labels = np.arange(24).reshape(1, 2, 3, 4)
    affine = (
        np.diag([-0.5, -2, 3, 1])
        if "gipl" in suffix
        else LPS @ [[0, 3, 0, 1], [0, 0, 4, 2], [2, 0, 0, 3], [0, 0, 0, 1]]
    )
    write_label(tmp_path / f"a.{suffix}", Image(labels, np.asarray(affine)))
    image = sitk.ReadImage(str(tmp_path / f"a.{suffix}"))
    assert image.GetPixelIDTypeAsString() == "8-bit unsigned integer"
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), labels[0])
    np.testing.assert_allclose(itk_affine(image), affine, atol=1e-9)
    np.testing.assert_array_equal(read_label(tmp_path / f"a.{suffix}").array, labels)
