"""One pass over the files of a data set: what planning and checking have to know of each case.

Every file is read once; a case that cannot be used becomes an error that names it, and never ends the pass.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medseg.core.case import Case
from medseg.core.errors import MedsegError
from medseg.core.image import Orientation, nonzero_box
from medseg.core.labels import Labels
from medseg.core.parallel import map_cases
from medseg.core.progress import Callback, silent, track
from medseg.io.layouts.dataset import DataSet
from medseg.io.load import load_case
from medseg.io.values.label_values import refuse_soft
from medseg.planning.content import CaseContent, look_at
from medseg.planning.findings import Finding, finding_of
from medseg.planning.intensity import ChannelSample, sample_channel
from medseg.plans.sections import Reading

_MOST_SHOWN = 5
_MOST_BINS = 65535
_BLOCK = 1 << 20


@dataclass(frozen=True)
class CaseFacts:
    """What was found in one case; axes z, y, x in the fingerprint's orientation.

    Attributes:
        id: the case.
        spacing_mm: distance of voxels; in pixels where the spacing is unknown.
        spacing_known: whether the format says it.
        shape_voxels: size of the whole image.
        cropped_voxels: size of the box around what is not zero in every channel.
        voxel_ml: volume of a voxel; None where the spacing is unknown.
        voxels: how many voxels have each label value, the background included.
        grid_difference_voxels: the largest distance of a channel's or label's grid from that of the image.
        resampled: whether the label lay on another grid and was brought to that of the image.
        notes: what is odd in the headers of its files, see `Image`.
        content: what the voxels look like, to be compared with other cases.
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

    @property
    def relative_size(self) -> float:
        """Voxels after the crop over voxels before."""
        return prod(self.cropped_voxels) / prod(self.shape_voxels)


@dataclass(frozen=True)
class Survey:
    """What one pass over the files of a data set found.

    Attributes:
        cases: facts of the cases that could be read, in the data set's order.
        samples: foreground intensities of each of them by channel; none for a case without foreground.
        errors: what is wrong with the other cases.
    """

    cases: list[CaseFacts]
    samples: list[list[ChannelSample]]
    errors: list[Finding]

    @property
    def notes(self) -> list[str]:
        """A sentence on the label maps that were resampled, if any were."""
        ids = [facts.id for facts in self.cases if facts.resampled]
        shown = ", ".join(ids[:_MOST_SHOWN]) + ", ..." * (len(ids) > _MOST_SHOWN)
        return (
            [f"label maps brought to the grid of their scan: {len(ids)} of {len(self.cases)} ({shown})"] if ids else []
        )

    def without(self, findings: Collection[Finding]) -> Survey:
        """Less those of its cases in which one of these findings is an error, which is added to the known ones."""
        own = {facts.id for facts in self.cases}
        errors = [one for one in findings if one.severity == "error" and one.case in own]
        out = {one.case for one in errors}
        kept = [number for number, facts in enumerate(self.cases) if facts.id not in out]
        return Survey(
            [self.cases[number] for number in kept], [self.samples[number] for number in kept], [*self.errors, *errors]
        )


def survey(
    data: DataSet,
    orientation: Literal["canonical", "stored"],
    callback: Callback = silent,
    executor: Executor | None = None,
) -> Survey:
    """Read every case once and note what planning and checking need; what cannot be used becomes an error."""
    examine = partial(
        _examine,
        n_channels=len(data.channels),
        labels=data.labels,
        ignore=data.ignore if data.labels is None else data.labels.ignore,
        reading=data.reading,
        orientation=orientation,
    )
    found = Survey([], [], [])
    results = map_cases(examine, data.cases, executor=executor)
    for case, result in track(results, "fingerprint", len(data.cases), callback):
        if isinstance(result, MedsegError):
            found.errors.append(finding_of(result, case))
        else:
            found.cases.append(result[0])
            found.samples.append(result[1])
    return found


def _examine(
    case: Case, n_channels: int, labels: Labels | None, ignore: int | None, reading: Reading, orientation: str
) -> tuple[CaseFacts, list[ChannelSample]]:
    """Facts of one case, and a sample of the foreground of each channel: none if it has no foreground."""
    loaded = load_case(case, n_channels, reading, labels)
    image, label = loaded.image, loaded.label.array[0]
    background = 0 if labels is None else labels.background
    marked = label != background
    voxels = _count_values(label, marked, background)
    if labels is not None:
        labels.check_values(voxels, str(case.label))
    else:
        refuse_soft(loaded.label.array, str(case.label))
    if ignore in voxels:
        marked &= label != ignore
    turn = Orientation.of(image)
    kept = turn if orientation == "canonical" else Orientation()
    box = nonzero_box(image.array)
    depth, height, width = (part.stop - part.start for part in box)
    values = [channel[marked] for channel in image.array]
    samples = _samples(image.array, marked, box, values)
    facts = CaseFacts(
        id=case.id,
        spacing_mm=kept.permute(image.spacing_mm),
        spacing_known=image.spacing_known,
        shape_voxels=kept.permute(image.shape_zyx),
        cropped_voxels=kept.permute((depth, height, width)),
        voxel_ml=image.voxel_volume_ml,
        voxels=voxels,
        grid_difference_voxels=loaded.grid_difference_voxels,
        resampled=loaded.resampled,
        notes=(*image.notes, *loaded.label.notes),
        content=look_at(image.array, marked, values, samples, _axes(turn) if image.spacing_known else ""),
    )
    return facts, samples


def _samples(
    image: NDArray, marked: NDArray[np.bool_], box: tuple[slice, slice, slice], values: Sequence[NDArray]
) -> list[ChannelSample]:
    """Foreground intensities in the box around what is not zero; none where there are none."""
    if marked[box].shape != marked.shape:
        marked = marked[box]
        values = [channel[box][marked] for channel in image]
    return [sample_channel(inside) for inside in values] if values[0].size else []


def _axes(turn: Orientation) -> str:
    """Where the stored axes x, y and z run to, such as RAS."""
    names = {
        axis: ("IPL" if flip else "SAR")[place]
        for place, (axis, flip) in enumerate(zip(turn.axes, turn.flips, strict=True))
    }
    return names[2] + names[1] + names[0]


def _count_values(label: NDArray[np.integer], marked: NDArray[np.bool_], background: int) -> dict[int, int]:
    """How often each value occurs; `marked` is where it is not the background."""
    inside = label[marked]
    voxels = {background: label.size - inside.size} if inside.size < label.size else {}
    if not inside.size:
        return voxels
    if inside.min() < 0 or inside.max() > _MOST_BINS:
        values, counts = np.unique(inside, return_counts=True)
        return dict(sorted((voxels | dict(zip(values.tolist(), counts.tolist(), strict=True))).items()))
    counts = np.zeros(int(inside.max()) + 1, dtype=np.int64)
    for start in range(0, inside.size, _BLOCK):  # bincount works on a copy with 8 bytes per voxel
        counts += np.bincount(inside[start : start + _BLOCK], minlength=counts.size)
    return dict(sorted((voxels | {int(value): int(counts[value]) for value in np.flatnonzero(counts)}).items()))
