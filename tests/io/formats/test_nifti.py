"""NIfTI in and out: values, axes and geometry exactly as stored, and every damage named."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from builders import OBLIQUE

from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.io.formats.table import is_image
from medseg.io.images import header_notes, read_image, read_label, write_label
from medseg.io.several_files import files_of


def test_axes_and_affine_are_as_stored(tmp_path):
    stored = np.arange(24, dtype=np.int16).reshape(2, 3, 4)  # x, y, z
    nib.save(nib.Nifti1Image(stored, OBLIQUE), tmp_path / "a.nii.gz")
    image = read_image(tmp_path / "a.nii.gz")
    assert image.array.shape == (1, 4, 3, 2)
    assert image.array[0, 3, 1, 0] == stored[0, 1, 3]
    np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-6)
    np.testing.assert_allclose(image.spacing_mm, (np.hypot(0.1, 3.0), np.hypot(0.8, 0.08), 0.9), atol=1e-6)
    assert image.spacing_known
    assert image.array.flags.c_contiguous


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.int64])
def test_plain_integers_keep_their_type_and_extremes(tmp_path, dtype):
    limits = np.array([[[np.iinfo(dtype).min, np.iinfo(dtype).max]]], dtype=dtype)
    nib.save(nib.Nifti1Image(limits, np.eye(4), dtype=dtype), tmp_path / "a.nii")
    image = read_image(tmp_path / "a.nii")
    assert image.array.dtype == dtype
    assert image.array.ravel().tolist() == limits.ravel().tolist()


def test_scaled_integers_become_float32(tmp_path):
    stored = nib.Nifti1Image(np.array([[[1, 2, -3]]], dtype=np.int16), np.eye(4))
    stored.header.set_slope_inter(0.5, -1024)
    raw = bytearray(stored.to_bytes())
    (tmp_path / "a.nii").write_bytes(raw)
    saved = nib.load(tmp_path / "a.nii")
    assert (saved.dataobj.slope, saved.dataobj.inter) == (0.5, -1024)
    image = read_image(tmp_path / "a.nii")
    assert image.array.dtype == np.float32
    np.testing.assert_array_equal(image.array.ravel(), np.asarray(saved.dataobj).ravel())


def test_big_endian_is_read_in_native_order(tmp_path):
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    nib.save(nib.Nifti1Image(np.array([[[1, 256]]], dtype=np.int16), np.eye(4), header), tmp_path / "a.nii")
    assert (tmp_path / "a.nii").read_bytes()[:4] == b"\x00\x00\x01\x5c"
    image = read_image(tmp_path / "a.nii")
    assert image.array.ravel().tolist() == [1, 256]
    assert image.array.dtype.isnative


@pytest.mark.parametrize(
    ("stored_shape", "shape"),
    [
        ((3, 2), (1, 1, 2, 3)),
        ((3, 2, 4, 5), (5, 4, 2, 3)),
        ((3, 2, 4, 1, 5), (5, 4, 2, 3)),
        ((3, 2, 1, 1, 1), (1, 1, 2, 3)),
    ],
)
def test_dimensions(tmp_path, stored_shape, shape):
    stored = np.arange(np.prod(stored_shape), dtype=np.int16).reshape(stored_shape)
    nib.save(nib.Nifti1Image(stored, np.eye(4)), tmp_path / "a.nii.gz")
    array = read_image(tmp_path / "a.nii.gz").array
    assert array.shape == shape
    assert array[-1, -1, 1, 2] == stored[2, 1].ravel()[-1]


@pytest.mark.parametrize("shape", [(4,), (2, 2, 2, 1, 1, 5)])
def test_other_dimensions_are_refused(tmp_path, shape):
    nib.save(nib.Nifti1Image(np.zeros(shape, np.int16), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(DataError, match=r"has the shape \(.*expected \(x, y\)"):
        read_image(tmp_path / "a.nii")


def test_a_frame_is_chosen_from_volumes(tmp_path):
    stored = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)
    nib.save(nib.Nifti1Image(stored, np.eye(4)), tmp_path / "a.nii")
    assert read_image(tmp_path / "a.nii").array.shape == (5, 4, 3, 2)
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii", frame=3).array, stored[..., 3].T[np.newaxis])
    with pytest.raises(DataError, match="no frame 5: it holds 5 volumes, 0 to 4"):
        read_image(tmp_path / "a.nii", frame=5)
    nib.save(nib.Nifti1Image(stored[..., 0], np.eye(4)), tmp_path / "b.nii")
    assert read_image(tmp_path / "b.nii", frame=3).array.shape == (1, 4, 3, 2)  # a single volume is that volume


def test_volumes_of_several_components_need_a_frame(tmp_path):
    stored = np.arange(2 * 2 * 2 * 3 * 2, dtype=np.int16).reshape(2, 2, 2, 3, 2)
    nib.save(nib.Nifti1Image(stored, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(DataError, match=r"holds 3 volumes of 2 components .*\nChoose a volume with --frame, 0 to 2"):
        read_image(tmp_path / "a.nii")
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii", frame=1).array, stored[..., 1, :].T)


@pytest.mark.parametrize("alpha", [None, 255])
def test_colours_are_three_channels(tmp_path, alpha):
    names = "RGB" if alpha is None else "RGBA"
    stored = np.zeros((2, 3, 4), np.dtype([(name, "u1") for name in names]))
    stored["G"][1, 2, 3] = 7
    if alpha:
        stored["A"] = alpha
    nib.save(nib.Nifti1Image(stored, np.eye(4)), tmp_path / "a.nii")
    array = read_image(tmp_path / "a.nii").array
    assert (array.shape, array.dtype, array[1, 3, 2, 1], array.sum()) == ((3, 4, 3, 2), np.uint8, 7, 7)
    if alpha:
        stored["A"][0, 0, 0] = 3
        nib.save(nib.Nifti1Image(stored, np.eye(4)), tmp_path / "a.nii")
        with pytest.raises(DataError, match=r"transparency that varies \(3 to 255\)"):
            read_image(tmp_path / "a.nii")


def test_micrometres_are_turned_to_millimetres(tmp_path):
    stored = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.diag([10.0, 20, 30, 1]))
    stored.header.set_xyzt_units("micron")
    nib.save(stored, tmp_path / "a.nii")
    assert read_image(tmp_path / "a.nii").spacing_mm == pytest.approx((0.03, 0.02, 0.01))


def test_a_slice_without_thickness_gets_one(tmp_path):
    stored = nib.Nifti1Image(np.zeros((2, 2, 1), np.uint8), None)
    stored.header.set_sform(np.diag([2.0, 3, 0, 1]), code=1)
    nib.save(stored, tmp_path / "a.nii")
    assert read_image(tmp_path / "a.nii").spacing_mm == (1, 3, 2)


def test_voxels_of_an_electron_microscope_are_read(tmp_path):
    stored = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.diag([0.004, 0.004, 0.03, 1]))
    stored.header.set_xyzt_units("micron")
    nib.save(stored, tmp_path / "a.nii")
    image = read_image(tmp_path / "a.nii")
    assert image.spacing_mm == pytest.approx((30e-6, 4e-6, 4e-6))
    write_label(tmp_path / "answer.nii", image, like=tmp_path / "a.nii")
    assert read_image(tmp_path / "answer.nii").same_grid(image)


@pytest.mark.parametrize("third", [[0, 0, 0], [2, 0, 0], [2, 3, 1e-7]])
def test_an_affine_without_inverse_is_refused(tmp_path, third):
    affine = np.diag([2.0, 3, 0, 1])
    affine[:3, 2] = third
    stored = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), None)
    stored.header.set_sform(affine, code=1)
    nib.save(stored, tmp_path / "a.nii")
    with pytest.raises(DataError, match="without an inverse"):
        read_image(tmp_path / "a.nii")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_nan_and_infinity_are_read_as_they_are(tmp_path, save_nifti, bad):
    array = np.full((2, 3, 4), 0.1, dtype=np.float64)
    array[1, 2, 3] = bad
    read = read_image(save_nifti(tmp_path / "a.nii.gz", array)).array
    assert read.dtype == (np.float64 if bad == 1e300 else np.float32)  # 1e300 would become infinite
    np.testing.assert_array_equal(read[0], array.astype(read.dtype))
    refusal = (
        "holds NaN in 1 of 24 voxels of a label map" if np.isnan(bad) else "holds labels that are not whole numbers"
    )
    with pytest.raises(DataError, match=rf"a\.nii\.gz {refusal}"):
        read_label(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(
    ("code", "what"), [(32, "complex numbers"), (1536, "numbers of 128 bits"), (1, "single bits"), (2048, "complex")]
)
def test_what_is_no_real_number_of_64_bits_is_refused(tmp_path, code, what):
    data = bytearray(nib.Nifti1Image(np.zeros((2, 2, 2)), np.eye(4)).to_bytes())
    data[70:72] = code.to_bytes(2, "little")
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(DataError, match=f"holds {what}.*expected whole or real numbers"):
        read_image(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("header", "data"), [(".hdr", ".img"), (".hdr", ".img.gz"), (".hdr.gz", ".img.gz"), (".HDR", ".IMG")]
)
@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair])
def test_pairs(tmp_path, header, data, kind):
    stored = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    pair = kind(stored, OBLIQUE)
    nib.save(pair, tmp_path / "pair.img")
    for suffix, name in ((header, "pair.hdr"), (data, "pair.img")):
        content = (tmp_path / name).read_bytes()
        (tmp_path / f"a{suffix}").write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    for suffix in (header, data):
        image = read_image(tmp_path / f"a{suffix}")
        np.testing.assert_array_equal(image.array[0], stored.T)
        np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-6)
    assert sorted(path.name for path in files_of(tmp_path / f"a{header}")) == sorted([f"a{header}", f"a{data}"])
    assert is_image(tmp_path / f"a{header}")
    assert not is_image(tmp_path / f"a{data}")
    answer = write_and_read(tmp_path / "answer.nii.gz", image, tmp_path / f"a{header}")
    np.testing.assert_array_equal(answer.affine, image.affine)
    (tmp_path / f"a{data}").unlink()
    with pytest.raises(DataError, match=r"is the header of a pair of files; there is no a\.(img|IMG) beside it"):
        read_image(tmp_path / f"a{header}")


def write_and_read(path: Path, image: Image, like: Path) -> Image:
    write_label(path, image, like)
    return read_label(path)


def test_analyze_is_refused_because_it_does_not_say_which_side_is_left(tmp_path):
    nib.save(nib.AnalyzeImage(np.zeros((2, 3, 4), np.int16), np.eye(4)), tmp_path / "a.img")
    with pytest.raises(DataError, match=r"is an Analyze 7\.5 file: it does not say which side is left"):
        read_image(tmp_path / "a.hdr")


@pytest.mark.parametrize(
    ("codes", "shift", "notes"),
    [
        ((1, 1), 0.0, []),
        ((1, 1), 3.0, ["qform and a sform that disagree by 3 voxels at a corner; its sform is used"]),
        ((0, 1), 3.0, []),
        ((1, 0), 3.0, []),
        ((0, 0), 0.0, ["neither sform nor qform"]),
    ],
)
def test_notes_on_a_header(tmp_path, codes, shift, notes):
    scan = nib.Nifti1Image(np.zeros((4, 3, 2), np.int16), None)
    affine = np.diag([1.0, 2, 3, 1])
    scan.header.set_sform(affine, code=codes[0])
    affine[0, 3] += shift
    scan.header.set_qform(affine, code=codes[1])
    (tmp_path / "a.nii").write_bytes(scan.to_bytes())
    found = header_notes(tmp_path / "a.nii")
    assert len(found) == len(notes)
    assert all(part in note for part, note in zip(notes, found, strict=True))


def test_bytes_behind_packed_content_are_not_counted_as_voxels(tmp_path):
    data = gzip.compress(nib.Nifti1Image(np.zeros((4, 3, 2), np.int16), np.eye(4)).to_bytes())
    (tmp_path / "a.nii.gz").write_bytes(data + b"garbage!")
    assert read_image(tmp_path / "a.nii.gz").array.shape == (1, 2, 3, 4)
    assert header_notes(tmp_path / "a.nii.gz") == ["ends in bytes that belong to nothing, which are ignored"]


@pytest.mark.parametrize(
    ("codes", "sizes", "axes"),
    [
        ((0, 1), (0, 0, 2), "x, y"),
        ((0, 0), (2, 2, 0), "z"),
        ((1, 1), (0, 0, 0), None),  # the sform is used
        ((0, 1), (2, 2, 2), None),
    ],
)
def test_a_spacing_of_0_is_told(tmp_path, codes, sizes, axes):
    scan = nib.Nifti1Image(np.zeros((4, 3, 2), np.int16), np.diag([2, 2, 2, 1]))
    data = bytearray(scan.to_bytes())
    data[80:92] = np.array(sizes, "<f4").tobytes()
    data[252:256] = np.array(codes[::-1], "<i2").tobytes()  # qform, sform
    (tmp_path / "a.nii").write_bytes(data)
    told = [note for note in header_notes(tmp_path / "a.nii") if "spacing of 0" in note]
    assert told == (
        [] if axes is None else [f"has a spacing of 0 along {axes}, which is read as 1 mm: its size is not known"]
    )


def test_planes_without_thickness_are_not_told(tmp_path):
    scan = nib.Nifti1Image(np.zeros((4, 3, 1), np.int16), None)
    scan.header.set_qform(np.eye(4), 1)
    data = bytearray(scan.to_bytes())
    data[88:92] = bytes(4)
    (tmp_path / "a.nii").write_bytes(data)
    assert header_notes(tmp_path / "a.nii") == []


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_note_on_content_that_the_header_does_not_declare(tmp_path, name):
    data = nib.Nifti1Image(np.zeros((4, 3, 2), np.int16), np.eye(4)).to_bytes() + bytes(10)
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert read_image(tmp_path / name).array.shape == (1, 2, 3, 4)
    assert header_notes(tmp_path / name) == ["holds 10 bytes more than its header declares"]


def test_labels_stored_as_float_are_whole_numbers(tmp_path, save_nifti):
    label = read_label(save_nifti(tmp_path / "a.nii.gz", np.array([[[0, 0.99999997, 4.0]]], dtype=np.float64)))
    assert label.array.ravel().tolist() == [0, 1, 4]
    assert label.array.dtype.kind == "i"
    with pytest.raises(DataError, match=r"b\.nii\.gz holds labels that are not whole numbers: 0\.5"):
        read_label(save_nifti(tmp_path / "b.nii.gz", np.array([[[0, 0.5]]], dtype=np.float32)))


def test_labels_of_several_channels_are_refused(tmp_path, save_nifti):
    with pytest.raises(DataError, match="holds 2 channels; a label file holds one value per voxel"):
        read_label(save_nifti(tmp_path / "a.nii.gz", np.zeros((2, 3, 3, 3), np.uint8)))


@pytest.mark.real
def test_one_volume_in_ten_types(data_dir):
    paths = sorted((data_dir / "nifti_odd/typed/27").glob("*.nii"))
    assert len(paths) == 10
    for path in paths:
        image = read_image(path)
        assert image.array.shape == (1, 3, 3, 3)
        np.testing.assert_array_equal(image.array, np.asarray(nib.load(path).dataobj).T[np.newaxis])
        assert image.array.dtype == ("float32" if "float" in path.name else path.stem)


@pytest.mark.real
def test_masks_scaled_by_a_tiny_slope_are_0_and_1(data_dir):
    label = read_label(data_dir / "brain_tumour/brainmasks/test_brats_2013_pat0001_1.nii.gz")
    assert np.unique(label.array).tolist() == [0, 1]


@pytest.mark.real
def test_a_real_label_comes_back_as_it_was(data_dir, tmp_path):
    path = data_dir / "brain_tumour/labelsTr/test_brats_2013_pat0001_1.nii.gz"
    label = read_label(path)
    write_label(tmp_path / "a.nii.gz", label, like=path)
    before, after = nib.load(path), nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(before.dataobj), np.asarray(after.dataobj))
    np.testing.assert_array_equal(before.affine, after.affine)
    for key in ("sform_code", "qform_code", "xyzt_units"):
        assert before.header[key] == after.header[key]
    assert after.get_data_dtype() == np.uint8


@pytest.mark.parametrize(("slope", "noted"), [(np.inf, True), (np.nan, False), (0.0, False)])
def test_an_infinite_slope_is_named(tmp_path, slope, noted):
    """NaN and 0 stand for no scaling, as nibabel writes them and the standard says."""
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(np.ones((2, 3, 4), np.int16), np.eye(4)), path)
    stored = bytearray(path.read_bytes())
    stored[112:116] = np.float32(slope).tobytes()
    path.write_bytes(stored)
    image = read_image(path)
    assert (image.array == 1).all()
    assert ["has the slope inf" in note for note in image.notes] == [True] * noted
