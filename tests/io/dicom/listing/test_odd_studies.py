"""A contract over odd series: each is read as the one right answer, or refused with what is wrong with it.

A row is how the series is written, and what is to come of it: {volume: value of the first voxel of each slice}, or the
kinds of the problems. `--resample-tilt` and `--allow-gaps` are given: what they accept differs from what nothing does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom.builders import AXIAL, MR, SAGITTAL, TURNED, item, ramp, write_enhanced, write_series

from medseg.core.errors import DataError
from medseg.io.dicom.elements.options import DicomOptions
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.pixels.volume import read_volume

PET = "1.2.840.10008.5.1.4.1.1.128"
HUNDREDS = [0, 100, 200, 300, 400]
TABLE = item(LUTDescriptor=[4, 0, 16], ModalityLUTType="US", LUTData=np.array([5, 50, 500, 5000], "<u2").tobytes())
Row = tuple[Callable[[Path], Any], Mapping[str, Sequence[float]] | Sequence[str]]


def each(**values: Any) -> Callable[[int], dict[str, Any]]:
    """Return elements of slice 2 that the other slices do not have; None for one that only slice 2 lacks."""
    return lambda number: values if number == 2 else {}


def series(array: Any = None, **changes: Any) -> Callable[[Path], Any]:
    return lambda folder: write_series(folder, array, **changes)


def stack(heights: Sequence[float], **changes: Any) -> Callable[[Path], Any]:
    """Return a series with slices at these heights, in mm."""
    return series(ramp(len(heights)), move=lambda k: (0, 0, heights[k]), **changes)


def enhanced(positions: Sequence[Sequence[float]], **changes: Any) -> Callable[[Path], Any]:
    return lambda folder: write_enhanced(folder / "a.dcm", ramp(len(positions)), positions, **changes)


def changed(write: Callable[[Path], Any], name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Return a series of which one file is changed after it was written."""

    def build(folder: Path) -> None:
        write(folder)
        dataset = pydicom.dcmread(folder / name)
        change(dataset)
        dataset.save_as(folder / name)

    return build


def without(*keywords: str) -> Callable[[Any], None]:
    def change(dataset: Any) -> None:
        for keyword in keywords:
            delattr(dataset, keyword)

    return change


def with_localizer(orientation: Sequence[float], **changes: Any) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        write_series(folder)
        write_series(folder, ramp(1), orientation=orientation, origin=(0, 0, 99), name="loc{}.dcm".format, **changes)

    return build


def with_another_matrix(folder: Path) -> None:
    write_series(folder, ramp(3))
    write_series(folder, np.zeros((1, 6, 4), np.int16), name="x{}".format, origin=(10, 20, 39))


def padded(values: Mapping[int, int], lowest: int = 0, **changes: Any) -> Callable[[Path], Any]:
    """Return a CT whose first voxels are replaced: {slice: value}."""
    array = ramp() + lowest
    for number, value in values.items():
        array[number, 0, 0] = value
    return series(array, RescaleSlope=1, RescaleIntercept=0, **changes)


def frames(count: int, step: float = 3.0, repeats: int = 1) -> list[tuple[float, float, float]]:
    return [(0, 0, step * (k // repeats)) for k in range(count)]


def in_plane(orientation: Sequence[float]) -> dict[str, Any]:
    return {"PlaneOrientationSequence": item(ImageOrientationPatient=list(orientation))}


def lose_place(dataset: Any) -> None:
    dataset.PerFrameFunctionalGroupsSequence[2].pop("PlanePositionSequence")


RESCALED = {"RescaleSlope": 1, "RescaleIntercept": -1000}
SHUFFLED = [3, 1, 4, 0, 2]
TWICE = [0, 3, 6, 0, 3, 6]
ROWS: dict[str, Row] = {
    # two acquisitions in one series
    "same places, nothing differs": (stack(TWICE), ["doubled slices"]),
    "same places, the second shorter": (
        stack([0, 3, 6, 9, 0, 3, 6], each=lambda k: {"AcquisitionNumber": 1 + k // 4}),
        {"acquisition 1": [0, 100, 200, 300], "acquisition 2": [400, 500, 600]},
    ),
    "in turns, only the time of the image differs": (
        stack([0, 2, 4, 6, 1, 3, 5, 7], each=lambda k: {"ContentTime": f"10100{k // 4}"}),
        {"time 1": [0, 100, 200, 300], "time 2": [400, 500, 600, 700]},
    ),
    "every third slice of another voltage, with gaps bridged": (
        series(ramp(7), each=lambda k: {"KVP": "80" if k % 3 == 0 else "120"}),
        {"80 kV": [0, 300, 600], "120 kV": [100, 200, 300, 400, 500]},
    ),
    "one scan whose images have times of their own": (
        stack([0, 2, 4, 6, 8], each=lambda k: {"ContentTime": f"1010{k:02d}"}),
        {"": HUNDREDS},
    ),
    "thin and thick slices": (
        stack([*range(8), 0, 5], each=lambda k: {"SliceThickness": 1 if k < 8 else 5}),
        {"thickness 1": [100 * k for k in range(8)], "thickness 5": [800, 900]},
    ),
    "a projection in the same places": (
        stack(TWICE, each=lambda k: {"ImageType": ["DERIVED", "SECONDARY", "MIP"]} if k > 2 else {}),
        {"derived secondary mip": [300, 400, 500], "original primary axial": [0, 100, 200]},
    ),
    # attributes that differ from slice to slice
    "a pixel spacing of its own": (series(each=each(PixelSpacing=[2.0, 1.6])), ["mixed pixel spacings"]),
    "a pixel spacing rounded otherwise": (series(each=each(PixelSpacing=[2.0, 1.50001])), {"": HUNDREDS}),
    "a turned slice": (series(each=each(ImageOrientationPatient=list(TURNED))), ["mixed orientations"]),
    "a matrix of its own": (with_another_matrix, ["mixed matrix sizes"]),
    "a rescale slope for each slice": (
        series(each=lambda k: {"RescaleSlope": k + 1, "RescaleIntercept": 0}, Modality="PT", SOPClassUID=PET),
        {"": [0, 200, 600, 1200, 2000]},
    ),
    "a rescale slope for each slice, 1 for the first, and no intercept": (
        series(each=lambda k: {"RescaleSlope": k + 1}, Modality="PT", SOPClassUID=PET),
        {"": [0, 200, 600, 1200, 2000]},
    ),
    "a rescale slope of 1 where others have an intercept, too": (
        series(each=lambda k: {"RescaleSlope": 1} | ({"RescaleIntercept": -1000} if k > 2 else {})),
        ["mixed rescale"],
    ),
    "a slice that does not say that it is as stored": (
        changed(series(RescaleSlope=1, RescaleIntercept=0), "IM0002.dcm", without("RescaleSlope", "RescaleIntercept")),
        {"": HUNDREDS},
    ),
    "a slice without a slope where others have one": (
        series(each=lambda k: {"RescaleSlope": 2} if k != 2 else {}),
        ["mixed rescale"],
    ),
    "a slice without rescale": (
        changed(series(**RESCALED), "IM0002.dcm", without("RescaleSlope", "RescaleIntercept")),
        ["mixed rescale"],
    ),
    "a table for one slice": (series(each=each(ModalityLUTSequence=TABLE)), ["some slices have a modality LUT"]),
    "units that differ": (
        series(Modality="PT", SOPClassUID=PET, each=lambda k: {"Units": "CNTS" if k == 2 else "BQML"}),
        ["mixed units"],
    ),
    "Hounsfield units and none": (
        series(**RESCALED, each=lambda k: {"RescaleType": "US" if k == 2 else "HU"}),
        ["mixed units"],
    ),
    "bits and signs that differ": (
        series(each=lambda k: {"BitsStored": 12 + k % 2, "HighBit": 11 + k % 2, "PixelRepresentation": k % 2}),
        {"": HUNDREDS},
    ),
    "a slice with black and white exchanged": (
        series(each=each(PhotometricInterpretation="MONOCHROME1")),
        ["mixed photometric interpretations"],
    ),
    "a modality in small letters": (series(each=each(Modality="ct")), {"": HUNDREDS}),
    "a frame of reference of its own": (series(each=each(FrameOfReferenceUID="1.2.3")), ["mixed frames of reference"]),
    "a slice without orientation": (
        changed(series(), "IM0002.dcm", without("ImageOrientationPatient")),
        ["no position"],
    ),
    "a pixel spacing of zero": (series(PixelSpacing=[0, 0]), ["no pixel spacing"]),
    # duplicates
    "one SOPInstanceUID for all": (series(SOPInstanceUID="1.2.3"), {"": HUNDREDS}),
    "one place twice": (stack([0, 3, 3, 6, 9]), ["doubled slices"]),
    # places
    "against the normal": (series(step_mm=-3), {"": HUNDREDS[::-1]}),
    "a slice missing behind the first": (stack([0, 6, 9, 12, 15]), {"": [0, 50, 100, 200, 300, 400]}),
    "a slice missing in two places": (
        stack([0, 3, 9, 12, 15, 21]),
        {"": [0, 100, 150, 200, 300, 400, 450, 500]},
    ),
    "two slices missing before the last": (
        stack([0, 3, 6, 9, 18]),
        {"": [0, 100, 200, 300, pytest.approx(1000 / 3), pytest.approx(1100 / 3), 400]},
    ),
    "a tilt beyond any gantry's": (series(move=lambda k: (0, 4.0 * k, 3.0 * k)), ["gantry tilt"]),
    "a localizer": (with_localizer(SAGITTAL, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), {"": HUNDREDS}),
    "a localizer that does not say so": (with_localizer(SAGITTAL), ["mixed orientations"]),
    # multi-frame files
    "frames in no order": (
        lambda folder: write_enhanced(folder / "a", ramp()[SHUFFLED], [(0, 0, 3.0 * k) for k in SHUFFLED]),
        {"": HUNDREDS},
    ),
    "a frame without a place": (
        changed(enhanced(frames(4)), "a.dcm", lose_place),
        ["no position"],
    ),
    "echoes in turns": (
        enhanced(frames(6, repeats=2), each=lambda k: {"MREchoSequence": item(EffectiveEchoTime=10.0 + 70 * (k % 2))}),
        {"echo 1": [0, 200, 400], "echo 2": [100, 300, 500]},
    ),
    "frames that nothing tells apart": (enhanced(frames(6, repeats=2)), ["doubled slices"]),
    "stacks in two planes": (
        enhanced(
            [(0, 0, 3.0 * k) if k < 3 else (3.0 * k, 0, 0) for k in range(6)],
            each=lambda k: in_plane(AXIAL if k < 3 else SAGITTAL),
            content=lambda k: {"StackID": str(k // 3)},
        ),
        {"stack 0": [0, 100, 200], "stack 1": [500, 400, 300]},
    ),
    "a frame in another plane": (
        enhanced(
            frames(4),
            each=lambda k: in_plane(SAGITTAL if k == 3 else AXIAL),
        ),
        ["mixed orientations"],
    ),
    # padding
    "padding of 0 in a CT with air": (padded({2: 0}, -200, PixelPaddingValue=0), {"": [-200, -100, 0, 100, 200]}),
    "padding below what was measured": (padded({1: -2000}, 5, PixelPaddingValue=-2000), {"": [5, 5, 205, 305, 405]}),
    "padding above what was measured": (padded({1: 4000}, 5, PixelPaddingValue=4000), {"": [5, 5, 205, 305, 405]}),
    "padding that differs": (
        padded({0: -2000, 1: -3000}, 5, each=lambda k: {"PixelPaddingValue": -3000 if k == 1 else -2000}),
        {"": [6, 6, 205, 305, 405]},
    ),
    "black and white exchanged in all of an MR": (
        series(Modality="MR", SOPClassUID=MR, PhotometricInterpretation="MONOCHROME1"),
        {"": HUNDREDS},
    ),
    # text
    "an unknown character set": (series(SpecificCharacterSet="ISO_IR 999", SeriesDescription="a"), {"": HUNDREDS}),
}


@pytest.mark.parametrize(("write", "expected"), ROWS.values(), ids=ROWS)
def test_right_or_refused_by_name(tmp_path: Path, write: Callable[[Path], Any], expected: Any) -> None:
    write(tmp_path)
    options = DicomOptions(resample_tilt=True, allow_gaps=True)
    found = find_series(tmp_path).series
    if isinstance(expected, dict):
        answers = {one.volume_name: read_volume(one, options).image.array[0, :, 0, 0].tolist() for one in found}
        assert answers == expected
        return
    (one,) = found
    with pytest.raises(DataError, match=str(tmp_path)) as caught:
        read_volume(one, options)
    named = [problem.kind for problem in one.open_problems(options)]
    assert named == expected or expected[0] in caught.value.message
