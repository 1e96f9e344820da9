"""A label map as the DICOM objects that are wanted of it, beside each other in a folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.files import saving
from medseg.delivery.dicom.objects import Maker, segments_of
from medseg.delivery.dicom.source import read_source
from medseg.io.dicom.elements.series import Series
from medseg.plans.terminology import Coding

SUFFIXES = {"seg": ".seg.dcm", "rtstruct": ".rtstruct.dcm", "report": ".sr.dcm"}
"""What can be written, in this order."""


@dataclass(frozen=True)
class Meaning:
    """What the values of label maps mean, and how the maps came about.

    Attributes:
        members: {structure: the values that make it up}; structures may share values.
        codes: {structure: what it is in coded words}.
        maker: who made the labels.
        labelmap: a Segmentation object of the type LABELMAP instead of BINARY.
    """

    members: Mapping[str, tuple[int, ...]]
    codes: Mapping[str, Coding]
    maker: Maker
    labelmap: bool = False


def object_paths(folder: Path, name: str, kinds: Collection[str]) -> list[Path]:
    """Where the objects of a case go, in a fixed order."""
    return [folder / f"{name}{suffix}" for kind, suffix in SUFFIXES.items() if kind in kinds]


def write_objects(
    labels: NDArray,
    series: Series,
    meaning: Meaning,
    paths: Collection[Path],
    volumes_ml: Mapping[str, float] | None = None,
) -> None:
    """Write a label map as DICOM objects.

    Args:
        labels: (z, y, x) values on the slices of the series, in their order.
        series: the one that they belong to.
        meaning: what they mean.
        paths: `object_paths`.
        volumes_ml: {structure: volume}, for a report.

    Raises:
        DataError: the series lacks identifiers, or an object cannot be made of its header.
        MedsegError: a file cannot be written.
    """
    from medseg.delivery.dicom.report import make_report
    from medseg.delivery.dicom.rtstruct import make_rtstruct
    from medseg.delivery.dicom.segmentation import make_segmentation

    source = read_source(series.slices, series.title)
    segments, maker = segments_of(meaning.members, meaning.codes), meaning.maker
    named = {kind: path for path in paths for kind, suffix in SUFFIXES.items() if path.name.endswith(suffix)}
    made: list[tuple[object, Path]] = []  # all of them before the first is written
    if "seg" in named or "report" in named:
        found = make_segmentation(labels, segments, source, maker, "LABELMAP" if meaning.labelmap else "BINARY")
        if "seg" in named:
            made.append((found, named["seg"]))
        if "report" in named:
            if "seg" not in named or volumes_ml is None:
                raise DataError("A report of volumes refers to the segmentation object, and needs volumes in ml.")
            made.append((make_report(volumes_ml, segments, found, source, maker), named["report"]))
    if "rtstruct" in named:
        made.append((make_rtstruct(labels, segments, source, maker), named["rtstruct"]))
    for dataset, path in made:
        _save(dataset, path)


def _save(dataset: object, path: Path) -> None:
    import warnings

    with saving(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote values of the header
        dataset.save_as(temporary, enforce_file_format=True)  # type: ignore[attr-defined]
