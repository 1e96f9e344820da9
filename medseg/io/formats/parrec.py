"""Read Philips's PAR/REC: a text file that describes the scan (.par), and one with its voxels (.rec) beside it."""

from __future__ import annotations

import warnings
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from medseg.core.errors import DataError
from medseg.io.formats.content import incomplete
from medseg.io.formats.itk import is_mrc, read_mrc
from medseg.io.formats.stack import Stack, native, usable_affine

_MOST_HEADER_BYTES = 1 << 26  # a line of 300 bytes for each of 200,000 slices


def read(path: Path) -> Stack:
    """Read values as the scanner displays them (float64), with points in time, echoes and the like as volumes.

    A `.rec` that is an MRC file (IMOD names tomograms so) is read as that.

    Args:
        path: either file of the pair; the other has its name, in upper or lower case.

    Returns:
        The voxels with their geometry.

    Raises:
        DataError: a file of the pair is missing or damaged.
    """
    if path.suffix.lower() == ".rec" and is_mrc(path):
        return read_mrc(path)
    from nibabel.parrec import PARRECArrayProxy, PARRECHeader

    header_path, data_path = _partner(path, ".par"), _partner(path, ".rec")
    if header_path.stat().st_size > _MOST_HEADER_BYTES:
        raise ValueError("its header is longer than any that a scanner writes")
    with warnings.catch_warnings():  # of unusual but harmless headers
        warnings.simplefilter("ignore")
        with header_path.open(encoding="latin-1") as stream:
            header: Any = PARRECHeader.from_fileobj(stream)
    stored = header.get_rec_shape()
    available, needed = data_path.stat().st_size, prod(stored) * header.get_data_dtype().itemsize
    if needed > available:
        raise incomplete(path, " x ".join(map(str, stored)), needed, available)
    array = np.asarray(PARRECArrayProxy(str(data_path), header, scaling="dv"))
    array = array if array.ndim == 4 else array[..., np.newaxis]
    affine = usable_affine(np.array(header.get_affine(), np.float64), path, "Its geometry")
    in_time = array.shape[3] == header.general_info["max_dynamics"] > 1
    return Stack(native(array.transpose(3, 2, 1, 0))[:, np.newaxis], affine, in_time=in_time)


def parts(path: Path) -> list[Path]:
    """Return the files of a pair; a file of its own for MRC."""
    if path.suffix.lower() == ".rec" and is_mrc(path):
        return [path]
    return [_partner(path, ".par"), _partner(path, ".rec")]


def _partner(path: Path, suffix: str) -> Path:
    """Return the file of the pair with this suffix, whatever the case of its letters."""
    for name in (path.stem + suffix, path.stem + suffix.upper(), path.name):
        candidate = path.with_name(name)
        if candidate.suffix.lower() == suffix and candidate.is_file():
            return candidate
    raise DataError(
        f"{path} is one of a pair of files; there is no {path.stem}{suffix} beside it.",
        "Copy both files, NAME.par and NAME.rec, into one folder.",
        "no data",
    )
