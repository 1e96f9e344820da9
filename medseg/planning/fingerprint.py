"""The fingerprint of a data set: sizes, spacings, structures and intensities, from the pass over its files.

It holds what nnU-Net v2's `fingerprint_extractor.py` finds, without its random sampling.
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
from medseg.plans.sections import Intensity

_MOST_SHOWN = 3


@dataclass(frozen=True)
class Fingerprint:
    """What planning knows about a data set.

    Attributes:
        orientation: axis order of the vectors, `canonical` or as `stored`.
        channels: names, in order.
        cases: facts of the cases that could be read, in the data set's order.
        intensities: foreground statistics of each channel.
        errors: what is wrong with the cases that were left out.
    """

    orientation: Literal["canonical", "stored"]
    channels: tuple[str, ...]
    cases: list[CaseFacts]
    intensities: list[Intensity]
    errors: list[Finding]

    @property
    def problems(self) -> dict[str, str]:
        """Id of each case that was left out -> why."""
        return errors_by_case(self.errors)

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


def fingerprint_of(found: Survey, data: DataSet, orientation: Literal["canonical", "stored"]) -> Fingerprint:
    """The fingerprint that a pass over the files of `data` amounts to.

    Raises:
        DataError: no case can be used, or no case has foreground.
    """
    if not found.cases:
        problems = errors_by_case(found.errors)
        shown = "\n".join(f"{id}: {why}" for id, why in list(problems.items())[:_MOST_SHOWN])
        raise DataError(f"None of the cases in {data.folder} can be used ({len(problems)}). The first:\n{shown}")
    samples = [sample for sample in found.samples if sample]
    if not samples:
        values = ", ".join(map(str, sorted({value for facts in found.cases for value in facts.voxels})))
        raise DataError(
            f"None of the label files in {data.folder} ({len(found.cases)}) marks anything: they hold only what stands "
            f"for background or is ignored ({values}).",
            "Check that they are masks, and the right ones; if one of these values is a structure: --map 255=1.",
        )
    intensities = [pool_intensities(channel) for channel in zip(*samples, strict=True)]
    return Fingerprint(orientation, data.channels, found.cases, intensities, found.errors)
