"""Load a case: its files as one image and one label map, after a check that they lie on one grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.image import Image, describe_grid_difference
from medseg.core.labels import Labels
from medseg.core.outside import refuse_nan_as_structure, without_nan
from medseg.io.annotations.coco import split_reference
from medseg.io.dicom.elements.options import DicomOptions
from medseg.io.formats.gz import unpacked_size
from medseg.io.formats.stack import Stack
from medseg.io.formats.table import is_dicom
from medseg.io.images import AS_STORED, narrow_floats, read_label, read_stack
from medseg.io.scan_path import scan_path
from medseg.io.several_files import files_of
from medseg.io.values.regrid import resample_nearest
from medseg.plans.sections.reading import Reading

_MOST_OUTSIDE = 0.01
"""Share of a label's structures that may lie where the scan is NaN."""


@dataclass(frozen=True)
class LoadedCase:
    """A case with its label.

    Attributes:
        image: (channel, z, y, x), finite.
        label: (1, z, y, x) whole numbers on the same grid.
        grid_difference_voxels: the largest distance of a file's grid from that of the image, at its corners.
        resampled: whether the label lay on another grid and was resampled to this one.
    """

    image: Image
    label: Image
    grid_difference_voxels: float
    resampled: bool


def load_case(
    case: Case, n_channels: int | None, reading: Reading = AS_STORED, labels: Labels | None = None
) -> LoadedCase:
    """Read a case with its label, and measure how far apart the grids of its files are.

    Args:
        case: its files.
        n_channels: the number of channels expected; None accepts any.
        reading: what the user said about the files.
        labels: the structures, if they are known. A label that is resampled and does not cover the whole scan is
            completed with their ignore value, or else with their background.

    Returns:
        The image and the label map, on one grid.

    Raises:
        DataError: as `load_case_image` and `load_case_label`.
    """
    image, distance_voxels, outside = _load_image(case, n_channels, reading)
    label, resampled = load_case_label(case, image, reading, labels)
    if outside is not None:
        _check_outside(case, label, outside, labels)
    if not resampled:
        distance_voxels = max(distance_voxels, image.grid_difference_voxels(label))
    return LoadedCase(image, label, distance_voxels, resampled)


def load_case_image(case: Case, n_channels: int | None, reading: Reading = AS_STORED) -> Image:
    """Read all channels of a case as (channel, z, y, x) on the grid of its first file that knows its spacing.

    Several volumes in a file (4D) are channels if that many are expected; of a time series, `reading.frame` chooses.

    Args:
        case: its files.
        n_channels: the number of channels expected; None accepts any.
        reading: what the user said about the files.

    Returns:
        The image, finite.

    Raises:
        DataError: a file cannot be read, holds NaN within the scan or infinity, lies on another grid, or the number of
            channels is not `n_channels`.
    """
    return _load_image(case, n_channels, reading)[0]


def load_files(files: Sequence[str | Path], n_channels: int, reading: Reading = AS_STORED) -> Image:
    """Load a scan from its files, or the studies of one series that stand for them, as `load_case_image` does.

    Args:
        files: one for each channel, or one with all of them.
        n_channels: number of channels that the scan must have.
        reading: which volume of a time series is the scan.

    Returns:
        The scan, its channels in the order of the files.

    Raises:
        DataError: no file is given, one cannot be read, or the channels do not fit together.
    """
    if not files:
        raise DataError("A scan was given as an empty list; expected its files, in the order of the channels.")
    case = Case(str(files[0]), "", tuple(scan_path(Path(file)) for file in files))
    return load_case_image(case, n_channels, reading)


def load_grid(case: Case, reading: Reading = AS_STORED) -> Image | None:
    """Return the grid of a case's scan; the pixels of a DICOM series are not read.

    Args:
        case: its files.
        reading: what the user said about the files.

    Returns:
        An image of which only the grid counts; None for a case without a scan.

    Raises:
        DataError: the scan cannot be read.
    """
    if not case.channels:
        return None
    if is_dicom(case.channels[0]):
        from medseg.io.dicom.listing.locate import series_at  # loaded only for DICOM
        from medseg.io.dicom.pixels.volume import series_grid

        return series_grid(series_at(case.channels[0]), DicomOptions.of(reading))
    return _load_image(case, None, reading)[0]


def size_in_memory(path: Path) -> int:
    """Return about how many bytes a scan takes once it is read, judged by its header.

    Raises:
        OSError: the file is not there.
        DataError: the DICOM series is not there.
    """
    if is_dicom(path):
        from medseg.io.dicom.pixels.volume import series_bytes  # loaded only for DICOM

        return series_bytes(path)
    return unpacked_size(path)


def first_look(case: Case, reading: Reading = AS_STORED) -> Image:
    """Read the image of a case without declared channels: pages beside a label of one page are taken for channels.

    Args:
        case: its files.
        reading: what the user said about the files.

    Returns:
        The image, finite.

    Raises:
        DataError: as `load_case_image`, or the file holds a time series of which `reading` chooses no frame.
    """
    image = load_case_image(case, None, reading)
    if len(case.channels) > 1:
        return image
    stack = read_stack(case.channels[0], reading=reading)
    if stack.in_time and reading.frame is None:
        _refuse_count(case, [stack], [image], 1, reading)
    pages = stack.pages_as_channels()
    if pages is not None and case.label is not None and _is_flat(case.label):
        return narrow_floats(pages)
    return image


def _is_flat(label: Path) -> bool:
    """Return whether a label is one slice deep; annotations drawn on pictures always are."""
    return bool(split_reference(label)) or read_stack(files_of(label)[0], mask=True).array.shape[2] == 1


def _load_image(case: Case, n_channels: int | None, reading: Reading) -> tuple[Image, float, NDArray[np.bool_] | None]:
    """Read the image, and measure the largest distance of a channel's grid from it in voxels.

    Returns:
        The image, the distance, and (z, y, x) where every channel was NaN; None where there is no such voxel.
    """
    stacks = [read_stack(path, reading=reading) for path in case.channels]
    images = [
        narrow_floats(stack.image(path, reading.frame)) for path, stack in zip(case.channels, stacks, strict=True)
    ]
    pages = stacks[0].pages_as_channels() if len(stacks) == 1 else None
    if pages is not None and pages.array.shape[0] == n_channels:
        images = [narrow_floats(pages)]
    main = next((number for number, image in enumerate(images) if image.spacing_known), 0)
    for path, image in zip(case.channels, images, strict=True):
        _check_grid(case, images[main], case.channels[main], image, path, "channel grid")
    finite = [without_nan(image, str(path)) for path, image in zip(case.channels, images, strict=True)]
    images = [image for image, _ in finite]
    masks = [mask for _, mask in finite if mask is not None]
    outside = np.logical_and.reduce(masks) if len(masks) == len(images) else None
    count = sum(image.array.shape[0] for image in images)
    if n_channels is not None and count != n_channels:
        _refuse_count(case, stacks, images, n_channels, reading)
    if len(images) == 1:
        return images[0], 0.0, outside
    array = np.concatenate([image.array for image in images])
    distance_voxels = max(images[main].grid_difference_voxels(image) for image in images)
    merged = images[main].with_array(array.astype(np.float32) if array.dtype.kind == "f" else array)
    records = {f"channel {number}": image.record for number, image in enumerate(images) if image.record}
    notes = tuple(note for image in images for note in image.notes)
    warnings = tuple(text for image in images for text in image.warnings)
    return replace(merged, notes=notes, warnings=warnings, record=records), distance_voxels, outside


def _check_outside(case: Case, label: Image, outside: NDArray[np.bool_], labels: Labels | None) -> None:
    """Refuse a label that marks structures outside of the scan.

    Args:
        case: its files.
        label: (1, z, y, x) label values.
        outside: (z, y, x) where no channel was measured.
        labels: the structures, if they are known; else every value but 0 is one.

    Raises:
        DataError: more than a hundredth of what is labelled lies there. Less is the rim of a mask.
    """
    nothing = [0] if labels is None else [value for value in (labels.background, labels.ignore) if value is not None]
    marked = ~np.isin(label.array[0], nothing)
    total, there = np.count_nonzero(marked), np.count_nonzero(marked & outside)
    if there > _MOST_OUTSIDE * total:
        files = ", ".join(str(path) for path in case.channels)
        raise DataError(
            f"Case {case.id}: {there:,} of the {total:,} voxels that {case.label} marks as structures are NaN in "
            f"{files}.",
            "NaN at the edge of the grid is read as outside of the scan, where nothing can be seen: look at both.",
            "not finite",
        )


def load_weight_map(case: Case, image: Image) -> NDArray[np.float32] | None:
    """Read the weight of each voxel of a case in the loss.

    Args:
        case: its files.
        image: the scan, whose grid the map has to have.

    Returns:
        (z, y, x) numbers of 0 or more; None where the case has no map.

    Raises:
        DataError: the map cannot be read, has several channels, lies on another grid, or holds what is no weight.
    """
    path = case.weight_map
    if path is None:
        return None
    weights = read_stack(path).image(path, None)
    if len(weights.array) != 1:
        raise DataError(
            f"Case {case.id}: the weight map {path} has {len(weights.array)} channels; expected one.",
            "Save it as an image of one number for each voxel.",
        )
    _check_grid(case, image, case.channels[0], weights, path, "weight map grid")
    array = weights.array[0].astype(np.float32)
    if not (np.isfinite(array).all() and array.min() >= 0):
        raise DataError(
            f"Case {case.id}: the weight map {path} holds values that are negative or no numbers.",
            "Expected weights of 0 or more: 1 is the usual weight of a voxel, 0 leaves it out.",
        )
    return array


def load_case_label(
    case: Case, image: Image, reading: Reading = AS_STORED, labels: Labels | None = None
) -> tuple[Image, bool]:
    """Read the label map of a case, whole numbers with the meaning that `reading` gives them.

    Args:
        case: its files.
        image: the scan that the label map has to fit.
        reading: what the user said about the files.
        labels: as in `load_case`.

    Returns:
        (1, z, y, x) on the grid of the image, and whether the label map was resampled to it.

    Raises:
        DataError: the case has no label, or it cannot be read, or lies on another grid than the image and
            `reading.resample_labels` is not set.
    """
    if case.label is None:
        raise DataError(f"Case {case.id} has no label file.", kind="missing label")
    if is_dicom(case.label) and is_dicom(case.channels[0]):
        from medseg.io.dicom.labels.frames_of_reference import check_frame_of_reference  # loaded only for DICOM
        from medseg.io.dicom.listing.locate import series_at

        check_frame_of_reference(case.label, series_at(case.channels[0]))
    label = read_label(case.label, reading, image)
    refuse_nan_as_structure(label, labels, str(case.label))
    if image.same_grid(label) or not (reading.resample_labels and image.spacing_known and label.spacing_known):
        _check_grid(case, image, case.channels[0], label, case.label, "label grid")
        return label, False
    background = outside = 0
    if labels is not None:
        outside = labels.unlabelled_value(str(case.label))
        background = outside if labels.background is None else labels.background
    resampled = resample_nearest(label, image, outside)
    if (label.array != background).any() and np.isin(resampled.array, (background, outside)).all():
        raise DataError(
            f"Case {case.id}: nothing of {case.label} is left after resampling it to the grid of {case.channels[0]}: "
            f"{describe_grid_difference(image, label)}.",
            "One of the two headers is wrong, or the label belongs to another scan: look at both in a viewer.",
            "label grid",
        )
    return resampled, True


def _check_grid(case: Case, image: Image, path: Path, other: Image, other_path: Path, kind: str) -> None:
    """Refuse two images that lie on different grids; `kind` is that of the error."""
    if image.same_grid(other):
        return
    hint = "Resample one onto the grid of the other (do not just copy the header), or correct the wrong header."
    if kind == "label grid" and image.spacing_known and other.spacing_known:
        hint = (
            "If both headers are right, --resample-labels brings label maps to the grid of their scan by nearest "
            "neighbour; else correct the wrong header."
        )
    raise DataError(
        f"Case {case.id}: {path} and {other_path} lie on different grids: {describe_grid_difference(image, other)}.",
        hint,
        kind,
    )


def _refuse_count(case: Case, stacks: list[Stack], images: list[Image], expected: int, reading: Reading) -> None:
    """Raise the error for a case with another number of channels than expected."""
    count = sum(image.array.shape[0] for image in images)
    files = ", ".join(str(path) for path in case.channels)
    holds = f"Case {case.id}: {files} hold{'s' * (len(images) == 1)}"
    volumes = max(stack.array.shape[0] for stack in stacks)
    if volumes > 1 and reading.frame is None and sum(stack.array.shape[1] for stack in stacks) == expected:
        in_time = any(stack.in_time for stack in stacks)
        raise DataError(
            f"{holds} {volumes} volumes{', a time series' * in_time}; expected {expected} "
            f"channel{'s' * (expected != 1)}.",
            f"Choose a point in time with --frame, 0 to {volumes - 1}; if the volumes are channels, name them in a "
            "dataset.json (channel_names).",
            "other channels",
        )
    raise DataError(
        f"{holds} {count} channel{'s' * (count != 1)}; expected {expected}.",
        "Give the channels as CASE_0000, CASE_0001, ... or in one file (RGB, or the fourth dimension).",
        "other channels",
    )
