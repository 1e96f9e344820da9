"""DICOM SEG: frames by position, in any order, on the scan's grid or their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom.builders import AXIAL, CORONAL, OBLIQUE, SAGITTAL, TURNED, save
from dicom.label_builders import box, grid, rtstruct, seg, to_patient

from medseg.core.errors import DataError
from medseg.io.dicom.elements.files import File
from medseg.io.dicom.labels.label_objects import draw_structures
from medseg.io.images import read_label
from medseg.io.values.segments import survey_names
from medseg.plans.sections.reading import Reading

SEGIMAGE = shutil.which("segimage2itkimage") or shutil.which("segimage2itkimage", path=str(Path(sys.executable).parent))


def position(z: float, lies, x: float = 0, y: float = 0):
    return to_patient([(x, y, z)], lies)[0]


def marked(*places: tuple[int, int], shape: tuple[int, int] = (8, 10)) -> np.ndarray:
    pixels = np.zeros(shape, np.uint8)
    for place in places:
        pixels[place] = 1
    return pixels


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL, TURNED, OBLIQUE])
def test_frames_out_of_order_and_missing_ones(tmp_path: Path, orientation) -> None:
    lies = grid(orientation=orientation)
    frames = [
        (2, position(3, lies), marked((1, 2))),
        (1, position(0, lies), marked((0, 0), (7, 9))),
        (1, position(3, lies), marked((5, 5))),
    ]
    path = save(seg(frames, ["liver", "spleen"], orientation), tmp_path / "S.dcm")
    label = read_label(path, Reading(segments={"spleen": 5, "liver": 1}), lies)
    found = {tuple(place): int(label.array[0][tuple(place)]) for place in np.argwhere(label.array[0])}
    assert found == {(3, 1, 2): 5, (0, 0, 0): 1, (0, 7, 9): 1, (3, 5, 5): 1}
    assert label.same_grid(lies)


def test_a_frame_turned_against_the_scan_lies_where_it_says(tmp_path: Path) -> None:
    lies = grid((5, 8, 10))
    # rows and columns run the other way: the first pixel is the scan's last one
    frames = [(1, position(2, lies, 9, 7), marked((0, 0), (0, 1)))]
    label = read_label(save(seg(frames, ["a"], TURNED), tmp_path / "S.dcm"), grid=lies)
    assert np.argwhere(label.array[0]).tolist() == [[2, 7, 8], [2, 7, 9]]


def test_a_cropped_segmentation_and_what_reaches_beyond(tmp_path: Path) -> None:
    lies = grid((5, 8, 10))
    frames = [
        (1, position(1, lies, 8, 6), np.ones((3, 4), np.uint8)),
        (1, position(9, lies), np.ones((3, 4), np.uint8)),
    ]
    label = read_label(save(seg(frames, ["a"]), tmp_path / "S.dcm"), grid=lies)
    assert np.argwhere(label.array[0]).tolist() == [[1, 6, 8], [1, 6, 9], [1, 7, 8], [1, 7, 9]]
    assert label.notes == ("S.dcm: 20 marked voxels lie outside of the scan",)
    with pytest.raises(DataError, match="everything that it marks lies outside"):
        read_label(save(seg(frames[1:], ["a"]), tmp_path / "far.dcm"), grid=lies)


def test_without_a_scan_the_grid_is_its_own(tmp_path: Path) -> None:
    lies = grid()
    frames = [(1, position(z, lies), marked((z, z))) for z in (3, 1, 0)]
    label = read_label(save(seg(frames, ["a"]), tmp_path / "S.dcm"))
    assert np.argwhere(label.array[0]).tolist() == [[0, 0, 0], [1, 1, 1], [3, 3, 3]]
    assert label.same_grid(grid((4, 8, 10)))


def test_the_step_that_is_declared_goes_before_the_smallest_gap(tmp_path: Path) -> None:
    lies = grid()
    frames = [(1, position(z, lies), marked((z, z))) for z in (0, 2, 4)]
    declared = save(seg(frames, ["a"], SpacingBetweenSlices=3.0), tmp_path / "declared.dcm")
    assert read_label(declared).shape_zyx == (5, 8, 10)
    thick = save(seg(frames, ["a"], SliceThickness=3.0), tmp_path / "thick.dcm")
    assert read_label(thick).shape_zyx == (3, 8, 10)


def test_frames_off_the_scans_slices_are_refused_or_resampled(tmp_path: Path) -> None:
    from medseg.core.case import Case
    from medseg.core.image import Image
    from medseg.io.load import load_case_label

    lies = grid()
    scan = Image(np.zeros((1, 5, 8, 10), np.int16), lies.affine)
    frames = [(1, position(z + 0.3, lies), marked((2, 2))) for z in (1, 2)]
    path = save(seg(frames, ["a"]), tmp_path / "S.dcm")
    case = Case("c", "c", (tmp_path / "scan",), path)
    with pytest.raises(DataError, match="different grids"):
        load_case_label(case, scan)
    assert load_case_label(case, scan, Reading(resample_labels=True))[0].array.sum() == 2


def test_fractions_count_from_half_of_the_largest_on(tmp_path: Path) -> None:
    pixels = np.array([[0, 99, 100, 200]], np.uint8)
    path = save(seg([(1, (0, 0, 0), pixels)], ["a"], kind="FRACTIONAL"), tmp_path / "S.dcm")
    label = read_label(path)
    assert label.array.tolist() == [[[[0, 0, 1, 1]]]]
    assert label.notes == ("S.dcm is fractional: what is at least 0.5 of the largest value is the segment",)
    assert read_label(path, Reading(threshold=0.75)).array.tolist() == [[[[0, 0, 0, 1]]]]


def test_a_label_map_holds_the_numbers_of_its_segments(tmp_path: Path) -> None:
    pixels = np.array([[0, 1, 2, 2]], np.uint8)
    path = save(seg([(None, (0, 0, 0), pixels)], ["liver", "spleen"], kind="LABELMAP"), tmp_path / "S.dcm")
    assert read_label(path).array.tolist() == [[[[0, 1, 2, 2]]]]
    assert read_label(path, Reading(segments={"Spleen": 7})).array.tolist() == [[[[0, 0, 7, 7]]]]


def test_segments_that_overlap(tmp_path: Path) -> None:
    frames = [(1, (0, 0, 0), marked((1, 1), (1, 2))), (2, (0, 0, 0), marked((1, 2), (1, 3)))]
    path = save(seg(frames, ["a", "b"]), tmp_path / "S.dcm")
    with pytest.raises(DataError, match="a and b overlap in 1 voxel;"):
        read_label(path)
    assert read_label(path, Reading(overlaps={"1+2": 3})).array[0, 0, 1, 1:4].tolist() == [1, 3, 2]


def test_an_object_that_is_neither_seg_nor_rtstruct_is_refused(tmp_path: Path) -> None:
    from dicom.builders import image_dataset, ramp

    path = save(image_dataset(ramp()[0]), tmp_path / "IM.dcm")
    with pytest.raises(DataError, match="neither a segmentation nor an RTSTRUCT"):
        read_label(path)


def test_a_file_cut_short_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = save(seg([(1, (0, 0, 0), np.ones((64, 64), np.uint8))], ["a"]), tmp_path / "S.dcm")
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(DataError, match=r"S\.dcm"):
        read_label(path)


def test_damaged_files_end_in_an_error_or_a_label(tmp_path: Path) -> None:
    """Seeded mutations of a SEG and an RTSTRUCT; nothing of the header is in the message."""
    sources = [
        save(seg([(1, (0, 0, 0), np.ones((8, 10), np.uint8))], ["a"]), tmp_path / "S.dcm"),
        save(rtstruct({"a": [box(0.5, 0.5, 4.5, 3.5, 1)]}, grid()), tmp_path / "R.dcm"),
    ]
    messages = []
    for seed in range(60):
        random = np.random.default_rng(seed)
        damaged = bytearray(sources[seed % 2].read_bytes())
        for place in random.integers(132, len(damaged), 1 + seed % 7):
            damaged[place] = random.integers(256)
        path = tmp_path / "damaged.dcm"
        path.write_bytes(damaged)
        survey_names([path])
        try:
            assert read_label(path, grid=grid()).array.ndim == 4
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > 5
    assert "SECRET" not in "".join(messages)


@pytest.mark.real
@pytest.mark.skipif(SEGIMAGE is None, reason="dcmqi's segimage2itkimage is not installed")
@pytest.mark.parametrize(
    "name",
    [
        "seg_image_ct_binary",
        "seg_image_ct_binary_fractional",
        "seg_image_ct_binary_overlap",
        "seg_image_ct_binary_single_frame",
        "seg_image_ct_true_fractional",
    ],
)
def test_the_same_voxels_as_dcmqi(data_dir: Path, tmp_path: Path, name: str) -> None:
    source = data_dir / "dicom_seg" / f"{name}.dcm"
    assert SEGIMAGE is not None
    subprocess.run(
        [SEGIMAGE, "--inputDICOM", str(source), "--outputDirectory", str(tmp_path), "--outputType", "nii"],
        check=True,
        capture_output=True,
    )
    overlay, lies, _, _ = draw_structures(File(source), Reading(), None)
    files = sorted(tmp_path.glob("*.nii.gz"))
    assert files
    for number, file in enumerate(files, start=1):
        other = nib.load(file)
        theirs = np.asarray(other.dataobj).T
        theirs = theirs >= 127.5 if "fractional" in name else theirs > 0
        ours = np.isin(overlay.array, [place for place, values in enumerate(overlay.sets) if number in values])
        assert ours.any()
        assert np.array_equal(ours, theirs)
        assert np.abs(other.affine - lies.affine).max() < 1e-4


def test_a_segment_without_a_frame_is_nowhere(tmp_path: Path) -> None:
    """As medseg itself writes a structure without voxels: it is described, and nothing shows it."""
    from medseg.core.case import Case
    from medseg.core.image import Image
    from medseg.io.load import load_case_label

    lies = grid()
    path = save(seg([(2, position(1, lies), marked((1, 2)))], ["liver", "spleen"]), tmp_path / "S.dcm")
    reading = Reading(segments={"liver": 1})
    label = read_label(path, reading, lies)
    assert label.same_grid(lies)
    assert not label.array.any()
    assert not read_label(path, reading).array.any(), "without a scan, on the grid of the other frames"
    scan = Image(np.zeros((1, 5, 8, 10), np.int16), lies.affine)
    assert not load_case_label(Case("c", "c", (tmp_path / "scan",), path), scan, reading)[0].array.any()
    assert read_label(path, Reading(segments={"liver": 1, "spleen": 2}), lies).array.sum() == 2


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_what_no_segment_names_is_refused(tmp_path: Path, kind) -> None:
    lies = grid()
    pixels, number = (marked((1, 2)), 3) if kind == "BINARY" else (3 * marked((1, 2)), None)
    path = save(seg([(number, position(1, lies), pixels)], ["liver"], kind=kind), tmp_path / "S.dcm")
    with pytest.raises(DataError, match=r"S\.dcm marks the segment 3, which its list of segments .* does not name"):
        read_label(path, Reading(segments={"liver": 1}), lies)


def test_the_background_of_a_labelmap_may_have_a_number(tmp_path: Path) -> None:
    lies = grid()
    pixels = np.where(marked((1, 2)), 1, 255).astype(np.uint8)
    dataset = seg([(None, position(1, lies), pixels)], ["liver"], kind="LABELMAP")
    dataset.add_new("PixelPaddingValue", "US", 255)
    label = read_label(save(dataset, tmp_path / "S.dcm"), Reading(segments={"liver": 1}), lies)
    assert np.argwhere(label.array[0]).tolist() == [[1, 1, 2]]


@pytest.mark.parametrize("said", [1, 3])
def test_another_number_of_frames_than_are_described_is_refused(tmp_path: Path, said) -> None:
    lies = grid()
    dataset = seg([(1, position(z, lies), marked((1, 2))) for z in (1, 2)], ["liver"])
    dataset.NumberOfFrames = said
    path = save(dataset, tmp_path / "S.dcm")
    with pytest.raises(DataError, match=rf"it says that it has {said} frames? \(NumberOfFrames\), and describes 2"):
        read_label(path, Reading(segments={"liver": 1}), lies)
