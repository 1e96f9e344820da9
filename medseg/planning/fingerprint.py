"""The fingerprint of a data set: sizes, spacings, structures and intensities, which planning starts from.

It holds what nnU-Net v2 extracts (`dataset_fingerprint/fingerprint_extractor.py`), without its random sampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from medseg.core.errors import DataError
from medseg.core.labels import Labels
from medseg.io.layouts.dataset import DataSet
from medseg.planning.findings import Finding, errors_by_case
from medseg.planning.intensity import pool_intensities
from medseg.planning.survey import CaseFacts, Survey
from medseg.plans.sections.data import Intensity

_MOST_NAMED = 3


@dataclass(frozen=True)
class Fingerprint:
    """The facts on a data set that planning starts from.

    Attributes:
        orientation: axis order of the vectors: `canonical`, or `stored` as in the files.
        channels: names of the channels, in order.
        cases: facts on the cases that could be read, in the data set's order.
        intensities: foreground statistics of each channel.
        errors: findings on the cases that were left out.
    """

    orientation: Literal["canonical", "stored"]
    channels: tuple[str, ...]
    cases: list[CaseFacts]
    intensities: list[Intensity]
    errors: list[Finding]

    @property
    def problems(self) -> dict[str, str]:
        """Id of each case that was left out -> the reason."""
        return errors_by_case(self.errors)

    @property
    def relative_size(self) -> float:
        """Share of the voxels that the crop to the nonzero box leaves, median over the cases."""
        return float(np.median([case.relative_size for case in self.cases]))

    @property
    def spacing_known(self) -> bool:
        """Whether every file stores the size of its voxels."""
        return all(case.spacing_known for case in self.cases)

    @property
    def is_2d(self) -> bool:
        """Whether every case is one slice deep, along the same axis."""
        return bool((np.array([case.shape_voxels for case in self.cases]) == 1).all(axis=0).any())

    @property
    def values(self) -> list[int]:
        """All values that occur in label files, sorted."""
        return sorted({value for case in self.cases for value in case.voxels})

    def structures_of(self, labels: Labels) -> dict[str, set[str]]:
        """Return id of each case -> the structures that are present in it."""
        return {
            case.id: {name for name, values in labels.members.items() if not case.voxels.keys().isdisjoint(values)}
            for case in self.cases
        }


def fingerprint_of(surveyed: Survey, data: DataSet, orientation: Literal["canonical", "stored"]) -> Fingerprint:
    """Return the fingerprint of a data set.

    Args:
        surveyed: the result of the pass over its files.
        data: the data set.
        orientation: axis order of the vectors in `surveyed`.

    Raises:
        DataError: no case can be used, or no case has foreground.
    """
    if not surveyed.cases:
        problems = errors_by_case(surveyed.errors)
        first = "\n".join(f"{id}: {reason}" for id, reason in list(problems.items())[:_MOST_NAMED])
        raise DataError(f"None of the cases in {data.folder} can be used ({len(problems)}). The first:\n{first}")
    samples = [sample for sample in surveyed.samples if sample]
    if not samples:
        values = ", ".join(map(str, sorted({value for facts in surveyed.cases for value in facts.voxels})))
        raise DataError(
            f"None of the {len(surveyed.cases)} label files in {data.folder} marks anything: they hold only values of "
            f"the background or of ignored voxels ({values}).",
            "Check that they are masks, and the right ones; if one of these values is a structure: --map 255=1.",
        )
    intensities = [pool_intensities(channel) for channel in zip(*samples, strict=True)]
    return Fingerprint(orientation, data.channels, surveyed.cases, intensities, surveyed.errors)
