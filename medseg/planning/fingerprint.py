"""The fingerprint of a data set: sizes, spacings, structures and intensities, from one pass over its files.

It holds what nnU-Net v2's `fingerprint_extractor.py` finds, without its random sampling.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medseg.case import Case
from medseg.errors import DataError, MedsegError
from medseg.image import Orientation, nonzero_box
from medseg.io.dataset import DataSet
from medseg.io.load import load_case_image, load_case_label
from medseg.labels import Labels
from medseg.parallel import map_cases
from medseg.planning.intensity import ChannelSample, pool_intensities, sample_channel
from medseg.progress import Callback, silent, track
from medseg.sections import Intensity

_MOST_SHOWN = 3
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
    """

    id: str
    spacing_mm: tuple[float, float, float]
    spacing_known: bool
    shape_voxels: tuple[int, int, int]
    cropped_voxels: tuple[int, int, int]
    voxel_ml: float | None
    voxels: dict[int, int]

    @property
    def relative_size(self) -> float:
        """Voxels after the crop over voxels before."""
        return prod(self.cropped_voxels) / prod(self.shape_voxels)


@dataclass(frozen=True)
class Fingerprint:
    """What planning knows about a data set.

    Attributes:
        orientation: axis order of the vectors, `canonical` or as `stored`.
        channels: names, in order.
        cases: facts of the cases that could be read, in the data set's order.
        intensities: foreground statistics of each channel.
        problems: id of each case that was left out -> why.
    """

    orientation: Literal["canonical", "stored"]
    channels: tuple[str, ...]
    cases: list[CaseFacts]
    intensities: list[Intensity]
    problems: dict[str, str]

    @property
    def relative_size(self) -> float:
        """Median over the cases of the voxels after the crop over those before."""
        return float(np.median([case.relative_size for case in self.cases]))

    @property
    def spacing_known(self) -> bool:
        """Whether every file says how large a voxel is."""
        return all(case.spacing_known for case in self.cases)

    @property
    def is_2d(self) -> bool:
        """Whether every case is one slice deep, along the same axis."""
        return bool((np.array([case.shape_voxels for case in self.cases]) == 1).all(axis=0).any())

    @property
    def values(self) -> list[int]:
        """Label values seen, sorted."""
        return sorted({value for case in self.cases for value in case.voxels})

    def structures_of(self, labels: Labels) -> dict[str, set[str]]:
        """The structures that are present in each case, by id."""
        return {
            case.id: {name for name, values in labels.members.items() if not case.voxels.keys().isdisjoint(values)}
            for case in self.cases
        }


def take_fingerprint(
    data: DataSet,
    orientation: Literal["canonical", "stored"],
    callback: Callback = silent,
    executor: Executor | None = None,
) -> Fingerprint:
    """Read every case once and note what planning needs.

    A case that cannot be used is named in `problems` and left out.

    Raises:
        DataError: no case can be used, or no case has foreground.
    """
    examine = partial(_examine, n_channels=len(data.channels), labels=data.labels, orientation=orientation)
    facts: list[CaseFacts] = []
    samples: list[list[ChannelSample]] = []
    problems: dict[str, str] = {}
    results = map_cases(examine, data.cases, executor=executor)
    for case, result in track(results, "fingerprint", len(data.cases), callback):
        if isinstance(result, MedsegError):
            problems[case.id] = str(result)
        else:
            facts.append(result[0])
            samples.append(result[1])
    if not facts:
        shown = "\n".join(f"{id}: {why}" for id, why in list(problems.items())[:_MOST_SHOWN])
        raise DataError(f"None of the {len(problems)} cases in {data.folder} can be used. The first:\n{shown}")
    samples = [sample for sample in samples if sample]
    if not samples:
        raise DataError(
            f"None of the {len(facts)} label files in {data.folder} marks anything: they hold only the background.",
            "Check that they are masks, and the right ones.",
        )
    intensities = [pool_intensities(channel) for channel in zip(*samples, strict=True)]
    return Fingerprint(orientation, data.channels, facts, intensities, problems)


def _examine(
    case: Case, n_channels: int, labels: Labels | None, orientation: str
) -> tuple[CaseFacts, list[ChannelSample]]:
    """Facts of one case, and a sample of the foreground of each channel: none if it has no foreground."""
    image = load_case_image(case, n_channels)
    label = load_case_label(case, image)
    voxels = _count_values(label.array)
    if labels is not None:
        labels.check_values(voxels, str(case.label))
    turn = Orientation.of(image) if orientation == "canonical" else Orientation()
    box = nonzero_box(image.array)
    depth, height, width = (part.stop - part.start for part in box)
    facts = CaseFacts(
        id=case.id,
        spacing_mm=turn.permute(image.spacing_mm),
        spacing_known=image.spacing_known,
        shape_voxels=turn.permute(image.shape_zyx),
        cropped_voxels=turn.permute((depth, height, width)),
        voxel_ml=image.voxel_volume_ml,
        voxels=voxels,
    )
    inside = label.array[0][box]
    foreground = inside != (0 if labels is None else labels.background)
    if labels is not None and labels.ignore is not None:
        foreground &= inside != labels.ignore
    if not foreground.any():
        return facts, []
    return facts, [sample_channel(channel[box][foreground]) for channel in image.array]


def _count_values(array: NDArray[np.integer]) -> dict[int, int]:
    """How often each value occurs."""
    flat = array.reshape(-1)
    if flat.min() < 0 or flat.max() > _MOST_BINS:
        values, counts = np.unique(flat, return_counts=True)
        return dict(zip(values.tolist(), counts.tolist(), strict=True))
    counts = np.zeros(int(flat.max()) + 1, dtype=np.int64)
    for start in range(0, flat.size, _BLOCK):  # bincount works on a copy with 8 bytes per voxel
        counts += np.bincount(flat[start : start + _BLOCK], minlength=counts.size)
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
