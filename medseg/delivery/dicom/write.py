"""Write a label map as DICOM objects, beside each other in a folder."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.files import saving
from medseg.delivery.dicom.common import Maker, make_segments
from medseg.plans.terminology import Coding

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from medseg.confidence.assessment import Assessment
    from medseg.delivery.pictures.overlay import Overlay
    from medseg.io.dicom.elements.series import Series

SUFFIXES = {"seg": ".seg.dcm", "rtstruct": ".rtstruct.dcm", "report": ".sr.dcm", "sheet": ".sc.dcm"}
"""The forms that can be written, in this order, with the suffix of their files."""


@dataclass(frozen=True)
class Meaning:
    """The meanings of the values in label maps, and the author of the maps.

    Attributes:
        members: {structure: the values that make it up}; structures may share values. A value may be 0: segments are
            numbered from 1, whatever the values are.
        codes: {structure: what it is in DICOM codes}.
        maker: who made the labels.
        labelmap: whether a Segmentation object is a LABELMAP instead of BINARY.

    Raises:
        DataError: `labelmap`, and two structures share a value: a LABELMAP cannot hold structures that overlap.
    """

    members: Mapping[str, tuple[int, ...]]
    codes: Mapping[str, Coding]
    maker: Maker
    labelmap: bool = False

    def __post_init__(self) -> None:
        owners: dict[int, str] = {}
        for name, values in self.members.items() if self.labelmap else ():
            for value in values:
                if value in owners:
                    raise DataError(
                        f"{owners[value]} and {name} overlap, which a LABELMAP cannot hold.",
                        "Leave --labelmap out: BINARY segments may overlap.",
                    )
                owners[value] = name


def object_paths(folder: Path, name: str, forms: Collection[str]) -> dict[str, Path]:
    """Return {form: file} of the objects of a case, in a fixed order.

    Args:
        folder: where they go.
        name: the name of the case.
        forms: some of `SUFFIXES`; others are ignored.
    """
    return {form: folder / f"{name}{suffix}" for form, suffix in SUFFIXES.items() if form in forms}


def write_objects(
    labels: NDArray,
    series: Series,
    meaning: Meaning,
    paths: Mapping[str, Path],
    volumes_ml: Mapping[str, float] | None = None,
    assessment: Assessment | None = None,
    picture: Overlay | None = None,
) -> None:
    """Write a label map as DICOM objects; all are made before the first is written.

    Args:
        labels: (z, y, x) values on the slices of the series, in their order.
        series: the series that they belong to.
        meaning: what they mean.
        paths: `object_paths`.
        volumes_ml: {structure: volume in ml}, for a report.
        assessment: what is expected of the answer, for a report.
        picture: what `draw_overlay` returned, for a sheet.

    Raises:
        DataError: the series lacks identifiers, or an object cannot be made of its header.
        MedsegError: a file cannot be written.
    """
    from medseg.delivery.dicom.report import make_report
    from medseg.delivery.dicom.rtstruct import make_rtstruct
    from medseg.delivery.dicom.segmentation import make_segmentation
    from medseg.delivery.dicom.sheet import make_sheet
    from medseg.delivery.dicom.source import check_source, read_source

    check_source(series.slices, series.title, paths)
    source = read_source(series.slices, series.title)
    segments, maker = make_segments(meaning.members, meaning.codes), meaning.maker
    datasets: dict[str, Dataset] = {}
    if "seg" in paths or "report" in paths:
        seg = make_segmentation(labels, segments, source, maker, "LABELMAP" if meaning.labelmap else "BINARY")
        if "seg" in paths:
            datasets["seg"] = seg
        if "report" in paths:
            if "seg" not in paths or volumes_ml is None:
                raise DataError("A report of volumes refers to the segmentation object, and needs volumes in ml.")
            datasets["report"] = make_report(volumes_ml, segments, seg, source, maker, assessment)
    if "rtstruct" in paths:
        datasets["rtstruct"] = make_rtstruct(labels, segments, source, maker)
    if "sheet" in paths:
        if picture is None:
            raise DataError("A sheet shows a picture, and there is none.")
        datasets["sheet"] = make_sheet(picture, source, maker)
    for form, dataset in datasets.items():
        with saving(paths[form]) as temporary, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote values of the header
            dataset.save_as(temporary, enforce_file_format=True)
