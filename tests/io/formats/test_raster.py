"""PNG, BMP and JPEG: what is stored is what is read, and masks become one value per pixel."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image as pillow
from PIL import ImageOps

from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.io.images import read_image, read_label, write_label

COLOURS = [[[255, 0, 0], [0, 7, 0], [1, 2, 3]], [[0, 0, 9], [0, 0, 0], [5, 5, 5]]]  # 2 rows of 3 pixels
RED, GREEN, BLACK, WHITE = [255, 0, 0], [0, 255, 0], [0, 0, 0], [255, 255, 255]


def label_image(values: object) -> Image:
    return Image(np.asarray(values)[np.newaxis, np.newaxis], np.eye(4), spacing_known=False)


def save_palette(path, indices, palette):
    picture = pillow.fromarray(np.array(indices, dtype=np.uint8)).convert("P")
    picture.putdata([index for row in indices for index in row])
    picture.putpalette([part for colour in palette for part in colour])
    picture.save(path)
    return path


def test_rows_are_y_and_columns_x(tmp_path, save_picture):
    image = read_image(save_picture(tmp_path / "a.png", [[1, 2, 3], [4, 5, 6]]))
    assert image.array.tolist() == [[[[1, 2, 3], [4, 5, 6]]]]
    assert image.array.dtype == np.uint8
    assert not image.spacing_known
    assert image.voxel_volume_ml is None


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "A.PNG"])
def test_colours_are_three_channels(tmp_path, save_picture, name):
    image = read_image(save_picture(tmp_path / name, COLOURS))
    assert image.array.shape == (3, 1, 2, 3)
    assert image.array[:, 0, 0, 1].tolist() == [0, 7, 0]


def test_16_bit_grey_keeps_its_bits(tmp_path, save_picture):
    image = read_image(save_picture(tmp_path / "a.png", [[0, 1, 258, 65535]], np.uint16))
    assert image.array.ravel().tolist() == [0, 1, 258, 65535]
    assert image.array.dtype == np.uint16


def test_16_bit_colour_is_refused_not_cut(tmp_path):
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    body = zlib.compress(b"\x00" + b"\x12\x34" * 3)
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )
    with pytest.raises(DataError, match="16 bits, of which only 8 could be read"):
        read_image(tmp_path / "a.png")


def test_constant_alpha_is_dropped_and_varying_alpha_refused(tmp_path, save_picture):
    opaque = np.dstack([COLOURS, np.full((2, 3), 255)])
    assert read_image(save_picture(tmp_path / "a.png", opaque)).array.shape == (3, 1, 2, 3)
    opaque[0, 0, 3] = 10
    with pytest.raises(DataError, match=r"b\.png has a transparency that varies \(10 to 255\)"):
        read_image(save_picture(tmp_path / "b.png", opaque))


def test_grey_with_constant_alpha_is_one_channel(tmp_path):
    pillow.merge("LA", [pillow.new("L", (2, 2), 7), pillow.new("L", (2, 2), 255)]).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").array.ravel().tolist() == [7] * 4


def test_palette_image_is_its_colours(tmp_path):
    path = save_palette(tmp_path / "a.png", [[0, 1]], [WHITE, [10, 20, 30]])
    assert read_image(path).array[:, 0, 0].tolist() == [[255, 10], [255, 20], [255, 30]]


def test_grey_palettes_are_one_channel(tmp_path):
    path = save_palette(tmp_path / "a.png", [[0, 1]], [WHITE, [7, 7, 7]])
    assert read_image(path).array.ravel().tolist() == [255, 7]


@pytest.mark.parametrize("values", [[[0, 255], [255, 0]], [[0, 1], [2, 3]]])
def test_gif_masks(tmp_path, save_picture, values):
    label = read_label(save_picture(tmp_path / "a.gif", values))
    assert label.array[0, 0].tolist() == values
    assert not label.spacing_known


def test_a_gif_of_several_frames_is_refused(tmp_path):
    frames = [pillow.new("L", (2, 2), value) for value in (1, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"animated \(2 frames\)"):
        read_label(tmp_path / "a.gif")


def test_a_png_that_lies_about_its_size_claims_no_memory(tmp_path, save_picture):
    path = save_picture(tmp_path / "a.png", [[1, 2]])
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 12000, 12000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    with pytest.raises(DataError, match="it declares 12000 x 12000 values, 144000000 bytes, in a file of"):
        read_image(path)


def test_the_content_of_a_picture_counts_not_its_name(tmp_path, save_picture):
    save_picture(tmp_path / "a.png", [[1, 2]]).rename(tmp_path / "a.jpg")
    assert read_label(tmp_path / "a.jpg").array.ravel().tolist() == [1, 2]
    (tmp_path / "b.png").write_bytes(b"NRRD0004\n")
    with pytest.raises(DataError, match=r"cannot be read as \.png.*(?s:.*)first bytes are those of NRRD"):
        read_image(tmp_path / "b.png")


def test_one_bit_mask_is_0_and_255(tmp_path):
    pillow.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    assert read_label(tmp_path / "a.png").array.ravel().tolist() == [255, 0]


def write_grey_png(path, values, bits):
    """One row of grey pixels of few bits, as the PNG standard stores them."""
    packed = "".join(f"{value:0{bits}b}" for value in values)
    packed += "0" * (-len(packed) % 8)
    row = b"\0" + bytes(int(packed[start : start + 8], 2) for start in range(0, len(packed), 8))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", len(values), 1, bits, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(row)),
        (b"IEND", b""),
    )
    stored = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(stored))
    return path


@pytest.mark.parametrize(("bits", "step"), [(2, 85), (4, 17), (8, 1)])
def test_grey_masks_of_few_bits_have_the_stored_values(tmp_path, bits, step):
    values = [0, 1, 2, 3, 2**bits - 1, 1, 0]
    path = write_grey_png(tmp_path / "a.png", values, bits)
    assert read_label(path).array.ravel().tolist() == values
    assert read_image(path).array.ravel().tolist() == [value * step for value in values]  # as bright as it is shown


def test_cmyk_is_refused(tmp_path):
    pillow.new("CMYK", (2, 2)).save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="colour mode CMYK; expected grey or RGB"):
        read_image(tmp_path / "a.jpg")


def test_an_animation_is_refused(tmp_path):
    frames = [pillow.new("L", (2, 2), value) for value in (1, 2)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"animated \(2 frames\)"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("orientation", [*range(1, 9), 0, 99])
def test_pictures_and_masks_are_read_as_viewers_show_them(tmp_path, orientation, suffix, mode):
    exif = pillow.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    path = tmp_path / f"a{suffix}"
    pillow.fromarray(pixels).convert(mode).save(path, exif=exif)
    with pillow.open(path) as picture:
        shown = np.atleast_3d(np.asarray(ImageOps.exif_transpose(picture)))
    np.testing.assert_array_equal(read_image(path).array[:, 0].transpose(1, 2, 0), shown)
    assert bool(read_image(path).notes) == (2 <= orientation <= 8)
    if mode == "L" and suffix == ".png":
        np.testing.assert_array_equal(read_label(path).array[0, 0], shown[..., 0])


@pytest.mark.parametrize("keep", [0, 20, 60])
def test_damaged_pictures_are_named(tmp_path, save_picture, keep):
    path = save_picture(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (16, 16)))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"a\.png (cannot be read as \.png|is empty)"):
        read_image(path)


@pytest.mark.parametrize(
    ("pixels", "values"),
    [
        ([[0, 255]], [0, 255]),
        ([[0, 3, 200]], [0, 3, 200]),
        ([[BLACK, WHITE]], [0, 255]),
        ([[BLACK, [4, 4, 4], WHITE]], [0, 4, 255]),
        ([[BLACK, RED, RED]], [0, 76, 76]),  # 0.299 * 255
        ([[GREEN, BLACK]], [150, 0]),
        ([[BLACK, [0, 0, 1]]], [0, 1]),
        ([[BLACK, BLACK]], [0, 0]),
    ],
)
def test_masks_become_one_value_per_pixel(tmp_path, save_picture, pixels, values):
    label = read_label(save_picture(tmp_path / "a.png", pixels))
    assert label.array.shape == (1, 1, 1, len(values))
    assert label.array.ravel().tolist() == values


def test_masks_of_several_colours_are_refused(tmp_path, save_picture):
    with pytest.raises(DataError, match=r"mask in 3 colours \(#000000, #00ff00, #ff0000\)"):
        read_label(save_picture(tmp_path / "a.png", [[RED, GREEN, BLACK]]))


@pytest.mark.parametrize(
    ("palette", "values"),
    [
        ([BLACK, RED, GREEN], [0, 1, 2, 1]),  # colours for structures: the indices are the values
        ([WHITE, BLACK, [7, 7, 7]], [255, 0, 7, 0]),  # greys: what is seen is the value, whatever its place
        ([RED, BLACK, BLACK], [76, 0, 0, 0]),  # black is not first, so the indices say nothing
    ],
)
def test_palette_masks(tmp_path, palette, values):
    path = save_palette(tmp_path / "a.png", [[0, 1, 2, 1]], palette)
    assert pillow.open(path).mode == "P"
    assert read_label(path).array.ravel().tolist() == values


def test_jpeg_masks_are_refused(tmp_path, save_picture):
    with pytest.raises(DataError, match="JPEG, which changes values"):
        read_label(save_picture(tmp_path / "a.jpg", [[0, 255]]))


@pytest.mark.parametrize(("values", "name"), [([[0, 255]], "a.png"), ([[0, 256, 65535]], "a.png"), ([[7, 0]], "a.bmp")])
def test_labels_come_back_as_written(tmp_path, values, name):
    write_label(tmp_path / name, label_image(values))
    assert read_label(tmp_path / name).array[0, 0].tolist() == values
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("values", "name", "message"),
    [
        ([[0, 65536]], "a.png", "cannot hold the label values 0 to 65536"),
        ([[-1, 2]], "a.png", "cannot hold the label values -1 to 2"),
        ([[0, 256]], "a.bmp", "cannot hold the label values 0 to 256"),
        ([[0, 1]], "a.jpg", "not written as .jpg"),
        ([[0, 1]], "a.xyz", "does not know"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path, values, name, message):
    with pytest.raises(DataError, match=message):
        write_label(tmp_path / name, label_image(values))
    assert not list(tmp_path.iterdir())


def test_a_volume_is_no_picture(tmp_path):
    with pytest.raises(DataError, match="can hold one slice; the answer has 2"):
        write_label(tmp_path / "a.png", Image(np.zeros((1, 2, 3, 4), np.uint8), np.eye(4)))


@pytest.mark.real
def test_real_pictures(data_dir):
    nuclei = read_image(data_dir / "nuclei/images/003cee89357d.png")  # RGBA, alpha 255 everywhere
    assert nuclei.array.shape[0] == 3
    mask = read_label(next((data_dir / "cardiac2d/masks").iterdir()))  # black and white stored as RGB
    assert (mask.array.shape, np.unique(mask.array).tolist()) == ((1, 1, 256, 256), [0, 255])
