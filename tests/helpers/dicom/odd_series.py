"""The table in docs/dicom/dicom-examples.md: each folder of real DICOM, how it is read, or why it is refused.

`python tests/helpers/dicom/odd_series.py` prints it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from paths import DATA

from medseg.core.errors import DataError
from medseg.io.dicom.elements.options import DicomOptions
from medseg.io.dicom.elements.series import Series
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.pixels.volume import DicomVolume, read_volume

SETS = ("dicom_odd", "lung_ct_dicom", "hippocampus_dicom", "dicom_seg")
_FLAGS = {"resample_tilt": "--resample-tilt", "allow_gaps": "--allow-gaps"}
HEADING = ("| folder | series | values | affine: first voxel; steps along x, y, z (RAS+, mm) |", "|---|---|---|---|")


def folders() -> Iterator[Path]:
    """Every folder with DICOM files in it."""
    for name in SETS:
        for folder in sorted({path.parent for path in (DATA / name).rglob("*") if path.is_file()}):
            if any(path.is_file() and path.read_bytes()[128:132] == b"DICM" for path in folder.iterdir()):
                yield folder


def rows(folder: Path) -> list[str]:
    """A folder's lines: one a series, and one for what is read with options."""
    name = folder.relative_to(DATA).as_posix()
    found = []
    for series in find_series(folder).series:
        try:
            found.append(_row(name, series, read_volume(series)))
        except DataError as error:
            told = error.message.partition("cannot be read as a volume: ")[2].removesuffix(".")
            found.append(f"| `{name}` | {_size(series)} | **refused** | {told} |")
            options = {problem.option for problem in series.problems}
            if None not in options:
                volume = read_volume(series, DicomOptions(**{option: True for option in options if option}))
                flags = " ".join(f"`{_FLAGS[option]}`" for option in sorted(options, reverse=True) if option)
                found.append(_row(name, series, volume, f" with {flags}"))
    return found


def table() -> list[str]:
    return [*HEADING, *(row for folder in folders() for row in rows(folder))]


def _size(series: Series) -> str:
    return f"{series.modality} {series.plane}, {' x '.join(map(str, series.shape_zyx))}".replace(" ,", ",")


def _row(name: str, series: Series, volume: DicomVolume, how: str = "") -> str:
    image = volume.image
    grid = " x ".join(map(str, image.shape_zyx))
    spacing = " x ".join(f"{value:.5g}" for value in image.spacing_mm)
    low, high = image.array.min().item(), image.array.max().item()
    columns = [*image.affine[:3, 3:].T, *image.affine[:3, :3].T]
    affine = "; ".join(" ".join(_short(value) for value in column) for column in columns)
    what = f"{series.modality} {series.plane}, {grid}, {spacing} mm"
    return f"| `{name}`{how} | {what} | {low:.6g} to {high:.6g} {image.array.dtype} | {affine} |"


def _short(value: float) -> str:
    return f"{np.round(value, 4) + 0.0:.6g}"


if __name__ == "__main__":
    sys.stdout.write("\n".join(table()) + "\n")
