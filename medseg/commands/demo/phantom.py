"""Make a phantom data set for `medseg demo`: abdomens with six organs, from shapes, noise and a seed.

Each case is one atlas of ellipsoids, posed, deformed and jittered at random, and sampled on its own grid as a magnetic
resonance scan would be: partial volume, texture, a bias field, Rician noise. Organs share intensities with each other,
and gut, stomach and vessels look like organs, so that no threshold finds them. The affine is RAS, and what is called
right does lie on the patient's right.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import MedsegError
from medseg.core.files import write_json
from medseg.core.image import Image
from medseg.core.machine.parallel import map_cases
from medseg.core.progress import Callback, silent, track
from medseg.io.images import write_label

STRUCTURES = ("liver", "spleen", "kidney_left", "kidney_right", "spine", "aorta")
"""The structures in the order of their values, 1 to 6."""

TRAINING_PER_TEST = 4
"""Training cases for each test case."""

_LONG = 400.0  # mm: a radius along z that makes a cylinder
_LARGEST_MOVABLE = 60.0  # mm: along an axis with a larger radius (body, vessels) a part is neither moved nor scaled
_EDGE_MM, _FAR = 1.6, 30.0  # width of the blurred edge of a part; exponent above which a voxel is outside for sure
_SIZE_JITTER, _CENTRE_JITTER_MM, _BRIGHTNESS_JITTER = 0.07, 2.5, 0.025  # standard deviations between cases
_BUMPS, _WARP_MM = 0.08, 4.0  # of a part's surface, as a share of its radius; of the whole body
_BIAS, _TEXTURE, _NOISE = 0.1, 0.045, 0.025  # standard deviations, relative to the brightness of 1


@dataclass(frozen=True)
class _Part:
    """An ellipsoid of the atlas.

    Attributes:
        centre: in mm along (z, y, x), towards S, A and R.
        radii: in mm along (z, y, x).
        brightness: from 0 (air) to 1.
        structure: its label; None for none.
        lean: shift towards R, in mm per mm of height.
        within: a structure painted before, inside which this part stays.
    """

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    brightness: float
    structure: str | None = None
    lean: float = 0.0
    within: str | None = None


# In painting order: a later part covers an earlier one. The midpoint of the body is (0, 0, 0).
_ATLAS = (
    _Part((0, 0, 0), (_LONG, 88, 112), 0.30),  # skin and fat
    _Part((0, -2, 0), (_LONG, 76, 99), 0.42),  # muscle
    _Part((0, 4, 0), (_LONG, 66, 90), 0.26),  # fat within
    _Part((0, -64, 30), (_LONG, 11, 22), 0.42),  # muscles of the back
    _Part((0, -64, -30), (_LONG, 11, 22), 0.42),
    _Part((-60, -38, 30), (58, 14, 13), 0.42, lean=-0.12),  # psoas
    _Part((-60, -38, -30), (58, 14, 13), 0.42, lean=0.12),
    _Part((98, -8, 50), (50, 56, 42), 0.06),  # lungs
    _Part((98, -8, -50), (50, 56, 42), 0.06),
    _Part((80, 18, -20), (32, 30, 34), 0.80),  # heart
    _Part((-48, 32, 46), (24, 20, 26), 0.48),  # gut
    _Part((-58, 26, -4), (22, 18, 22), 0.56),
    _Part((-40, 30, -46), (24, 22, 24), 0.44),
    _Part((-34, 4, -66), (36, 14, 13), 0.52),
    _Part((20, 22, -42), (28, 26, 26), 0.38),  # stomach
    _Part((-8, 4, -6), (9, 9, 36), 0.62),  # pancreas
    _Part((-32, -40, 54), (44, 25, 26), 0.90, "kidney_right", lean=-0.15),
    _Part((-32, -34, 40), (14, 7, 12), 0.30),  # fat at the hilum
    _Part((-22, -40, -55), (44, 25, 26), 0.90, "kidney_left", lean=0.15),
    _Part((-22, -34, -41), (14, 7, 12), 0.30),
    _Part((32, -24, -70), (40, 34, 22), 0.76, "spleen", lean=0.1),
    _Part((30, 4, 50), (50, 48, 44), 0.64, "liver"),
    _Part((38, 26, 4), (25, 25, 50), 0.64, "liver"),
    _Part((30, 4, 40), (40, 6, 6), 0.85, "liver", lean=0.4, within="liver"),  # a vein
    _Part((-8, 24, 46), (17, 12, 12), 0.18),  # gall bladder
    _Part((0, -68, 0), (_LONG, 7, 9), 0.16),  # spinal canal
    _Part((0, -44, 0), (_LONG, 19, 22), 0.52, "spine"),
    _Part((0, -20, 17), (_LONG, 8, 11), 0.92),  # vena cava
    _Part((0, -17, -10), (_LONG, 12, 12), 1.00, "aorta"),
)


def make_phantom(folder: Path, cases: int, seed: int, callback: Callback = silent) -> None:
    """Write a data set as nnU-Net v2 lays it out: `imagesTr`, `labelsTr`, and a test set in `imagesTs`, `labelsTs`.

    The same seed gives the same files, and a case does not depend on how many there are.

    Args:
        folder: where to write; files of the same names are replaced.
        cases: training cases; for every four of them there is a test case, and at least one.
        seed: any number of 0 or more.
        callback: told of the progress; may raise `Cancelled`.
    """
    folder = Path(folder)
    total = cases + max(1, cases // TRAINING_PER_TEST)

    def make(number: int) -> None:
        scan, label = phantom_case(seed, number)
        name, subset = f"abdomen_{number + 1:03d}", "Tr" if number < cases else "Ts"
        write_label(folder / f"images{subset}" / f"{name}_0000.nii.gz", scan)
        write_label(folder / f"labels{subset}" / f"{name}.nii.gz", label)

    for _, failure in track(map_cases(make, range(total)), "phantom", total, callback):
        if isinstance(failure, MedsegError):
            raise failure
    description = {
        "channel_names": {"0": "MR"},
        "labels": {"background": 0, **{name: value for value, name in enumerate(STRUCTURES, start=1)}},
        "numTraining": cases,
        "file_ending": ".nii.gz",
        "description": f"Phantom abdomens of medseg demo, made with seed {seed}; no patient's data.",
    }
    write_json(folder / "dataset.json", description)


def phantom_case(seed: int, number: int) -> tuple[Image, Image]:
    """Return scan and label map of one case, (1, z, y, x) of whole numbers, about 27 x 56 x 64 voxels of 6 x 4 x 4 mm.

    Args:
        seed: the seed of the data set.
        number: the number of the case.
    """
    rng = np.random.default_rng((seed, number))
    shape, affine = _grid(rng)
    position = _position(rng, shape, affine)
    brightness = np.full(shape, 0.02, dtype=np.float32)
    values = np.zeros(shape, dtype=np.uint8)
    contrast = {name: rng.normal(0, _BRIGHTNESS_JITTER) for name in STRUCTURES}
    for part in _ATLAS:
        inside = _inside(rng, part, position)
        if part.within:
            inside *= values == STRUCTURES.index(part.within) + 1
        shift = contrast[part.structure] if part.structure else rng.normal(0, 1.5 * _BRIGHTNESS_JITTER)
        brightness += inside * (part.brightness + shift - brightness)
        values[inside > 0.5] = STRUCTURES.index(part.structure) + 1 if part.structure else 0
    scan = _scan(rng, brightness)
    return Image(scan[np.newaxis], affine), Image(values[np.newaxis], affine)


def _grid(rng: np.random.Generator) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Return shape and RAS affine; three in four cases share a spacing, the others come from another protocol."""
    spacing_zyx = np.array([6.0, 4.0, 4.0])
    if rng.random() < 0.25:
        spacing_zyx = np.array([rng.choice([5.0, 7.0]), *[rng.choice([3.5, 4.5])] * 2])
    extent_mm = np.array([160.0, 222.0, 256.0]) * rng.uniform(0.93, 1.07, 3)
    z, y, x = np.rint(extent_mm / spacing_zyx).astype(int).tolist()
    affine = np.diag([*spacing_zyx[::-1], 1.0])
    affine[:3, 3] = -(np.array([x, y, z]) - 1) / 2 * spacing_zyx[::-1]
    return (z, y, x), affine


def _position(
    rng: np.random.Generator, shape: tuple[int, int, int], affine: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return where in the atlas each voxel lies, (3, z, y, x) in mm along (z, y, x): the pose undone, and warped."""
    x_y_z = [affine[axis, axis] * np.arange(size) + affine[axis, 3] for axis, size in enumerate(shape[::-1])]
    grid = np.stack(np.meshgrid(*x_y_z[::-1], indexing="ij")).astype(np.float32)
    grid -= (rng.normal(0, 1, 3) * (8, 4, 4)).reshape(3, 1, 1, 1)
    pose = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(rng.normal(0, (5, 2, 2)))):
        i, j = (other for other in range(3) if other != axis)
        turn = np.eye(3)
        turn[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        pose = pose @ turn
    pose = pose / rng.uniform(0.92, 1.06, 3)
    position = np.tensordot(pose.astype(np.float32), grid, 1)
    for axis in range(3):
        position[axis] += _WARP_MM * _smooth_field(rng, shape, 5)
    return position


def _inside(rng: np.random.Generator, part: _Part, position: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the share of each voxel, (z, y, x), that a jittered, bumpy copy of a part fills."""
    movable = np.array(part.radii) < _LARGEST_MOVABLE
    centre = (np.array(part.centre) + movable * rng.normal(0, _CENTRE_JITTER_MM, 3)).tolist()
    radii = (np.array(part.radii) * np.exp(movable * rng.normal(0, _SIZE_JITTER, 3))).tolist()
    z, y, x = (position[axis] - centre[axis] for axis in range(3))
    x -= part.lean * z
    radius = np.sqrt((z / radii[0]) ** 2 + (y / radii[1]) ** 2 + (x / radii[2]) ** 2)
    if part.structure is not None:
        radius += _BUMPS * _smooth_field(rng, radius.shape, 8)
    steepness = sum(sorted(radii)[:2]) / 2 / _EDGE_MM  # turns a radius relative to the surface into widths of the edge
    return 1 / (1 + np.exp(np.minimum((radius - 1) * steepness, _FAR)))


def _scan(rng: np.random.Generator, brightness: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return brightness as a scanner would measure it, on an arbitrary scale, as in MR."""
    from scipy.ndimage import gaussian_filter

    grain = gaussian_filter(rng.standard_normal(brightness.shape, dtype=np.float32), 1.0)
    signal = brightness * (1 + _TEXTURE * grain / grain.std())
    signal *= np.exp(_BIAS * _smooth_field(rng, brightness.shape, 3))
    real, imaginary = _NOISE * rng.standard_normal((2, *brightness.shape), dtype=np.float32)
    return np.rint(rng.uniform(600, 1400) * np.hypot(signal + real, imaginary)).astype(np.uint16)


def _smooth_field(rng: np.random.Generator, shape: tuple[int, ...], waves: int) -> NDArray[np.float32]:
    """Return a random field of mean 0 and standard deviation 1: a sum of cosines, up to `waves` half-waves per axis."""
    coefficients = rng.normal(0, 1, (waves,) * 3) / (1 + sum(np.ogrid[:waves, :waves, :waves]))
    coefficients[0, 0, 0] = 0
    field = coefficients.astype(np.float32)
    for size in shape:
        centres = (np.arange(size) + 0.5) / size
        waveforms = np.cos(np.pi * np.outer(centres, np.arange(waves))).astype(np.float32)
        field = np.moveaxis(field, 0, -1) @ waveforms.T
    return (field - field.mean()) / field.std()
