"""Studies of DICOM files for tests of layouts: stacks, radiographs, label maps beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from dicom.builders import MR, uid, write_series
from PIL import Image as pillow

from medseg.io.dicom.elements.paths import parse_reference
from medseg.io.layouts.dataset import DataSet

RADIOGRAPH = {"Modality": "DX", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1", "ImagePositionPatient": None}


def radiograph(folder: Path, name: str, **changes: object) -> None:
    plane = np.full((1, 4, 6), 7, np.uint16)
    about = {"StudyInstanceUID": uid(name), **RADIOGRAPH, **changes}
    write_series(folder, plane, name=lambda _: f"{name}.dcm", series=f"{folder}{name}", **about)


def mask(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pillow.fromarray(np.eye(4, 6, dtype=np.uint8)).save(path)


def described(data: DataSet, folder: Path) -> list[tuple[str, str, str, str]]:
    """Return (id, patient, image file, label file) of each case."""
    return [
        (
            case.id,
            case.patient,
            str(parse_reference(case.channels[0]).container.relative_to(folder)),
            str(case.label.relative_to(folder)),
        )
        for case in data.cases
    ]


def study(folder: Path, name: str, series: str = "", **changes) -> Path:
    """A study of its own with a series."""
    write_series(folder / name, series=f"{name}{series}", StudyInstanceUID=uid(name), **changes)
    return folder / name


def mr(folder: Path, name: str, description: str, number: int) -> None:
    write_series(
        folder,
        series=f"{name}{number}",
        StudyInstanceUID=uid(name),
        SOPClassUID=MR,
        Modality="MR",
        SeriesDescription=description,
        SeriesNumber=number,
        name=(f"{number}_" + "{:03d}").format,
    )
