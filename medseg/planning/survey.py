"""The one pass over the files of a data set, which collects what planning and checking need to know of each case.

Every file is read once; a case that cannot be used becomes an error that names it, and never ends the pass.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medseg.core.case import Case
from medseg.core.errors import MedsegError
from medseg.core.image import Orientation, nonzero_box, whole_box
from medseg.core.labels import NO_BACKGROUND, Labels
from medseg.core.progress import Callback, silent, track
from medseg.core.wording import first_few
from medseg.engines.engine import HERE, Engine
from medseg.io.dicom.elements.modality import modalities_of
from medseg.io.layouts.dataset import DataSet
from medseg.io.load import load_case
from medseg.io.values.label_values import refuse_soft
from medseg.planning.content import CaseContent, case_content
from medseg.planning.extents import Extent, extents
from medseg.planning.findings import Finding, finding_of
from medseg.planning.intensity import ChannelSample, sample_channel, values_kept
from medseg.plans.sections.reading import Reading

_LARGEST_COUNTED_VALUE = 65535
"""Larger label values are counted by sorting: a table as long as the largest value would claim too much memory."""
_COUNTED_AT_ONCE = 1 << 20
"""Voxels counted at a time: numpy's bincount works on a copy with 8 bytes per voxel."""


@dataclass(frozen=True)
class CaseFacts:
    """The facts that the pass collects on one case; axes (z, y, x) in the orientation that the plan uses.

    Attributes:
        id: id of the case.
        spacing_mm: distance of voxels, in mm; in pixels if the spacing is unknown.
        spacing_known: whether the files store the spacing.
        shape_voxels: shape of the whole image.
        cropped_voxels: shape of its nonzero box, see `nonzero_box`.
        voxel_ml: volume of a voxel in ml; None if the spacing is unknown.
        voxels: label value -> number of voxels that have it, the background included.
        grid_difference_voxels: the largest distance of a channel's or the label's grid from that of the image.
        resampled: whether the label map lay on another grid and was brought to that of the image.
        notes: oddities in the headers of its files, see `Image`.
        content: figures on its voxels, to compare cases by.
        extents: label value -> how far its voxels extend and where they lie; the background and what is ignored are
            left out.
    """

    id: str
    spacing_mm: tuple[float, float, float]
    spacing_known: bool
    shape_voxels: tuple[int, int, int]
    cropped_voxels: tuple[int, int, int]
    voxel_ml: float | None
    voxels: dict[int, int]
    grid_difference_voxels: float
    resampled: bool
    notes: tuple[str, ...]
    content: CaseContent
    extents: dict[int, Extent] = field(default_factory=dict)

    @property
    def relative_size(self) -> float:
        """Share of the voxels that the crop to the nonzero box leaves."""
        return prod(self.cropped_voxels) / prod(self.shape_voxels)


@dataclass(frozen=True)
class Survey:
    """The result of the pass over the files of a data set.

    Attributes:
        cases: facts on the cases that could be read, in the data set's order.
        samples: for each of them, a summary of the foreground intensities of each channel; empty without foreground.
        errors: findings on the cases that cannot be used.
    """

    cases: list[CaseFacts]
    samples: list[list[ChannelSample]]
    errors: list[Finding]

    @property
    def notes(self) -> list[str]:
        """A sentence on the label maps that were resampled, if any were."""
        ids = [facts.id for facts in self.cases if facts.resampled]
        if not ids:
            return []
        count = f"{len(ids)} of {len(self.cases)}"
        return [f"label maps brought to the grid of their scan: {count} ({first_few(ids)})"]

    def without(self, findings: Collection[Finding]) -> Survey:
        """Return the survey without the cases that findings leave out; these findings are added to its errors."""
        ids = {facts.id for facts in self.cases}
        errors = [finding for finding in findings if finding.severity == "error" and finding.case in ids]
        left_out = {finding.case for finding in errors}
        usable = [index for index, facts in enumerate(self.cases) if facts.id not in left_out]
        return Survey(
            [self.cases[index] for index in usable],
            [self.samples[index] for index in usable],
            [*self.errors, *errors],
        )


def survey(
    data: DataSet,
    orientation: Literal["canonical", "stored"],
    callback: Callback = silent,
    engine: Engine = HERE,
) -> Survey:
    """Read every case of a data set once and collect what planning and checking need.

    Args:
        data: the data set.
        orientation: axis order of spacings and shapes: `canonical`, or `stored` as in the files.
        callback: told of the progress, as stage `fingerprint`.
        engine: reads the cases.

    Returns:
        The facts on all cases; a case that cannot be used is among the errors.
    """
    examine = partial(
        _examine,
        n_channels=len(data.channels),
        labels=data.labels,
        ignore=data.ignore if data.labels is None else data.labels.ignore,
        reading=data.reading,
        orientation=orientation,
        background=data.background_value,
        kept=values_kept(len(data.cases), len(data.channels)),
    )
    surveyed = Survey([], [], [])
    for case, result in track(engine.map(examine, data.cases), "fingerprint", len(data.cases), callback):
        if isinstance(result, MedsegError):
            surveyed.errors.append(finding_of(result, case))
        else:
            surveyed.cases.append(result[0])
            surveyed.samples.append(result[1])
    return surveyed


def _examine(
    case: Case,
    n_channels: int,
    labels: Labels | None,
    ignore: int | None,
    reading: Reading,
    orientation: str,
    background: int,
    kept: int,
) -> tuple[CaseFacts, list[ChannelSample]]:
    """Return the facts on one case, and a summary of the foreground of each channel: none if it has no foreground."""
    loaded = load_case(case, n_channels, reading, labels)
    image, label = loaded.image, loaded.label.array[0]
    foreground = label != background
    voxels = _count_values(label, foreground, background)
    if labels is not None:
        labels.check_values(voxels, str(case.label))
    else:
        refuse_soft(loaded.label.array, str(case.label))
    if ignore in voxels:
        foreground &= label != ignore
    stored = Orientation.of(image)
    applied = stored if orientation == "canonical" else Orientation()
    box = whole_box(image.array) if background == NO_BACKGROUND else nonzero_box(image.array)
    depth, height, width = (extent.stop - extent.start for extent in box)
    values = [channel[foreground] for channel in image.array]
    samples = _foreground_samples(image.array, foreground, box, values, kept)
    axes = _axis_names(stored) if image.spacing_known else ""
    facts = CaseFacts(
        id=case.id,
        spacing_mm=applied.permute(image.spacing_mm),
        spacing_known=image.spacing_known,
        shape_voxels=applied.permute(image.shape_zyx),
        cropped_voxels=applied.permute((depth, height, width)),
        voxel_ml=image.voxel_volume_ml,
        voxels=voxels,
        grid_difference_voxels=loaded.grid_difference_voxels,
        resampled=loaded.resampled,
        notes=(*image.notes, *image.warnings, *loaded.label.notes),
        content=case_content(image.array, foreground, values, samples, axes, modalities_of(image)),
        extents=extents(loaded.label, foreground, applied),
    )
    return facts, samples


def _foreground_samples(
    image: NDArray,
    foreground: NDArray[np.bool_],
    box: tuple[slice, slice, slice],
    values: Sequence[NDArray],
    kept: int,
) -> list[ChannelSample]:
    """Return a summary of each channel's foreground within the nonzero box, as nnU-Net crops first; [] without any."""
    if foreground[box].shape != foreground.shape:
        foreground = foreground[box]
        values = [channel[box][foreground] for channel in image]
    return [sample_channel(intensities, kept) for intensities in values] if values[0].size else []


def _axis_names(orientation: Orientation) -> str:
    """Return where the stored axes x, y and z run to, such as RAS."""
    names = {
        stored: ("IPL" if flip else "SAR")[canonical]
        for canonical, (stored, flip) in enumerate(zip(orientation.axes, orientation.flips, strict=True))
    }
    return names[2] + names[1] + names[0]


def _count_values(label: NDArray[np.integer], foreground: NDArray[np.bool_], background: int) -> dict[int, int]:
    """Return label value -> number of its voxels; `foreground` is where the value is not that of the background."""
    inside = label[foreground]
    voxels = {background: label.size - inside.size} if inside.size < label.size else {}
    if not inside.size:
        return voxels
    if inside.min() < 0 or inside.max() > _LARGEST_COUNTED_VALUE:
        values, counts = np.unique(inside, return_counts=True)
        return dict(sorted((voxels | dict(zip(values.tolist(), counts.tolist(), strict=True))).items()))
    counts = np.zeros(int(inside.max()) + 1, dtype=np.int64)
    for start in range(0, inside.size, _COUNTED_AT_ONCE):
        counts += np.bincount(inside[start : start + _COUNTED_AT_ONCE], minlength=counts.size)
    return dict(sorted((voxels | {int(value): int(counts[value]) for value in np.flatnonzero(counts)}).items()))
