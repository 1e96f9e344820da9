"""A phantom data set for `medseg demo`: abdomens with six organs, made from shapes, noise and a seed.

Each case is one atlas of smooth shapes, posed and deformed at random and sampled on a grid of its own, as a magnetic
resonance scan would: partial volume, texture, a bias field and Rician noise. Neighbours share intensities, and gut,
muscle and vessels look like organs, so that no threshold finds them. The patient's right lies where x is largest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.errors import MedsegError
from medseg.files import atomic, write_json
from medseg.image import Image
from medseg.io import write_label
from medseg.parallel import map_cases
from medseg.progress import Callback, silent, track

STRUCTURES = ("liver", "spleen", "kidney_left", "kidney_right", "spine", "aorta")
"""The structures in the order of their values, 1 to 6."""

_SHAPE_ZYX = (32, 72, 72)
_SPACING_MM = (5.0, 3.5, 3.5)
_NOISE = 0.035
_TEXTURE = 0.05


@dataclass(frozen=True)
class _Part:
    """A deformed ellipsoid of the atlas: centre and radii in mm along (z, y, x), to S, A and R.

    `tilt` leans it towards R on the way up; `value` is its label (0: background); `bright` its mean intensity.
    """

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    bright: float
    value: int = 0
    tilt: float = 0.0
