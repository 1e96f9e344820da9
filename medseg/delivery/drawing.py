"""Drawing one plane of a case: the scan in grey or colour, structures as lines or areas, sides and a scale bar.

matplotlib's Axes are handed in; nothing global is touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medseg.delivery.planes import Plane
from medseg.image import Image
from medseg.labels import Labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe & Ito, Color Universal Design (2008), told apart with any colour vision; green and blue are lightened to
# stand out on a dark ground. Structures beyond the seventh take them up again.
COLOURS = ("#56B4E9", "#E69F00", "#00B883", "#F0E442", "#CC79A7", "#D55E00", "#3A8FE0")

LIGHT, QUIET = "#F2F2F2", "#A3ACB5"
REFERENCE_STYLE = {"linestyle": "-", "linewidth": 0.9}
PREDICTION_STYLE = {"linestyle": (0, (2.2, 1.4)), "linewidth": 1.5}
_AREA_OPACITY = {"line": 0.0, "soft": 0.22, "full": 0.5}
_CONTEXT_VOXELS = 10
_WINDOW_PERCENTILES = (0.5, 99.5)
_BARS_MM = (500, 200, 100, 50, 20, 10, 5, 2, 1)
_BAR_FRACTION = 0.3


@dataclass(frozen=True)
class Style:
    """How the structures of one label map are drawn: their outline, and how opaque their area is."""

    line: Mapping_
    area: float = 0.0
