"""Draw voxels of an out-of-fold answer, so that a temperature is fitted to all cases in little memory.

Nearly all voxels of a scan are background that a network is sure of, and rightly: a temperature that suits them would
be fitted to them alone. So voxels count only where a structure has a probability of at least 0.01. Two strata of these
are drawn from: uncertain voxels, most of which lie at borders, and those that surely belong to a structure. Each drawn
voxel has the weight of the voxels that it stands for, so that weighted means over the sample have the expectation of
means over all voxels that count (stratified sampling, Horvitz and Thompson 1952). Which voxels count, and which stratum
they are of, follows from the probabilities alone: what is true must not decide it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from medseg.core.labels import IGNORE, Labels

LEAST_PROBABILITY = 0.01
"""Voxels count where a structure has at least this, before calibration."""
MOST_UNCERTAIN, MOST_CERTAIN = 20_000, 5_000
"""Voxels that are drawn of a case at most from each stratum."""
MOST_VALUES = 20_000_000
"""Logits of all cases together; cases give fewer voxels where there are more of them, or many structures."""
_SMALLEST = 1e-7
"""Probabilities are at least this: what float16 and rounding make of smaller ones would have no logarithm."""


class Values(Protocol):
    """An array, or what is indexed like one: it may lie on disk, or be a mean that is taken where it is read."""

    def __getitem__(self, key: Any, /) -> Any: ...


@dataclass(frozen=True)
class VoxelSample:
    """Voxels of one case, drawn as the module says.

    Attributes:
        case: id of the case.
        group: what is left out together when a fit is tested: the fold that answered the case.
        logits: (answers, voxels) float32. With softmax an answer is the background or a structure, and these are
            logarithms of probabilities; with sigmoid an answer is a structure, and these are log-odds.
        truth: (structures, voxels), whether the reference says that the voxel belongs to the structure.
        weight: (voxels,) how many voxels of the scan each one stands for.
    """

    case: str
    group: str
    logits: NDArray[np.float32]
    truth: NDArray[np.bool_]
    weight: NDArray[np.float64]


def voxels_per_case(labels: Labels, cases: int) -> tuple[int, int]:
    """Return how many voxels are drawn of a case from each stratum, uncertain ones first.

    Args:
        labels: the structures.
        cases: how many cases there are.
    """
    share = min(1.0, MOST_VALUES / (labels.outputs * max(cases, 1) * (MOST_UNCERTAIN + MOST_CERTAIN)))
    return max(1, int(MOST_UNCERTAIN * share)), max(1, int(MOST_CERTAIN * share))


def sample_voxels(
    probabilities: Values,
    target: NDArray[np.integer],
    labels: Labels,
    case: str,
    group: str,
    most: tuple[int, int] = (MOST_UNCERTAIN, MOST_CERTAIN),
) -> VoxelSample:
    """Draw voxels of a case; the same ones each time.

    Args:
        probabilities: (structures, z, y, x) in the order of `labels.names`, which are read plane by plane.
        target: (z, y, x) label indices as `Labels.encode` returns them; voxels to ignore are not drawn.
        labels: the structures.
        case: id of the case, which decides the draw.
        group: its fold.
        most: voxels of the uncertain stratum and of the other one.

    Returns:
        The voxels that were drawn: their logits, their structures in the reference, and their weights.
    """
    # by the id alone, so that the draw does not depend on the order of cases
    random = np.random.default_rng(crc32(case.encode()))
    strata = np.zeros(target.shape, np.uint8)  # 0: not drawn from
    for number, indices in enumerate(target):
        values = np.asarray(probabilities[:, number], np.float32)
        counted = (values >= LEAST_PROBABILITY).any(axis=0) & (indices != IGNORE)
        unsure = ((values >= LEAST_PROBABILITY) & (values <= 1 - LEAST_PROBABILITY)).any(axis=0)
        strata[number] = np.where(counted, np.where(unsure, 1, 2), 0)
    chosen, weights = [], []
    for stratum, count in enumerate(most, start=1):
        members = np.flatnonzero(strata == stratum)
        drawn = random.choice(members, count, replace=False) if len(members) > count else members
        chosen.append(np.sort(drawn))
        # each drawn voxel stands for as many of its stratum, so that sums over the draw are those over the scan
        weights.append(np.full(len(drawn), len(members) / max(len(drawn), 1)))
    voxels = np.unravel_index(np.concatenate(chosen), target.shape)
    drawn_values = np.asarray(probabilities[(slice(None), *voxels)], np.float32)
    return VoxelSample(
        case, group, logits_of(drawn_values, labels), membership(target[voxels], labels), np.concatenate(weights)
    )


def membership(indices: NDArray[np.integer], labels: Labels) -> NDArray[np.bool_]:
    """Return (structures, ...), whether each voxel belongs to each structure.

    Args:
        indices: (...) label indices; those below 0 (`IGNORE`, `OUTSIDE`) belong to none.
        labels: the structures.
    """
    members = labels.membership.copy()
    if labels.background is None:
        members[:, 0] = False
    return members[:, np.maximum(indices, 0)] & (indices >= 0)


def logits_of(probabilities: NDArray[np.floating], labels: Labels) -> NDArray[np.float32]:
    """Return the logits (answers, ...) that have given probabilities, up to what softmax takes away.

    Args:
        probabilities: (structures, ...).
        labels: say whether structures exclude each other, and whether there is a background.

    >>> labels = Labels(structures={"a": 1})
    >>> np.exp(logits_of(np.array([[0.25]]), labels)).round(4).tolist()
    [[0.75], [0.25]]
    """
    values = np.asarray(probabilities, np.float64)
    if labels.activation == "sigmoid":
        values = np.clip(values, _SMALLEST, 1 - _SMALLEST)
        return (np.log(values) - np.log1p(-values)).astype(np.float32)
    if labels.background is not None:
        values = np.concatenate([1 - values.sum(axis=0, keepdims=True), values])
    logs: NDArray[np.float32] = np.log(np.maximum(values, _SMALLEST)).astype(np.float32)
    return logs


def groups_of(samples: Sequence[VoxelSample]) -> list[str]:
    """Return the group of each sample; where all are of one fold, five groups by the ids of the cases.

    Args:
        samples: those of all cases.
    """
    groups = [sample.group for sample in samples]
    return groups if len({*groups}) > 1 else [str(crc32(sample.case.encode()) % 5) for sample in samples]
