"""A made-up CT, for benchmarks: a body of many structures with texture and noise, fixed seed, nothing downloaded.

Noise matters: without it gzip packs the scan to nothing and reads it in no time.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SHAPE_ZYX = (300, 512, 512)
SPACING_ZYX_MM = (1.5, 0.8, 0.8)
AIR_HU = -1000
NOISE_HU = 20.0
_COARSE = 4


def make_ct(shape: tuple[int, int, int] = SHAPE_ZYX, structures: int = 104, seed: int = 1) -> NDArray[np.int16]:
    """(z, y, x) int16 in HU: an elliptic body in air; within it cells of wavy borders, each of its own density."""
    rng = np.random.default_rng(seed)
    coarse = tuple(-(-size // _COARSE) for size in shape)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in coarse), indexing="ij")).astype(np.float32)
    waves = [ndimage.gaussian_filter(rng.normal(size=coarse).astype(np.float32), 3) for _ in range(3)]
    grid += np.stack([0.03 * wave / wave.std() for wave in waves])
    centres = rng.uniform(-0.6, 0.6, size=(structures, 3)).astype(np.float32)
    nearest = np.full(coarse, np.inf, dtype=np.float32)
    density = np.zeros(coarse, dtype=np.float32)
    for centre, value in zip(centres, rng.uniform(-150, 300, size=structures), strict=True):
        distance = sum((axis - place) ** 2 for axis, place in zip(grid, centre, strict=True))
        closer = distance < nearest
        nearest[closer], density[closer] = distance[closer], value
    density[nearest > 0.06] = 40
    density[(grid[1] / 0.75) ** 2 + (grid[2] / 0.9) ** 2 > 1] = AIR_HU
    tile = rng.normal(0, NOISE_HU, size=(32, *shape[1:])).astype(np.float32)
    scan = np.empty(shape, dtype=np.int16)
    for z in range(shape[0]):
        plane = np.kron(density[z // _COARSE], np.ones((_COARSE, _COARSE), np.float32))[: shape[1], : shape[2]]
        noise = np.roll(tile[z % len(tile)], rng.integers(0, shape[1:]), axis=(0, 1))
        scan[z] = np.rint(plane + noise).clip(-1024, 3071)
    return scan


def write_ct(path: Path, scan: NDArray[np.int16], spacing_zyx_mm: tuple[float, float, float] = SPACING_ZYX_MM) -> None:
    """Write it as NIfTI, turned as most CTs are stored (x to the left, y to the back)."""
    import nibabel as nib

    z, y, x = spacing_zyx_mm
    nib.openers.Opener.default_compresslevel = 6
    nib.save(nib.Nifti1Image(scan.transpose(), np.diag([-x, -y, z, 1.0])), path)
