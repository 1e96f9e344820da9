"""TIFF: bits, colours, stacks and spacing as the file says, and pages that may be slices or channels."""

from __future__ import annotations

import json
import struct
from importlib.util import find_spec

import numpy as np
import pytest
import tifffile
from PIL import Image as pillow

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.io.images import read_image, read_label, read_stack, write_label
from medseg.io.load import first_look, load_case_image
from medseg.io.several_files import files_of

PLANE = np.arange(20, dtype=np.uint8).reshape(4, 5) * 12
STACK = np.stack([PLANE, PLANE[::-1], PLANE // 2])


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
@pytest.mark.parametrize("big", [False, True])
def test_grey_keeps_its_bits(tmp_path, dtype, big):
    stored = PLANE.astype(dtype)
    stored[0, 0] = 1 if dtype[0] == "f" else np.iinfo(dtype).max
    tifffile.imwrite(tmp_path / "a.tif", stored, bigtiff=big, photometric="minisblack")
    image = read_image(tmp_path / "a.tif")
    assert image.array.shape == (1, 1, 4, 5)
    assert image.array.dtype == ("f4" if dtype[0] == "f" else dtype)
    np.testing.assert_array_equal(image.array[0, 0], stored)
    assert not image.spacing_known


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("alpha", [False, True])
def test_colours_of_8_and_16_bits(tmp_path, dtype, planar, alpha):
    colours = np.stack([PLANE, PLANE + 1, PLANE + 2]).astype(dtype) * (1 if dtype == np.uint8 else 257)
    stored = np.concatenate([colours, np.full((1, 4, 5), np.iinfo(dtype).max, dtype)]) if alpha else colours
    tifffile.imwrite(
        tmp_path / "a.tif",
        stored if planar == "separate" else np.moveaxis(stored, 0, -1),
        photometric="rgb",
        planarconfig=planar,
        extrasamples=["unassalpha"] if alpha else None,
    )
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").array[:, 0], colours)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "group4", None])
@pytest.mark.parametrize("mode", ["L", "RGB", "1", "I;16", "F", "P"])
def test_compressions(tmp_path, compression, mode):
    if compression == "group4" and mode != "1":
        pytest.skip("holds single bits only")
    picture = pillow.fromarray(PLANE)
    if mode == "I;16":
        picture = pillow.fromarray(PLANE.astype(np.uint16) * 257)
    elif mode == "F":
        picture = pillow.fromarray(PLANE.astype(np.float32) / 7)
    picture = picture if picture.mode in (mode, "I;16", "F") else picture.convert(mode)
    picture.save(tmp_path / "a.tif", compression=compression)
    seen = np.asarray(picture.convert("RGB") if mode == "P" else picture)
    expected = np.atleast_3d(seen * np.uint8(255) if mode == "1" else seen).transpose(2, 0, 1)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").array[:, 0], expected)


@pytest.mark.skipif(find_spec("imagecodecs") is not None, reason="with imagecodecs it can be unpacked")
def test_bits_that_cannot_be_unpacked_are_not_cut(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(tmp_path / "a.tif"))
    writer.UseCompressionOn()
    writer.SetCompressor("LZW")
    writer.Execute(sitk.GetImageFromArray(np.dstack([PLANE] * 3).astype(np.uint16) * 257, isVector=True))
    with pytest.raises(DataError, match=r"\(LZW\) with 16 bits a sample, which cannot be unpacked without loss"):
        read_image(tmp_path / "a.tif")


def test_white_as_zero_is_turned_in_scans_and_kept_in_masks(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PLANE, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").array[0, 0], 255 - PLANE)
    np.testing.assert_array_equal(read_label(tmp_path / "a.tif").array[0, 0], PLANE)


def test_palettes_are_colours_in_scans_and_values_in_masks(tmp_path):
    colours = np.zeros((3, 256), np.uint16)
    colours[:, 1], colours[:, 2] = (65535, 0, 0), (0, 257 * 7, 0)
    tifffile.imwrite(tmp_path / "a.tif", PLANE // 100, photometric="palette", colormap=colours)
    assert read_image(tmp_path / "a.tif").array[:, 0, 3, 4].tolist() == [0, 7, 0]
    np.testing.assert_array_equal(read_label(tmp_path / "a.tif").array[0, 0], PLANE // 100)


def test_one_bit_masks_are_0_and_255_as_in_png(tmp_path):
    pillow.fromarray(PLANE > 100).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_label(tmp_path / "a.tif").array[0, 0], (PLANE > 100) * 255)


def test_jpeg_inside_is_no_mask(tmp_path):
    pillow.fromarray(np.tile(PLANE, (4, 4))).save(tmp_path / "a.tif", compression="jpeg")
    assert read_image(tmp_path / "a.tif").array.shape == (1, 1, 16, 20)
    with pytest.raises(DataError, match="mask packed as JPEG, which changes values"):
        read_label(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("axes", "shape", "expected", "in_time"),
    [
        ("ZYX", (3, 4, 5), (1, 3, 4, 5), False),
        ("CYX", (3, 4, 5), (3, 1, 4, 5), False),
        ("TYX", (3, 4, 5), (3, 1, 4, 5), True),
        ("ZCYX", (2, 3, 4, 5), (3, 2, 4, 5), False),
        ("TZYX", (2, 3, 4, 5), (2, 3, 4, 5), True),
    ],
)
@pytest.mark.parametrize("kind", ["imagej", "ome"])
def test_axes_with_names(tmp_path, axes, shape, expected, in_time, kind):
    stored = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    tifffile.imwrite(tmp_path / "a.tif", stored, metadata={"axes": axes}, **{kind: True})
    image = read_image(tmp_path / "a.tif")
    assert image.array.shape == expected
    assert read_stack(tmp_path / "a.tif").in_time == in_time
    moved = stored.transpose(1, 0, 2, 3) if axes == "ZCYX" else stored
    np.testing.assert_array_equal(image.array, moved.reshape(expected))


def test_time_and_channels_need_a_frame(tmp_path):
    stored = np.arange(2 * 3 * 4 * 5, dtype=np.uint16).reshape(2, 3, 4, 5)
    tifffile.imwrite(tmp_path / "a.tif", stored, imagej=True, metadata={"axes": "TCYX"})
    with pytest.raises(DataError, match="2 volumes of 3 components"):
        read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", frame=1).array[:, 0], stored[1])


def test_pages_without_names_are_slices_or_as_many_channels_as_are_expected(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack", metadata=None)
    tifffile.imwrite(tmp_path / "mask.tif", PLANE)
    case = Case("a", "a", (tmp_path / "a.tif",), tmp_path / "mask.tif")
    assert read_image(tmp_path / "a.tif").array.shape == (1, 3, 4, 5)
    assert load_case_image(case, 1).array.shape == (1, 3, 4, 5)
    np.testing.assert_array_equal(load_case_image(case, 3).array[:, 0], STACK)
    assert first_look(case).array.shape == (3, 1, 4, 5)  # its label has one page
    deep = Case("a", "a", (tmp_path / "a.tif",), tmp_path / "a.tif")
    assert first_look(deep).array.shape == (1, 3, 4, 5)
    with pytest.raises(DataError, match="holds 1 channel; expected 2"):
        load_case_image(case, 2)


def test_images_of_several_sizes_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(PLANE)
        writer.write(PLANE[:2])
    with pytest.raises(DataError, match=r"holds 2 images \(4 x 5, 2 x 5\)"):
        read_image(tmp_path / "a.tif")


# --- spacing ---


@pytest.mark.parametrize(
    ("settings", "spacing"),
    [
        ({}, None),
        ({"resolution": (100, 50), "resolutionunit": "CENTIMETER"}, (1, 0.2, 0.1)),
        ({"resolution": (25400, 12700), "resolutionunit": "INCH"}, (1, 0.002, 0.001)),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),  # what programs write by habit
        ({"resolution": (28.346, 28.346), "resolutionunit": "CENTIMETER"}, None),  # the same in centimetres
        ({"resolution": (7, 7), "resolutionunit": "NONE"}, None),
        ({"imagej": True, "resolution": (4, 2), "metadata": {"unit": "um"}}, (1, 5e-4, 2.5e-4)),
        ({"imagej": True, "resolution": (4, 2), "metadata": {"unit": "\\u00B5m"}}, (1, 5e-4, 2.5e-4)),
        ({"imagej": True, "resolution": (4, 2), "metadata": {"unit": "pixel"}}, None),
        ({"ome": True, "metadata": {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}}, (1, 5e-4, 2.5e-4)),
        (
            {
                "ome": True,
                "metadata": {
                    "PhysicalSizeX": 0.25,
                    "PhysicalSizeXUnit": "mm",
                    "PhysicalSizeY": 0.5,
                    "PhysicalSizeYUnit": "mm",
                },
            },
            (1, 0.5, 0.25),
        ),
    ],
)
def test_spacing_of_a_plane(tmp_path, settings, spacing):
    tifffile.imwrite(tmp_path / "a.tif", PLANE, **settings)
    image = read_image(tmp_path / "a.tif")
    assert image.spacing_known == (spacing is not None)
    assert image.spacing_mm == pytest.approx(spacing or (1, 1, 1), rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "spacing"),
    [
        ({"photometric": "minisblack", "resolution": (100, 50), "resolutionunit": "CENTIMETER"}, None),
        (
            {"imagej": True, "resolution": (4, 2), "metadata": {"axes": "ZYX", "unit": "mm", "spacing": 3}},
            (3, 0.5, 0.25),
        ),
        ({"imagej": True, "resolution": (4, 2), "metadata": {"axes": "ZYX", "unit": "mm"}}, None),
    ],
)
def test_a_stack_needs_the_distance_of_its_slices(tmp_path, settings, spacing):
    tifffile.imwrite(tmp_path / "a.tif", STACK, **settings)
    image = read_image(tmp_path / "a.tif")
    assert image.spacing_known == (spacing is not None)
    assert image.spacing_mm == pytest.approx(spacing or (1, 1, 1), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "beside"), [("case.tif", "case"), ("case_0001.tiff", "case"), ("case.ome.tif", "case")]
)
def test_spacing_from_a_file_beside_it(tmp_path, name, beside):
    tifffile.imwrite(tmp_path / name, STACK, photometric="minisblack", resolution=(5, 5), resolutionunit="CENTIMETER")
    (tmp_path / f"{beside}.json").write_text(json.dumps({"spacing": [3, 2, 1]}))
    image = read_image(tmp_path / name)
    assert image.spacing_known
    np.testing.assert_array_equal(image.affine, np.diag([1, 2, 3, 1]))
    assert files_of(tmp_path / name) == [tmp_path / name, tmp_path / f"{beside}.json"]


@pytest.mark.parametrize("text", ['{"spacing": [1, 0, 2]}', '{"spacing": 3}', '{"spacing": [1, 2, 3, 4]}', "{"])
def test_a_file_beside_it_that_is_not_understood_is_refused(tmp_path, text):
    tifffile.imwrite(tmp_path / "a.tif", PLANE)
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a\.json"):
        read_image(tmp_path / "a.tif")
    (tmp_path / "a.json").write_text('{"shapes": []}')  # about something else, as labelme's
    assert not read_image(tmp_path / "a.tif").spacing_known


@pytest.mark.parametrize("values", [[0, 1], [0, 300], [0, 70000], [-1, 2]])
@pytest.mark.parametrize("slices", [1, 3])
@pytest.mark.parametrize("known", [True, False])
def test_labels_come_back_with_their_spacing(tmp_path, values, slices, known):
    array = np.resize(values, (1, slices, 4, 5))
    affine = np.diag([0.31, 0.62, 2.5, 1]) if known else np.eye(4)
    if slices == 1:
        affine[2, 2] = 1
    write_label(tmp_path / "a.tif", Image(array, affine, known))
    back = read_label(tmp_path / "a.tif")
    np.testing.assert_array_equal(back.array, array)
    assert back.spacing_known == known
    np.testing.assert_allclose(back.affine, affine, rtol=1e-7)


def test_directories_that_overlap_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack", metadata=None)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        first, second = tiff.pages[0], tiff.pages[1]
        following = second.offset + 2 + 12 * len(second.tags)  # the place that says where the third directory is
        inside = first.offset + 12  # reads as a directory of some entries
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[following : following + 4] = inside.to_bytes(4, "little")
    data[inside : inside + 2] = (20).to_bytes(2, "little")
    (tmp_path / "b.tif").write_bytes(data)
    with pytest.raises(DataError, match=r"b\.tif cannot be read"):
        read_image(tmp_path / "b.tif")


def test_pixels_outside_of_the_file_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PLANE)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tiff:
        tiff.pages[0].tags["StripOffsets"].overwrite((tmp_path / "a.tif").stat().st_size - 10)
    with pytest.raises(DataError, match="pixels that it declares lie outside of the file"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", [None, "lzw"])  # LZW is unpacked by pillow, which turns by itself
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pages_are_read_as_viewers_show_them_and_the_spacing_turns_with_them(tmp_path, orientation, compression):
    path = tmp_path / "a.tif"
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7), np.uint8)
    # 10 pixels a centimetre along x (1 mm), 20 along y (0.5 mm)
    settings = {"resolution": (10, 20), "resolutionunit": "CENTIMETER", "metadata": None}
    if compression == "lzw":
        pillow.fromarray(pixels).save(
            path, compression="tiff_lzw", tiffinfo={274: orientation, 282: 10.0, 283: 20.0, 296: 3}
        )
    else:
        tag = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(path, pixels, extratags=tag, compression=compression, **settings)
    turns = {
        1: 0,
        2: 0,
        3: 2,
        4: 2,
        5: -1,
        6: -1,
        7: 1,
        8: 1,
    }  # quarter turns to the left, then mirrored if not 1, 3, 6, 8
    shown = np.rot90(pixels, turns[orientation])
    shown = shown if orientation in (1, 3, 6, 8) else shown[:, ::-1]
    image, mask = read_image(path), read_label(path)
    np.testing.assert_array_equal(image.array[0, 0], shown)
    np.testing.assert_array_equal(mask.array[0, 0], shown)
    assert image.spacing_mm[1:] == ((1.0, 0.5) if orientation >= 5 else (0.5, 1.0))
    assert bool(read_image(path).notes) == (orientation > 1)


def test_what_nnunet_takes_for_the_spacing(tmp_path):
    """Tiff3DIO reads CASE.json, and no tags."""
    settings = {"imagej": True, "resolution": (2, 2), "metadata": {"spacing": 0.5, "unit": "um", "axes": "ZYX"}}
    tifffile.imwrite(tmp_path / "case_0000.tif", np.ones((3, 4, 5), np.uint8), **settings)
    assert read_image(tmp_path / "case_0000.tif").nnunet_spacing == (1, 1, 1)
    (tmp_path / "case.json").write_text('{"spacing": [3, 2, 2]}')
    image = read_image(tmp_path / "case_0000.tif")
    assert (image.spacing_mm, image.nnunet_spacing) == ((3, 2, 2), None)


def write_few_bits(path, array, bits, white_is_zero):
    """A TIFF of one strip, unpacked, with pixels of few bits."""
    rows = ["".join(f"{value:0{bits}b}" for value in row) for row in array.tolist()]
    rows = [row + "0" * (-len(row) % 8) for row in rows]
    pixels = b"".join(int(row, 2).to_bytes(len(row) // 8, "big") for row in rows)
    pixels += b"\0" * (len(pixels) % 2)
    height, width = array.shape
    entries = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 1, bits), (259, 3, 1, 1)]
    entries += [(262, 3, 1, 0 if white_is_zero else 1), (273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, height)]
    entries += [(279, 4, 1, len(pixels))]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + directory + b"\0" * 4)


@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_2_and_4_bits_has_the_stored_values(tmp_path, bits, white_is_zero):
    stored = np.arange(35).reshape(5, 7) % 2**bits
    write_few_bits(tmp_path / "a.tif", stored, bits, white_is_zero)
    np.testing.assert_array_equal(read_label(tmp_path / "a.tif").array[0, 0], stored)
    shown = 2**bits - 1 - stored if white_is_zero else stored
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").array[0, 0], shown)
