"""`medseg info`: what a file holds, and what medseg would take it for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.checking.scan_intensities import looks_like_labels
from medseg.core.image import Image
from medseg.core.wording import counted
from medseg.io.formats.named.segment import Segment
from medseg.io.formats.stack import Stack
from medseg.io.formats.table import is_dicom, says_sides, split_suffix
from medseg.io.images import header_notes, read_stack
from medseg.io.scan_path import scan_path
from medseg.io.values.named_values import may_name_values, named_values
from medseg.planning.content import value_pattern

_PERCENTS = (1, 50, 99)


@dataclass(frozen=True)
class LabelValue:
    """A value of a label map.

    Attributes:
        value: the number in the file.
        name: what the file calls it; empty if it says nothing.
        voxels: how many voxels have it.
        volume_ml: their volume; None if the spacing is unknown, or for a 2D image.
    """

    value: int
    name: str
    voxels: int
    volume_ml: float | None


@dataclass(frozen=True)
class FileInfo:
    """The content of a file: grid, values, names, and how medseg reads it.

    Attributes:
        path: the file, or a DICOM series (`FOLDER#KEY`).
        format: its suffix, or DICOM.
        shape_zyx: voxels along z, y and x.
        volumes: how many volumes it holds: points in time, or directions of diffusion.
        components: how many values each voxel has: colours, or a vector.
        dtype: the type of its values after scaling.
        spacing_mm: distance of voxels along z, y and x; None where the file does not say it.
        axes: where the stored axes x, y and z run to, such as RAS; empty where the file does not say it.
        low: the smallest finite value; None if there is none.
        high: the largest finite value; likewise.
        percentiles: {percent: value} of the finite values.
        not_finite: how many values are NaN or infinite.
        labels: the values of what looks like a label map, with the names that the file gives them; empty for a scan.
        read_as: in words, what medseg takes the file for.
        notes: what is odd about it although it can be read, in sentences.
    """

    path: Path
    format: str
    shape_zyx: tuple[int, int, int]
    volumes: int
    components: int
    dtype: str
    spacing_mm: tuple[float, float, float] | None
    axes: str
    low: float | None
    high: float | None
    percentiles: Mapping[int, float]
    not_finite: int
    labels: tuple[LabelValue, ...]
    read_as: str
    notes: tuple[str, ...] = field(default=())


def info(path: str | Path) -> FileInfo:
    """Return what a scan or a label file holds: its grid, its values, and what medseg takes it for.

    Args:
        path: a file, a DICOM series (`FOLDER#KEY`, as `medseg series` lists them), or a study with one series.

    Raises:
        DataError: the file is missing, damaged or of an unknown format, or the path is any other folder.
    """
    path = scan_path(Path(path))
    named = not is_dicom(path) and may_name_values(path)
    segments = named_values(path) if named else []
    return _describe(path, read_stack(path, mask=bool(segments)), segments)


def _describe(path: Path, stack: Stack, segments: Sequence[Segment]) -> FileInfo:
    """Return the facts on a stack of volumes; `segments` are the names that the file gives to its values."""
    volumes, components, *_ = stack.array.shape
    grid = Image(stack.array[0], stack.affine, stack.spacing_known)
    values = stack.array.reshape(-1)
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    labels = _labels(grid, stack.array, segments) if finite.size == values.size else ()
    percents = np.percentile(finite, _PERCENTS).tolist() if finite.size else ()
    return FileInfo(
        path=path,
        format="DICOM" if is_dicom(path) else split_suffix(path)[1],
        shape_zyx=grid.shape_zyx,
        volumes=volumes,
        components=components,
        dtype=str(stack.array.dtype),
        spacing_mm=grid.spacing_mm if stack.spacing_known else None,
        axes=grid.axes if stack.spacing_known and says_sides(path) else "",
        low=float(finite.min()) if finite.size else None,
        high=float(finite.max()) if finite.size else None,
        percentiles=dict(zip(_PERCENTS, percents, strict=bool(percents))),
        not_finite=values.size - finite.size,
        labels=labels,
        read_as=_read_as(path, stack, bool(labels)),
        notes=(*stack.notes, *(note for note in header_notes(path) if not _is_repeated(note, stack.notes))),
    )


def _is_repeated(note: str, notes: Sequence[str]) -> bool:
    """Return whether a note is among notes that begin with the name of a file, which it lacks itself."""
    return any(named.endswith(note) for named in notes)


def _labels(grid: Image, array: NDArray, segments: Sequence[Segment]) -> tuple[LabelValue, ...]:
    """Return the values of what looks like a label map, of layers the structures in them; () for a scan."""
    volumes, components, *_ = array.shape
    voxel_ml = grid.voxel_volume_ml if grid.shape_zyx[0] > 1 else None

    def labelled(value: int, name: str, voxels: int) -> LabelValue:
        return LabelValue(value, name, voxels, None if voxel_ml is None else voxels * voxel_ml)

    layers = array.reshape(-1, *array.shape[2:])
    if any(segment.layer for segment in segments):
        return tuple(
            labelled(segment.value, segment.name, int((layers[segment.layer] == segment.value).sum()))
            for segment in segments
            if segment.layer < len(layers)
        )
    names = {segment.value: segment.name for segment in segments}
    if volumes * components > 1 or not (names or looks_like_labels(value_pattern(array[0, 0]))):
        return ()
    values, counts = np.unique(array, return_counts=True)
    return tuple(
        labelled(int(value), names.get(int(value), ""), int(count)) for value, count in zip(values, counts, strict=True)
    )


def _read_as(path: Path, stack: Stack, is_label: bool) -> str:
    """Return in words what medseg takes a file for."""
    volumes, components, slices = stack.array.shape[:3]
    kind = "2D image" if slices == 1 else "volume"
    if is_label:
        return f"a label map ({kind}); as a scan it would be warned of"
    if stack.in_time and volumes > 1:
        return f"{volumes} points in time, of which --frame chooses one (a {kind})"
    if volumes > 1:
        return f"{volumes} volumes: channels of one scan where a plan has as many, or --frame chooses one"
    if stack.pages and slices > 1:
        return f"a volume of {slices} slices, or a 2D image of {slices} channels where a plan has as many"
    return f"a scan of {counted(components, 'channel')} ({kind})"
