"""Label maps of small DICOM series, and the programs that read what is written of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dicom.builders import AXIAL, CORONAL, OBLIQUE, SAGITTAL, TURNED, write_series
from numpy.typing import NDArray

from medseg.core.image import Image
from medseg.delivery.dicom.codes import codes_of
from medseg.delivery.dicom.common import Maker
from medseg.delivery.dicom.write import Meaning
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.pixels.volume import DicomVolume, read_volume

PLANES = {"axial": AXIAL, "sagittal": SAGITTAL, "coronal": CORONAL, "oblique": OBLIQUE, "turned": TURNED}
SHAPE = (6, 10, 14)
MAKER = Maker("AUTOMATIC", "medseg toy", "1.0", "abcdef")
MEMBERS = {"kidney_left": (1,), "liver": (2,), "spleen": (3,)}
OVERLAPPING = {"kidney_left": (1, 2), "liver": (2,), "spleen": (3,)}
UNKNOWN_TO_DCIODVFY = ("Information Object Not found", "SegmentNumber not monotonically increasing")
"""What it says of a LABELMAP, which is younger than the program: its segments are numbered from 0, the background."""


def labels() -> NDArray[np.uint8]:
    """(z, y, x) without any symmetry: 1 has a hole, 2 touches the border, 3 is nowhere, the first slice is empty."""
    array = np.zeros(SHAPE, np.uint8)
    array[1:4, 2:7, 3:9] = 1
    array[2, 4, 5] = 0
    array[3:, 0:2, 10:] = 2
    array[5, 7, 1] = 2
    return array


def written_series(folder: Path, plane: str = "axial", **changes: object) -> DicomVolume:
    """A series of `SHAPE` in a plane, read."""
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    write_series(folder, array, orientation=PLANES[plane], **changes)
    return read_volume(find_series(folder).series[0])


def meaning(members: dict[str, tuple[int, ...]] | None = None, labelmap: bool = False) -> Meaning:
    """What the labels mean, with codes of the table."""
    members = members or MEMBERS
    return Meaning(members, codes_of(members, {}, {}), MAKER, labelmap)


def on_grid(image: Image, grid: Image) -> NDArray:
    """(z, y, x) voxels of an image on a grid of which it may be a part; 0 where it is not."""
    from medseg.io.values.regrid import resample_nearest

    return resample_nearest(image, grid, 0).array[0]


def errors_of_dciodvfy(path: Path) -> list[str]:
    """What David Clunie's validator calls an error; skips where it is not installed."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, errors="replace")
    return [line for line in done.stderr.splitlines() if line.startswith("Error")]


def read_by_dcmqi(path: Path, folder: Path) -> list[Path]:
    """The NIfTI files that dcmqi makes of a SEG, one a group of segments; skips where it is not installed."""
    beside = Path(sys.executable).parent / "segimage2itkimage"
    program = str(beside) if beside.exists() else shutil.which("segimage2itkimage")
    if program is None:
        pytest.skip("dcmqi is not installed (pip install dcmqi)")
    folder.mkdir(parents=True, exist_ok=True)
    command = [program, "--inputDICOM", str(path), "--outputDirectory", str(folder), "-t", "nii"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stderr[-500:]
    return sorted(folder.glob("*.nii.gz"))
