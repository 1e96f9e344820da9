"""Read MINC 1 and 2 (.mnc); https://en.wikibooks.org/wiki/MINC."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from medseg.core.errors import DataError
from medseg.core.installing import pip_install
from medseg.io.formats import content
from medseg.io.formats.stack import Stack, native, usable_affine

_HDF5 = b"\x89HDF"
_MOST_PER_BYTE = 100  # voxels that a byte of a MINC 2 file may stand for; those of MINC 1 are not packed


def read(path: Path) -> Stack:
    """Read values as they are meant (scaled, float64), a time axis as volumes, and axes as nibabel gives them.

    Returns:
        The voxels with their geometry.

    Raises:
        DataError: the file is damaged, or h5py, which MINC 2 needs, is not installed.
    """
    import nibabel as nib

    is_minc2 = content.start(path, 4) == _HDF5
    if is_minc2 and find_spec("h5py") is None:
        raise DataError(
            f"{path} is a MINC 2 file, which needs the package h5py.",
            f"Install it with: {pip_install('minc')}; or convert the file with mnc2nii.",
        )
    image: Any = (nib.Minc2Image if is_minc2 else nib.Minc1Image).from_filename(str(path))
    shape = image.shape
    content.check_claim(path, shape, 1, _MOST_PER_BYTE if is_minc2 else 1)
    if not 3 <= len(shape) <= 4:
        raise DataError(f"{path} has the shape {shape}; expected three axes in space, and perhaps time.")
    array = np.asarray(image.dataobj)
    array = array if array.ndim == 4 else array[np.newaxis]
    affine = usable_affine(np.array(image.affine, dtype=np.float64), path, "Its geometry")
    return Stack(native(array.transpose(0, 3, 2, 1))[:, np.newaxis], affine, in_time=len(shape) == 4)
