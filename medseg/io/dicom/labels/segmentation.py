"""Put the frames of a DICOM SEG where their positions say, on the grid of a scan or on one of their own (PS3.3 A.51).

The order of the frames plays no part, and where frames are missing nothing is marked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.grids import LPS_TO_RAS
from medseg.core.image import Image
from medseg.core.wording import counted
from medseg.io.dicom.elements import values as elements
from medseg.io.dicom.elements.dataset import reason_of
from medseg.io.dicom.labels.segmentation_frames import frames_of, grid_of_frames, place_on
from medseg.io.values.overlay import OUTSIDE, Overlay

FRACTION = 0.5
"""Share of MaximumFractionalValue from which on a voxel of a FRACTIONAL segmentation belongs to its segment."""

_EXPORT_AGAIN = "Export it again, on the grid of the series that it belongs to."


def segment_names(dataset: Any) -> dict[int, str]:
    """Return {SegmentNumber: SegmentLabel}, without the background of a label map, which is number 0."""
    names = {
        int(item.SegmentNumber): str(item.get("SegmentLabel", "") or "").strip() or f"segment {int(item.SegmentNumber)}"
        for item in dataset.get("SegmentSequence") or []
    }
    return {number: name for number, name in names.items() if number}


def place_frames(
    dataset: Any, values: Mapping[int, int], grid: Image | None, source: str, fraction: float = FRACTION
) -> tuple[Overlay, Image, list[str]]:
    """Put the frames of segments on a grid.

    Args:
        dataset: the SEG, pixels included.
        values: {segment number: value}; other segments are left out.
        grid: the grid of the scan; if a frame does not lie on its voxels, or it is None, the frames' own grid is taken.
        source: the file, for messages.
        fraction: see `FRACTION`.

    Returns:
        The segments, the grid that they lie on, and remarks in sentences.

    Raises:
        DataError: frames have no positions or make no regular grid, the pixels cannot be decoded, or something is
            marked that the list of segments does not name.
    """
    _check_count(dataset, source)
    if not states_positions(dataset):
        return _on_image(dataset, values, grid, source, fraction)
    every = frames_of(dataset, source)
    _check_named({frame.segment for frame in every if frame.segment is not None}, dataset, source)
    frames = [frame for frame in every if frame.segment is None or frame.segment in values]
    size = int(dataset.Rows), int(dataset.Columns)
    placements = [] if grid is None else [place_on(frame, size, grid) for frame in frames]
    if grid is None or None in placements:
        grid = grid_of_frames(every, size, source)
        placements = [place_on(frame, size, grid) for frame in frames]
    overlay, notes = Overlay(grid.shape_zyx), []
    outside = 0
    numbers = [frame.number for frame in frames]
    for frame, placement, pixels in zip(frames, placements, _pixels(dataset, numbers, source), strict=True):
        if placement is None:
            raise DataError(f"{source}: its frames do not lie on one grid.", _EXPORT_AGAIN, "label grid")
        for segment, mask in _masks(dataset, frame.segment, pixels, values, fraction, source):
            outside += placement.paint(overlay, mask, values[segment])
    notes += _fraction_note(dataset, fraction, source)
    if outside:
        notes.append(f"{source}: {outside} marked voxels lie {OUTSIDE}")
        if not overlay.array.any():
            raise DataError(
                f"{source}: everything that it marks lies outside of the scan.",
                "It belongs to another scan, or to another series of this study.",
                "label grid",
            )
    return overlay, grid, notes


def states_positions(dataset: Any) -> bool:
    """Return whether the frames of a segmentation state a place, in the patient or on a slide.

    That of a radiograph states none: its pixels are those of the image that it refers to (PS3.3 A.51.5).

    Args:
        dataset: the SEG.
    """
    groups = [
        *elements.items(dataset, "SharedFunctionalGroupsSequence"),
        *elements.items(dataset, "PerFrameFunctionalGroupsSequence"),
    ]
    keywords = ("PlanePositionSequence", "PlanePositionSlideSequence", "PlaneOrientationSequence")
    # pixels of a slide are counted through all tiles (PS3.3 C.8.12.14)
    return "TotalPixelMatrixRows" in dataset or any(keyword in group for group in groups for keyword in keywords)


def referenced_images(dataset: Any) -> set[tuple[str, int]]:
    """Return the images that the frames of a segmentation were drawn on, as SOPInstanceUID and number of a frame or 0.

    Args:
        dataset: the SEG.
    """
    groups = [
        *elements.items(dataset, "SharedFunctionalGroupsSequence"),
        *elements.items(dataset, "PerFrameFunctionalGroupsSequence"),
    ]
    derivations = [item for group in groups for item in elements.items(group, "DerivationImageSequence")]
    images = [item for derivation in derivations for item in elements.items(derivation, "SourceImageSequence")]
    return {
        (elements.text(image, "ReferencedSOPInstanceUID"), elements.integer(image, "ReferencedFrameNumber") or 0)
        for image in images
    }


def _on_image(
    dataset: Any, values: Mapping[int, int], grid: Image | None, source: str, fraction: float
) -> tuple[Overlay, Image, list[str]]:
    """Put frames without positions on the image that they were drawn on, pixel by pixel; see `place_frames`.

    Raises:
        DataError: they are of several images, or the scan is not one image of their size.
    """
    count = int(dataset.get("NumberOfFrames") or 1)
    size = int(dataset.Rows), int(dataset.Columns)
    segments = _segments_of(dataset, count, source)
    _check_named({segment for segment in segments if segment is not None}, dataset, source)
    doubled = None not in segments and len({*segments}) < count
    if len(referenced_images(dataset)) > 1 or doubled or (None in segments and count > 1):
        raise DataError(
            f"{source}: its frames do not say where they lie in the patient, and are of several images.",
            _EXPORT_AGAIN,
            "label grid",
        )
    if grid is None:
        grid = _grid_of_pixels(dataset, size)
    if grid.shape_zyx != (1, *size):
        raise DataError(
            f"{source}: its frames do not say where they lie in the patient; expected a scan of one image of {size[0]} "
            f"x {size[1]} pixels (rows x columns), this one has {' x '.join(map(str, grid.shape_zyx))} voxels (z, y, "
            "x).",
            "It belongs to another image, or to another series of this study.",
            "label grid",
        )
    overlay = Overlay(grid.shape_zyx)
    numbers = [number for number, segment in enumerate(segments) if segment is None or segment in values]
    for number, pixels in zip(numbers, _pixels(dataset, numbers, source), strict=True):
        for segment, mask in _masks(dataset, segments[number], pixels, values, fraction, source):
            overlay.paint(overlay.array[0], mask, values[segment])
    return overlay, grid, _fraction_note(dataset, fraction, source)


def _segments_of(dataset: Any, count: int, source: str) -> list[int | None]:
    """Return the segment of each frame; None in a LABELMAP."""
    if str(dataset.get("SegmentationType", "")) == "LABELMAP":
        return [None] * count
    shared = elements.items(dataset, "SharedFunctionalGroupsSequence")[:1]
    per_frame = elements.items(dataset, "PerFrameFunctionalGroupsSequence")
    segments: list[int | None] = []
    for number in range(count):
        groups = [*per_frame[number : number + 1], *shared]
        identification: Any = elements.functional_group(groups, "SegmentIdentificationSequence")
        if identification is None:
            raise DataError(f"{source}: frame {number + 1} does not say which segment it shows.", _EXPORT_AGAIN)
        segments.append(int(identification.ReferencedSegmentNumber))
    return segments


def _grid_of_pixels(dataset: Any, size: tuple[int, int]) -> Image:
    """Return the grid of an image without a position, as of a radiograph: only the size of its pixels may be known."""
    measures = elements.functional_group(
        elements.items(dataset, "SharedFunctionalGroupsSequence")[:1], "PixelMeasuresSequence"
    )
    spacing = None if measures is None else elements.numbers(measures, "PixelSpacing", 2)
    y, x = spacing or (1.0, 1.0)
    affine = LPS_TO_RAS @ np.diag([x, y, 1.0, 1.0])
    return Image(np.broadcast_to(np.uint8(0), (1, 1, *size)), affine, spacing is not None)


def _check_count(dataset: Any, source: str) -> None:
    """Refuse a segmentation that describes another number of frames than it says.

    Raises:
        DataError: it does; some of its frames would be left out.
    """
    stated, described = int(dataset.get("NumberOfFrames") or 1), dataset.get("PerFrameFunctionalGroupsSequence")
    if described and len(described) != stated:
        raise DataError(
            f"{source}: it says that it has {counted(stated, 'frame')} (NumberOfFrames), and describes "
            f"{len(described)}.",
            "It is damaged: copy or export it again.",
            "damaged",
        )


def _check_named(segments: set[int], dataset: Any, source: str) -> None:
    """Refuse segments that the list of segments does not name.

    Raises:
        DataError: there are such segments, which would be background.
    """
    unnamed = sorted(segments - segment_names(dataset).keys())
    if unnamed:
        raise DataError(
            f"{source} marks the segment {unnamed[0]}, which its list of segments (SegmentSequence) does not name.",
            "Export it again: what the segment shows is not known.",
            "unknown label",
        )


def _fraction_note(dataset: Any, fraction: float, source: str) -> list[str]:
    if str(dataset.get("SegmentationType", "")) != "FRACTIONAL":
        return []
    return [f"{source} is fractional: what is at least {fraction:g} of the largest value is the segment"]


def _pixels(dataset: Any, numbers: Sequence[int], source: str) -> Iterator[NDArray]:
    """Yield (row, column) of each of the frames with these numbers, from 0."""
    from pydicom.pixels import iter_pixels

    if not numbers:  # a structure without a voxel has no frame, and to `iter_pixels` an empty list means all frames
        return
    try:
        yield from iter_pixels(dataset, indices=list(numbers), raw=True)
    except Exception as error:  # decoders raise a dozen unrelated types
        raise DataError(f"{source}: its pixels cannot be decoded: {reason_of(error).removesuffix('.')}.") from None


def _masks(
    dataset: Any, frame_segment: int | None, pixels: NDArray, values: Mapping[int, int], fraction: float, source: str
) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Yield the segments in a frame by number, each with its mask (PS3.3 C.8.20.2.3)."""
    kind = str(dataset.get("SegmentationType", ""))
    if frame_segment is None:
        present = np.unique(pixels).tolist()
        background = {0, elements.integer(dataset, "PixelPaddingValue")}
        _check_named({*present} - background, dataset, source)
        for segment in present:
            if segment in values:
                yield segment, pixels == segment
    elif kind == "FRACTIONAL":
        yield frame_segment, pixels >= fraction * float(dataset.get("MaximumFractionalValue") or 255)
    elif kind == "BINARY":
        yield frame_segment, pixels != 0
    else:
        raise DataError(f"{source}: its segments are stored as {kind!r}; expected BINARY, FRACTIONAL or LABELMAP.")
