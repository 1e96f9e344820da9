"""Make the table in docs/data/formats-odd-files.md: how files of `nifti_odd` are read, or the message that refuses one.

`python tests/helpers/odd_table.py` prints it.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from paths import DATA

from medseg.core.errors import MedsegError
from medseg.core.outside import without_nan
from medseg.io.formats.stack import Stack
from medseg.io.images import header_notes, read_image, read_stack

NIFTI_ODD = DATA / "nifti_odd"


def files() -> list[Path]:
    """Return every file of the folder except its description."""
    return [path for path in sorted(NIFTI_ODD.rglob("*")) if path.is_file() and path.name != "README.md"]


def row(path: Path) -> str:
    """Return a file's line of the table."""
    name = path.relative_to(NIFTI_ODD).as_posix()
    try:
        image = read_image(path)
    except MedsegError as error:
        message = error.message.replace(f"{NIFTI_ODD}/", "").split("; it knows .nii.gz")[0]
        return f"| `{name}` | refused | {message.removesuffix('.').replace(name, path.name)} |"
    sizes = " x ".join(map(str, image.array.shape))
    stored = read_stack(path).array.dtype
    return f"| `{name}` | {sizes} {stored} | {'; '.join(remarks(path))} |"


def remarks(path: Path) -> list[str]:
    """Return what to say about a file that is read."""
    stack = read_stack(path)
    volumes = stack.array.shape[0]
    lines = [f"{volumes} volumes, a time series: `--frame`"] if stack.in_time and volumes > 1 else []
    if volumes > 1 and not stack.in_time:
        lines.append(f"{volumes} volumes: channels, or `--frame`")
    if stack.array.shape[1] > 1:
        lines.append("colours as channels")
    if stack.array.dtype.kind == "f" and not np.isfinite(stack.array).all():
        try:
            without_nan(stack.image(path, None), path.name)
            lines.append("NaN at the edge, read as outside of the scan")
        except MedsegError:
            lines.append("holds NaN: training and prediction refuse it by name")
    return lines + header_notes(path)


def as_nibabel_reads_it(path: Path) -> tuple[NDArray, NDArray]:
    """Return (volume, component, z, y, x) and the affine, for every file that nibabel reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = nib.load(path)
        array = np.asanyarray(image.dataobj)
    if array.dtype.fields:
        array = np.stack([array[name] for name in "RGB"], -1)
        return array.transpose(3, 2, 1, 0)[np.newaxis], image.affine
    if path.suffix == ".mnc":
        array = array if array.ndim == 4 else array[np.newaxis]
        return array.transpose(0, 3, 2, 1)[:, np.newaxis], image.affine
    while array.ndim < 4:
        array = array[..., np.newaxis]
    return array.transpose(3, 2, 1, 0)[:, np.newaxis], image.affine


def same_as_nibabel(path: Path, stack: Stack) -> bool:
    """Return whether values, type and affine are those of nibabel; NaN equals NaN."""
    array, affine = as_nibabel_reads_it(path)
    same = array.dtype.newbyteorder("=") == stack.array.dtype and np.array_equal(
        array, stack.array, equal_nan=stack.array.dtype.kind == "f"
    )
    return bool(same and np.allclose(affine, stack.affine, rtol=0, atol=1e-6))


def table() -> list[str]:
    """All lines."""
    return ["| file | read as (channel, z, y, x) | |", "|---|---|---|", *map(row, files())]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.stdout.write("\n".join(table()) + "\n")
