"""Draws which patches are trained on: case, position, rotation and scale of every sample.

Randomness is counter-based: a sample depends on seed, step and number alone. The distributions are those of nnU-Net v2
(`data_loader.py`, `compute_initial_patch_size.py`, `spatial.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, radians, sin

import numpy as np
from numpy.typing import NDArray

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.plans.schema import Configuration
from medseg.plans.sections.training import Training
from medseg.preprocessing.cache import Sample

_SHRINK = 0.85
"""Smallest scale that nnU-Net makes room for (`compute_initial_patch_size.py`)."""
_SMALLEST = 1e-12


@dataclass(frozen=True)
class Draw:
    """Where one sample is taken from.

    Attributes:
        case: index of the case.
        start: (z, y, x) of the unrotated patch's first voxel; may lie outside of the volume.
        matrix: 3x3 from offsets in the patch to offsets in the volume, both in voxels from the centre;
            None where the patch is neither rotated nor scaled.
        mirrored: (z, y, x), which axes of the patch are reversed at the end.
    """

    case: int
    start: tuple[int, int, int]
    matrix: NDArray[np.float64] | None
    mirrored: tuple[bool, bool, bool] = (False, False, False)


def generator(seed: int, step: int, number: int) -> np.random.Generator:
    """Return the source of randomness of one sample, which is the same in every process.

    Args:
        seed: the seed of the plan.
        step: the training step, 0-based.
        number: the number of the sample in its batch, 0-based.
    """
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, number, step]))


def check_weights(cases: Sequence[Case]) -> None:
    """Refuse training cases of which none is learnt from.

    Args:
        cases: the cases to train on.

    Raises:
        DataError: all cases have the weight 0, in the sampling or in the loss.
    """
    if any(case.is_learnt_from for case in cases):
        return
    if any(case.weight > 0 for case in cases):
        raise DataError(
            "Every training case that is drawn has the loss_weight 0.",
            "Give at least one a positive loss_weight in cases.csv.",
        )
    raise DataError("Every training case has the weight 0.", "Give at least one a positive weight in cases.csv.")


class Sampler:
    """Draws cases, positions, rotations and scales.

    Args:
        samples: training cases.
        configuration: patch, batch size and limits of the rotation.
        training: share of patches that are centred on a structure, on which ones, and probabilities.
        structure_weights: how often patches are centred on each structure; empty for equally often in each case.

    Raises:
        DataError: all cases have the weight 0, in the sampling or in the loss.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        configuration: Configuration,
        training: Training,
        structure_weights: Sequence[float] = (),
    ) -> None:
        self.samples = samples
        self.configuration = configuration
        self.augmentation = training.augmentation
        self.patch = np.array(configuration.patch_zyx)
        self.reach = _reach(self.patch, configuration)
        self.forced_from = round(configuration.batch_size * (1 - training.foreground_fraction))
        check_weights([sample.case for sample in samples])
        weights = np.array([sample.case.weight for sample in samples], dtype=np.float64)
        self.cumulative = np.cumsum(_shares(samples, weights))
        self.by_structure = _by_structure(samples, weights, structure_weights) if any(structure_weights) else None

    def draw(self, random: np.random.Generator, number: int) -> Draw:
        """Draw a sample.

        Args:
            random: the random numbers of the sample.
            number: the number of the sample in its batch; the last ones are centred on structures.

        Returns:
            The case, and the position, rotation and scale of the patch.
        """
        forced = number >= self.forced_from
        structure = None
        cumulative = self.cumulative
        if forced and self.by_structure is not None:
            structure = _pick(self.by_structure.cumulative, random)
            cumulative = self.by_structure.cases[structure]
        case = _pick(cumulative, random)
        sample = self.samples[case]
        shape = np.array(sample.label.shape)
        # as nnU-Net does, a patch may stick out by half of what rotation needs, or of what the case is too small by
        spare = np.maximum(self.reach - self.patch, self.reach - shape)
        lowest = -spare // 2  # rounded away from zero, as in nnU-Net: the range is symmetric
        highest = shape + spare // 2 + spare % 2 - self.reach
        centre = self._centre(sample, random, forced, structure)
        start = random.integers(lowest, np.maximum(highest, lowest) + 1)
        if centre is not None:
            start = np.maximum(lowest, centre - self.reach // 2)
        start = start + (self.reach - self.patch) // 2  # from the enlarged patch to the patch in its middle
        z, y, x = (int(first) for first in start)
        return Draw(case, (z, y, x), self._matrix(random), self._mirrored(random))

    def _centre(
        self, sample: Sample, random: np.random.Generator, forced: bool, structure: int | None
    ) -> NDArray[np.int64] | None:
        """Choose a voxel to centre on: of a structure, or any annotated one; None for any position."""
        present = [voxels for voxels in sample.locations if len(voxels)]
        if structure is not None:
            voxels = sample.locations[structure]
        elif forced and present:
            voxels = present[random.integers(len(present))]
        elif len(sample.annotated):
            voxels = sample.annotated
        else:
            return None
        return np.array(np.unravel_index(int(voxels[random.integers(len(voxels))]), sample.label.shape))

    def _matrix(self, random: np.random.Generator) -> NDArray[np.float64] | None:
        """Draw rotation and scale; all numbers are drawn in any case, so that what follows does not depend on them."""
        augmentation = self.augmentation
        rotate = random.random() < augmentation.rotation_probability
        scale = random.random() < augmentation.scaling_probability
        angles = [random.uniform(-limit, limit) for limit in self.configuration.rotation_degrees]
        low, high = augmentation.scaling_range
        factor = random.uniform(low, high)
        if not (rotate or scale):
            return None
        matrix = rotation(angles if rotate else [0.0] * len(angles))
        zoom = [factor if scale else 1.0] * 3
        if self.configuration.in_plane_only:
            zoom[0] = 1.0
        return matrix @ np.diag(zoom)

    def _mirrored(self, random: np.random.Generator) -> tuple[bool, bool, bool]:
        first = 3 - self.configuration.dimensions  # of the axes that mirror_axes counts
        allowed = [axis - first in self.configuration.mirror_axes for axis in range(3)]
        z, y, x = (bool(may and chance < 0.5) for may, chance in zip(allowed, random.random(3), strict=True))
        return z, y, x


@dataclass(frozen=True)
class _ByStructure:
    """Draws the structure and case of patches that are centred on structures, where the plan weighs structures.

    Attributes:
        cumulative: (structures,) cumulative probability of each structure.
        cases: for each structure, (cases,) the cumulative probability of each case.
    """

    cumulative: NDArray[np.float64]
    cases: list[NDArray[np.float64]]


def _by_structure(
    samples: Sequence[Sample], weights: NDArray[np.float64], structure_weights: Sequence[float]
) -> _ByStructure | None:
    """Return how structures and then cases are drawn; None where no case that is drawn has one with a weight."""
    present = np.array([[len(voxels) > 0 for voxels in sample.locations] for sample in samples])
    by_case = present * weights[:, None]
    chances = np.array(structure_weights) * (by_case.sum(0) > 0)
    if not chances.any():
        return None
    cases = [np.cumsum(column / max(column.sum(), _SMALLEST)) for column in by_case.T]
    return _ByStructure(np.cumsum(chances / chances.sum()), cases)


def _pick(cumulative: NDArray[np.float64], random: np.random.Generator) -> int:
    """Draw an index by cumulative probabilities; rounding never draws one of probability 0."""
    last = int(np.searchsorted(cumulative, cumulative[-1]))
    return min(int(np.searchsorted(cumulative, random.random(), side="right")), last)


def _shares(samples: Sequence[Sample], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how often each case is drawn: as its weight says.

    Where cases are partly labelled, every structure is drawn equally often with a case in which it was annotated.
    """
    if all(sample.structures is None for sample in samples):
        return weights / weights.sum()
    every = np.ones(len(samples[0].locations))
    known = np.array([every if sample.structures is None else sample.structures.numpy() for sample in samples])
    weighted = known * weights[:, None]
    if not weighted.any():  # validation cases may be such that nothing was annotated in any of them
        return weights / weights.sum()
    by_structure = weighted / np.maximum(weighted.sum(0), _SMALLEST)
    return by_structure.sum(1) / by_structure.sum()


def rotation(degrees: Sequence[float]) -> NDArray[np.float64]:
    """Return the 3x3 matrix that rotates (z, y, x) offsets about z, then y, then x.

    Args:
        degrees: an angle for each axis; a single one rotates in the slice plane.
    """
    matrix = np.eye(3)
    for axis, angle in enumerate(degrees):
        c, s = cos(radians(angle)), sin(radians(angle))
        first, second = (other for other in range(3) if other != axis)
        about_axis = np.eye(3)
        about_axis[[first, first, second, second], [first, second, first, second]] = c, -s, s, c
        matrix = about_axis @ matrix
    return matrix


def _reach(patch: NDArray[np.int64], configuration: Configuration) -> NDArray[np.int64]:
    """Return the size of the box that a rotated and enlarged patch may touch: nnU-Net draws positions for it."""
    largest = patch.astype(np.float64)
    for axis, limit in enumerate(configuration.rotation_degrees):
        matrix = np.abs(rotation([0.0] * axis + [min(limit, 90.0)]))
        largest = np.maximum(largest, matrix @ patch)
    reach = (largest / _SHRINK).astype(np.int64)
    if configuration.in_plane_only:
        reach[0] = patch[0]
    return reach
