"""Values and geometry of series that the tests write: only the positions and the stored values decide."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from dicom.builders import (
    AXIAL,
    CORONAL,
    MR,
    OBLIQUE,
    SAGITTAL,
    TURNED,
    image_dataset,
    item,
    normal_of,
    ramp,
    save,
    write_enhanced,
    write_series,
)
from pydicom.uid import RLELossless

from medseg.core.errors import DataError
from medseg.io.dicom.elements.options import DicomOptions
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.pixels.volume import read_volume

LPS = np.array([-1.0, -1.0, 1.0])


def only(folder, **options):
    (series,) = find_series(folder).series
    return read_volume(series, DicomOptions(**options))


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL, TURNED, OBLIQUE])
@pytest.mark.parametrize("step_mm", [3.0, -3.0])
def test_every_voxel_lies_where_its_slice_says(tmp_path, orientation, step_mm):
    paths = write_series(tmp_path, orientation=orientation, step_mm=step_mm)
    volume = only(tmp_path)
    assert volume.image.array.shape == (1, 5, 4, 6)
    assert volume.image.spacing_mm == pytest.approx((3.0, 2.0, 1.5))
    for z, source in enumerate(volume.source_slices):
        found = pydicom.dcmread(source.file.path)
        np.testing.assert_array_equal(volume.image.array[0, z], found.pixel_array)
        for y, x in ((0, 0), (3, 0), (0, 5), (2, 4)):
            row, column = np.array(orientation[:3]), np.array(orientation[3:])
            point = np.array(found.ImagePositionPatient, float) + row * x * 1.5 + column * y * 2.0
            np.testing.assert_allclose((volume.image.affine @ [x, y, z, 1])[:3], point * LPS, atol=1e-6)
    along = [np.array(slice_.position) @ normal_of(orientation) for slice_ in volume.source_slices]
    assert along == sorted(along)
    assert len(paths) == 5
    assert np.linalg.det(volume.image.affine) > 0


def test_instance_numbers_and_names_do_not_matter(tmp_path):
    write_series(tmp_path, each=lambda k: {"InstanceNumber": (7 * k) % 5}, name=lambda k: f"{(3 * k) % 5}")
    np.testing.assert_array_equal(only(tmp_path).image.array[0], ramp())


def test_planes_in_words(tmp_path):
    for name, orientation in (("axial", AXIAL), ("sagittal", SAGITTAL), ("coronal", CORONAL)):
        write_series(tmp_path / name, orientation=orientation, series=name)
    write_series(tmp_path / "oblique", orientation=OBLIQUE, series="oblique")
    planes = {one.folder: one.plane for one in find_series(tmp_path).series}
    assert planes["oblique"].startswith("oblique")
    assert all(planes[name] == name for name in ("axial", "sagittal", "coronal"))


def test_rescale_keeps_whole_numbers_whole(tmp_path):
    write_series(tmp_path, RescaleSlope=2, RescaleIntercept=-1024)
    volume = only(tmp_path)
    np.testing.assert_array_equal(volume.image.array[0], ramp() * 2 - 1024)
    assert volume.image.array.dtype == np.int16
    assert volume.record["rescale"] == {"slope": 2.0, "intercept": -1024.0}


def test_rescale_of_each_slice(tmp_path):
    write_series(tmp_path, each=lambda k: {"RescaleSlope": 0.5 + k, "RescaleIntercept": 0.25 * k})
    volume = only(tmp_path)
    expected = np.stack([plane * (0.5 + k) + 0.25 * k for k, plane in enumerate(ramp())])
    np.testing.assert_allclose(volume.image.array[0], expected, rtol=1e-6)
    assert volume.image.array.dtype == np.float32
    assert volume.record["rescale"] == "differs from slice to slice"


def test_values_beyond_the_stored_type(tmp_path):
    array = np.array([[[0, 65535]]], np.uint16)
    write_series(tmp_path, array, RescaleSlope=1, RescaleIntercept=-1024)
    volume = only(tmp_path)
    assert volume.image.array.ravel().tolist() == [-1024, 64511]
    assert volume.image.array.dtype == np.int32


def test_twelve_signed_bits_and_rubbish_above_them(tmp_path):
    meant = np.array([[[-2048, -1, 0, 2047]]], np.int16)
    stored = ((meant & 0x0FFF) | 0x5000).astype(np.uint16)
    write_series(tmp_path, stored, BitsStored=12, HighBit=11, PixelRepresentation=1)
    np.testing.assert_array_equal(only(tmp_path).image.array[0], meant)


def test_twelve_unsigned_bits_and_rubbish_above_them(tmp_path):
    stored = np.array([[[0xF123, 0x1FFF]]], np.uint16)
    write_series(tmp_path, stored, BitsStored=12, HighBit=11)
    assert only(tmp_path).image.array.ravel().tolist() == [0x123, 0xFFF]


def test_bits_that_are_not_the_lowest(tmp_path):
    write_series(tmp_path, np.array([[[0x1230, 0xFFF0]]], np.uint16), BitsStored=12, HighBit=15)
    assert only(tmp_path).image.array.ravel().tolist() == [0x123, 0xFFF]


def test_an_overlay_below_the_values_is_cut(tmp_path):
    (path,) = write_series(tmp_path, np.array([[[0x1230, 0xFFF5]]], np.uint16), BitsStored=12, HighBit=15)
    dataset = pydicom.dcmread(path)
    dataset.add_new((0x6000, 0x0100), "US", 16)  # OverlayBitsAllocated
    dataset.save_as(path)
    assert only(tmp_path).image.array.ravel().tolist() == [0x123, 0xFFF]


def test_values_that_use_the_bits_below_those_that_are_declared_are_refused(tmp_path):
    write_series(tmp_path, np.array([[[1064, 24]]], np.uint16), BitsStored=12, HighBit=15)
    with pytest.raises(DataError, match=r"12 bits up to bit 15 .* but its bits below bit 4 are set, too"):
        only(tmp_path)


@pytest.mark.parametrize(
    ("changes", "lowest", "told"),
    [
        ({}, 0, True),  # water is 1064 in it, as stored
        ({"RescaleSlope": 1}, 0, True),
        ({"RescaleIntercept": 0, "RescaleSlope": 1}, 0, False),  # says so
        ({"RescaleIntercept": -1024}, 0, False),
        ({}, -1000, False),  # has what air has: written as Hounsfield units
        ({"Modality": "MR", "SOPClassUID": MR}, 0, False),
    ],
)
def test_a_ct_that_does_not_say_how_values_become_hounsfield_units_is_told(tmp_path, changes, lowest, told):
    write_series(tmp_path, np.array([[[lowest, 1064]]], np.int16), **changes)
    assert any("without RescaleIntercept" in note for note in only(tmp_path).image.notes) == told


def test_padding_of_a_ct_becomes_the_lowest_value_that_was_measured(tmp_path):
    array = ramp()
    array[:, 0, 0] = -2000
    write_series(tmp_path, array, RescaleIntercept=-1000, RescaleSlope=1, PixelPaddingValue=-2000)
    volume = only(tmp_path)
    assert volume.image.array[0, :, 0, 0].tolist() == [-999] * 5
    assert volume.record["padding"] == {"voxels": 5, "replaced by": -999}


@pytest.mark.parametrize(("slope", "intercept", "value"), [(1, 0, 0), (1, 0, 40), (2, -100, 7)])
def test_a_padding_value_within_what_was_measured_is_none(tmp_path, slope, intercept, value):
    array = ramp() - 200
    array[2] = value
    rescale = {"RescaleSlope": slope, "RescaleIntercept": intercept}
    write_series(tmp_path, array, PixelPaddingValue=value, **rescale)
    volume = only(tmp_path)
    np.testing.assert_array_equal(volume.image.array[0], array * slope + intercept)
    assert volume.record["padding"].startswith("ignored")


def test_padding_elsewhere_becomes_zero(tmp_path):
    array = ramp() + 5
    array[:, 0, :3] = [-32768, -32767, -32766]
    write_series(tmp_path, array, Modality="MR", PixelPaddingValue=-32768, PixelPaddingRangeLimit=-32767)
    volume = only(tmp_path)
    assert volume.image.array[0, 0, 0].tolist() == [0, 0, -32766, 8, 9, 10]
    assert volume.record["padding"]["voxels"] == 10


def test_a_padding_value_written_with_the_wrong_sign(tmp_path):
    array = ramp()
    array[0, 0, 0] = -2000
    paths = write_series(tmp_path, array)
    for path in paths:
        found = pydicom.dcmread(path)
        found.add_new("PixelPaddingValue", "US", 63536)
        found.save_as(path)
    assert only(tmp_path).record["padding"]["voxels"] == 1


def test_a_padding_value_in_bits_that_are_cut(tmp_path):
    stored = np.array([[[0xF830, 100, 50]]], np.uint16)
    write_series(tmp_path, stored, BitsStored=12, HighBit=11, PixelPaddingValue=0xF830)
    assert only(tmp_path).image.array.ravel().tolist() == [50, 100, 50]


def test_bits_that_do_not_fit(tmp_path):
    write_series(tmp_path, BitsStored=20)
    with pytest.raises(DataError, match=r"IM0000\.dcm"):
        only(tmp_path)


def test_modality_lut(tmp_path):
    table = item(LUTDescriptor=[4, 0, 16], ModalityLUTType="US", LUTData=np.array([5, 50, 500, 5000], "<u2").tobytes())
    write_series(tmp_path, np.array([[[0, 1], [2, 3]]], np.uint16), ModalityLUTSequence=table)
    volume = only(tmp_path)
    assert volume.image.array.ravel().tolist() == [5, 50, 500, 5000]
    assert volume.record["modality LUT"]


def test_monochrome1_is_inverted_where_values_are_no_quantity(tmp_path):
    array = np.array([[[0, 100, 4095]]], np.uint16)
    shared = {"BitsStored": 12, "HighBit": 11, "PhotometricInterpretation": "MONOCHROME1"}
    write_series(tmp_path / "mr", array, Modality="MR", **shared)
    write_series(tmp_path / "dx", array, Modality="DX", **shared)
    assert only(tmp_path / "mr").image.array.ravel().tolist() == [0, 100, 4095]
    assert only(tmp_path / "mr").record["MONOCHROME1"] == "values as stored"
    assert only(tmp_path / "dx").image.array.ravel().tolist() == [4095, 3995, 0]


def test_one_slice_is_as_thick_as_it_says(tmp_path):
    write_series(tmp_path, ramp(1))
    assert only(tmp_path).image.spacing_mm == (3.0, 2.0, 1.5)


def test_two_slices_are_a_volume(tmp_path):
    write_series(tmp_path, ramp(2), step_mm=2.5)
    assert only(tmp_path).image.spacing_mm == pytest.approx((2.5, 2.0, 1.5))


def test_a_radiograph_without_a_place(tmp_path):
    absent = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID"))
    write_series(tmp_path / "known", ramp(1), Modality="DX", **absent)
    write_series(
        tmp_path / "imager", ramp(1), Modality="DX", PixelSpacing=None, ImagerPixelSpacing=[0.2, 0.2], **absent
    )
    known, imager = only(tmp_path / "known").image, only(tmp_path / "imager").image
    assert known.spacing_known
    assert known.spacing_mm == (1.0, 2.0, 1.5)
    assert imager.spacing_known
    assert imager.spacing_mm == (1.0, 0.2, 0.2)
    assert "at the detector" in imager.notes[0]


@pytest.mark.parametrize("spacing", [{}, {"ImagerPixelSpacing": [0, 0]}])
def test_a_radiograph_of_unknown_size(tmp_path, spacing):
    absent = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"))
    write_series(tmp_path, ramp(1), Modality="DX", **absent, **spacing)
    assert not only(tmp_path).image.spacing_known


def test_the_spacing_of_a_detector_does_not_count_in_a_ct(tmp_path):
    write_series(tmp_path, PixelSpacing=None, ImagerPixelSpacing=[0.2, 0.2])
    with pytest.raises(DataError, match="no pixel spacing"):
        only(tmp_path)


@pytest.mark.parametrize("turned", [False, True])
def test_multi_frame(tmp_path, turned):
    positions = [(0, 0, 3.0 * k) for k in range(5)]
    order = [3, 1, 4, 0, 2]
    array = ramp().astype(np.uint16)
    orientation = TURNED if turned else AXIAL
    write_enhanced(
        tmp_path / "one",
        array[order],
        [positions[k] for k in order],
        orientation,
        rescale=lambda k: (1.0, float(order[k])),
    )
    volume = only(tmp_path)
    np.testing.assert_array_equal(volume.image.array[0], array + np.arange(5)[:, None, None])
    assert [slice_.frame for slice_ in volume.source_slices] == [3, 1, 4, 0, 2]
    assert volume.image.spacing_mm == pytest.approx((3.0, 2.0, 1.5))


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", RLELossless])
def test_transfer_syntaxes_that_need_no_other_package(tmp_path, syntax):
    for k, plane in enumerate(ramp()):
        found = image_dataset(plane, (0, 0, 3 * k), instance=k)
        path = tmp_path / f"{k}"
        if syntax == RLELossless:
            save(found, path, RLELossless)
            continue
        found.file_meta.TransferSyntaxUID = syntax
        if syntax == "1.2.840.10008.1.2.2":
            found.PixelData = plane.astype(">i2").tobytes()
        save(found, path)
    np.testing.assert_array_equal(only(tmp_path).image.array[0], ramp())


def test_a_file_without_preamble_and_meta_information(tmp_path):
    for k, plane in enumerate(ramp()):
        found = image_dataset(plane, (0, 0, 3 * k), instance=k)
        del found.file_meta
        found.save_as(tmp_path / f"{k}", implicit_vr=True, little_endian=True)
    np.testing.assert_array_equal(only(tmp_path).image.array[0], ramp())


def test_pixels_that_are_cut_off(tmp_path):
    paths = write_series(tmp_path)
    paths[2].write_bytes(paths[2].read_bytes()[:-10])
    with pytest.raises(DataError, match=r"IM0002\.dcm"):
        only(tmp_path)


def test_a_header_without_pixels(tmp_path):
    write_series(tmp_path, PixelData=None)
    with pytest.raises(DataError, match="holds no pixels"):
        only(tmp_path)


def test_a_missing_decoder_is_named(tmp_path):
    paths = write_series(tmp_path)
    for path in paths:
        found = pydicom.dcmread(path)
        found.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
        found.PixelData = pydicom.encaps.encapsulate([b"1234"])
        found["PixelData"].is_undefined_length = True
        found.save_as(path)
    (series,) = find_series(tmp_path).series
    assert [problem.kind for problem in series.problems] == ["no decoder"]
    with pytest.raises(DataError, match="MPEG2"):
        read_volume(series)


def test_a_decoder_that_can_be_installed(monkeypatch):
    from pydicom.pixels.decoders import HTJ2KDecoder

    from medseg.io.dicom.elements.transfer_syntax import missing_decoder

    missing_decoder.cache_clear()
    monkeypatch.setattr(HTJ2KDecoder, "_available", {})
    assert "pip install pylibjpeg pylibjpeg-openjpeg" in missing_decoder("1.2.840.10008.1.2.4.203")
    missing_decoder.cache_clear()


def test_nothing_that_identifies_a_patient_is_said(tmp_path):
    write_series(tmp_path, move=lambda k: (0, 0, 0))
    (series,) = find_series(tmp_path).series
    with pytest.raises(DataError) as caught:
        read_volume(series)
    message = str(caught.value) + str(series.key) + series.title
    assert all(secret not in message for secret in ("Doe", "SECRET", series.uid, series.study_uid))


@pytest.mark.parametrize(
    ("kind", "samples", "meant"),
    [
        ("u2", [0, 4095, 4100], [0, 4095, 4095]),
        ("i2", [0, 2047, 2048, 4095], [0, 2047, -2048, -1]),
        ("i2", [-1, 2047, 2050], [-1, 2047, 2047]),
    ],
)
def test_samples_of_a_codec_are_clipped_and_signed(kind, samples, meant):
    from medseg.io.dicom.pixels.slice_pixels import _clip_samples

    assert _clip_samples(np.array(samples, kind), 12).tolist() == meant


def test_signed_twelve_bits_packed_by_codecs(tmp_path):
    meant = np.array([[[-2048, -1], [0, 2047]]] * 2, np.int16).repeat(16, 1).repeat(16, 2)
    changes = {"BitsStored": 12, "HighBit": 11}
    for name, syntax in (("jls", "1.2.840.10008.1.2.4.80"), ("j2k", "1.2.840.10008.1.2.4.90"), ("rle", RLELossless)):
        write_series(tmp_path / name, meant, syntax=syntax, series=name, **changes)
        np.testing.assert_array_equal(only(tmp_path / name).image.array[0], meant)
