"""A series that holds several volumes is split by the attribute that differs."""

from __future__ import annotations

import numpy as np
import pytest
from dicom.builders import MR, item, ramp, write_enhanced, write_series

from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.pixels.volume import read_volume


def splits(folder):
    return [one.volume_name for one in find_series(folder).series]


def repeated(folder, times, each, **changes):
    """A series with `times` slices at each of three positions; `each(volume, slice)` gives what differs."""
    array = np.concatenate([ramp(3) + 1000 * volume for volume in range(times)])
    return write_series(
        folder,
        array,
        move=lambda k: (0, 0, 3 * (k % 3)),
        each=lambda k: each(k // 3, k % 3),
        SOPClassUID=MR,
        Modality="MR",
        **changes,
    )


@pytest.mark.parametrize(
    ("each", "names"),
    [
        (lambda v, k: {"DiffusionBValue": 500.0 * v}, ["b=0", "b=500", "b=1000"]),
        (lambda v, k: {"EchoNumbers": v + 1, "EchoTime": 10.0 * v}, ["echo 1", "echo 2", "echo 3"]),
        (lambda v, k: {"EchoTime": 10.0 * v + 5}, ["echo 1", "echo 2", "echo 3"]),
        (lambda v, k: {"TemporalPositionIdentifier": v + 1}, ["time 1", "time 2", "time 3"]),
        (lambda v, k: {"TriggerTime": 40.0 * v + 7 * k}, ["time 1", "time 2", "time 3"]),
        (lambda v, k: {"AcquisitionTime": f"1200{v:02d}.{k:03d}"}, ["time 1", "time 2", "time 3"]),
        (lambda v, k: {"AcquisitionNumber": v + 1}, ["acquisition 1", "acquisition 2", "acquisition 3"]),
        (lambda v, k: {"ImageType": ["ORIGINAL", "PRIMARY", "MPR"[v]]}, ["magnitude", "phase", "real"]),
    ],
)
def test_a_series_is_split_into_volumes_by_the_attribute_that_differs(tmp_path, each, names):
    repeated(tmp_path, 3, each)
    listing = find_series(tmp_path)
    assert [one.volume_name for one in listing.series] == names
    assert len({one.key for one in listing.series}) == 3
    for volume, series in enumerate(listing.series):
        np.testing.assert_array_equal(read_volume(series).image.array[0], ramp(3) + 1000 * volume)


def test_b_values_of_one_vendor_and_directions(tmp_path):
    def each(volume, k):
        direction = [[1, 0, 0], [0, 1, 0], [0, 0, 1]][volume - 1] if volume else None
        found = {"DiffusionBValue": 1000.0 if volume else 0.0}
        return {**found, "DiffusionGradientOrientation": direction} if direction else found

    repeated(tmp_path, 4, each)
    assert splits(tmp_path) == ["b=0", "b=1000, direction 1", "b=1000, direction 2", "b=1000, direction 3"]


def test_slices_that_nothing_tells_apart_stay_together(tmp_path):
    repeated(tmp_path, 2, lambda v, k: {})
    assert splits(tmp_path) == [""]


def test_repetitions_of_one_slice_are_no_volumes(tmp_path):
    write_series(
        tmp_path, move=lambda k: (0, 0, 0), each=lambda k: {"AcquisitionNumber": k, "AcquisitionTime": f"12{k:04d}"}
    )
    (series,) = find_series(tmp_path).series
    assert series.problems[0].message.startswith("no volume: all slices lie at one position")


def test_one_repeated_slice_does_not_split_the_series(tmp_path):
    write_series(tmp_path, move=lambda k: (0, 0, 3 * min(k, 3)), each=lambda k: {"AcquisitionNumber": k + 1})
    (series,) = find_series(tmp_path).series
    assert [problem.kind for problem in series.problems] == ["doubled slices"]


def test_the_more_specific_attribute_is_tried_first(tmp_path):
    """Trace images differ from b=0 in their type, too."""
    kinds = (["DIFFUSION", "NONE"], ["DIFFUSION", "TRACEW"], ["DIFFUSION", "TRACEW"])
    repeated(tmp_path, 3, lambda v, k: {"ImageType": ["ORIGINAL", "PRIMARY", *kinds[v]], "DiffusionBValue": 400.0 * v})
    assert splits(tmp_path) == ["b=0", "b=400", "b=800"]


def test_an_image_type_that_differs_does_not_split_a_volume(tmp_path):
    write_series(tmp_path, each=lambda k: {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", *["ADD"] * (k % 2)]})
    assert splits(tmp_path) == [""]


@pytest.mark.parametrize(
    ("keyword", "values", "names"),
    [
        ("EchoTime", (10.0, 80.0), ["echo 1", "echo 2"]),
        ("ConvolutionKernel", ("B30", "B70"), ["kernel B30", "kernel B70"]),
        ("EchoTime", (80.0, 80.1), [""]),
        ("TriggerTime", (10.0, 80.0), [""]),
    ],
)
def test_contrasts_taken_in_turns_are_split_even_where_positions_differ(tmp_path, keyword, values, names):
    write_series(tmp_path, ramp(8), each=lambda k: {keyword: values[k % 2]})
    assert [one.volume_name for one in find_series(tmp_path).series] == names


def test_stacks_and_times_of_a_multi_frame_file(tmp_path):
    frames = [(stack, time, k) for time in (1, 2) for stack in ("1", "2") for k in range(3)]
    array = np.stack([ramp(3)[k] + 1000 * time + 2000 * int(stack) for stack, time, k in frames])
    write_enhanced(
        tmp_path / "4d",
        array,
        [(0, 0, 3.0 * k) for _, _, k in frames],
        content=lambda n: {
            "StackID": frames[n][0],
            "InStackPositionNumber": frames[n][2] + 1,
            "TemporalPositionIndex": frames[n][1],
        },
    )
    listing = find_series(tmp_path)
    assert [one.volume_name for one in listing.series] == [
        "stack 1, time 1", "stack 1, time 2", "stack 2, time 1", "stack 2, time 2",
    ]  # fmt: skip
    np.testing.assert_array_equal(read_volume(listing.series[2]).image.array[0], ramp(3) + 5000)


def test_b_values_of_a_multi_frame_file(tmp_path):
    array = np.concatenate([ramp(3), ramp(3) + 500])
    write_enhanced(
        tmp_path / "dwi",
        array,
        [(0, 0, 3.0 * (k % 3)) for k in range(6)],
        each=lambda k: {"MRDiffusionSequence": item(DiffusionBValue=800.0 * (k // 3))},
    )
    assert splits(tmp_path) == ["b=0", "b=800"]
