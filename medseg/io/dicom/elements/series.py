"""The types of a listing: slices, series that are volumes, other objects, and the files that are in no series."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from medseg.core.errors import DataError
from medseg.io.dicom.elements.files import File
from medseg.io.dicom.elements.kinds import DAMAGED
from medseg.io.dicom.elements.options import DicomOptions
from medseg.io.dicom.elements.paths import KEY_DIGITS, Reference
from medseg.io.dicom.elements.uids import hide_uids

FLAGS_TO_READ = {"resample_tilt": "--resample-tilt", "allow_gaps": "--allow-gaps"}
"""Option that lets an irregular series be read -> how it is typed."""


@dataclass(frozen=True)
class Slice:
    """A plane of pixels: a single-frame image, or a frame of a multi-frame one; coordinates are DICOM's (LPS, mm).

    Attributes:
        file: where it is stored.
        frame: number of the frame in a multi-frame file, from 0; None for a single-frame image.
        sop_instance_uid: SOPInstanceUID of the file's image.
        sop_class_uid: SOPClassUID of the file's image.
        instance_number: InstanceNumber, the scanner's count; it says nothing about where the slice lies.
        rows: the number of rows of the matrix.
        columns: the number of columns of the matrix.
        position: ImagePositionPatient, the centre of the first pixel; None if it is absent.
        orientation: ImageOrientationPatient, direction cosines of a row (x), then of a column (y); None if absent.
        spacing_yx_mm: PixelSpacing, the distance of rows, then of columns; None if it is absent.
        thickness_mm: SliceThickness, used only for a series of a single slice.
        rescale: RescaleSlope and RescaleIntercept; (1, 0) if they are absent.
        transfer_syntax: TransferSyntaxUID.
        acquisition: attributes that may tell volumes of one series apart (b-value, echo, time ...), as plain numbers or
            text, by a short name.
        frame_of_reference: FrameOfReferenceUID; slices in two frames of reference never make a volume.
        label: what messages call its file, where that is shorter than the file's name.
        is_section: whether it is of a kind that must say where it lies, such as CT; radiographs need not.
        at_detector: whether `spacing_yx_mm` is that of the detector (ImagerPixelSpacing) and not of the patient.
        has_channels: whether its pixels have three channels, which must be equal.
        photometric: PhotometricInterpretation: whether small values are dark or bright.
        unit: what its values measure (Units, else RescaleType); empty if it does not say.
        rescale_elements: which of RescaleSlope, RescaleIntercept and ModalityLUTSequence it has, by which its numbers
            become values.
    """

    file: File
    frame: int | None
    sop_instance_uid: str
    sop_class_uid: str
    instance_number: int | None
    rows: int
    columns: int
    position: tuple[float, float, float] | None
    orientation: tuple[float, ...] | None
    spacing_yx_mm: tuple[float, float] | None
    thickness_mm: float | None
    rescale: tuple[float, float]
    transfer_syntax: str
    acquisition: Mapping[str, Any] = field(default_factory=dict)
    frame_of_reference: str = ""
    label: str = ""
    is_section: bool = False
    at_detector: bool = False
    has_channels: bool = False
    photometric: str = ""
    unit: str = ""
    rescale_elements: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """Its name in messages: the file's, and the number of the frame from 1.

        Files that are named by UIDs are called by their InstanceNumber: the UIDs identify the patient.
        """
        file = self.label or self.file.name
        if (shown := hide_uids(file)) != file:
            counted = PurePosixPath(shown).with_name(f"image {self.instance_number}").as_posix()
            file = shown if self.instance_number is None else counted
        return file if self.frame is None else f"{file}, frame {self.frame + 1}"


@dataclass(frozen=True)
class Problem:
    """A reason why a series is not a regular volume.

    Attributes:
        kind: a word or two, the same for the same trouble: `gantry tilt`, `missing slices`, `unequal steps` ...
        message: a sentence that names the slices.
        option: the field of `DicomOptions` that has the series read in spite of it; None if none does.
    """

    kind: str
    message: str
    option: str | None = None


@dataclass(frozen=True)
class Series:
    """Slices that are one volume, or should be.

    Attributes:
        container: the folder or zip that was searched, or a single file.
        uid: SeriesInstanceUID; an identifier, never shown.
        study_uid: StudyInstanceUID, likewise.
        number: SeriesNumber.
        description: SeriesDescription.
        modality: CT, MR, PT ...
        volume_name: what tells it from other volumes of the same series: `b=1000`, `echo 2`; empty for the only one.
        slices: sorted along the normal of the planes.
        shape_zyx: slices, rows, columns.
        spacing_mm: along z, y, x; 0 where it is not known.
        plane: axial, sagittal or coronal, with `oblique` before it if it is turned; empty if it is not known.
        problems: why it cannot be read as it is; empty if it can.
        notes: remarks on a series that can be read.
    """

    container: Path
    uid: str
    study_uid: str
    number: int | None
    description: str
    modality: str
    volume_name: str
    slices: tuple[Slice, ...]
    shape_zyx: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    plane: str
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Ten hexadecimal digits, the same wherever the files lie, from which no identifier can be recovered."""
        return hashlib.sha256(f"{self.uid}\0{self.volume_name}".encode()).hexdigest()[:KEY_DIGITS]

    @property
    def path(self) -> Path:
        """The series as one path, `CONTAINER#KEY`."""
        return Reference(self.container, self.key).path

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Every element of the first slice by its DICOM keyword, those of functional groups included.

        Read when first used. Values hold identifiers: they are for rules and writers, never for messages.

        Raises:
            DataError: the file cannot be read any more.
        """
        from medseg.io.dicom.elements.attributes import attributes_of

        return attributes_of(self.slices[0])

    @property
    def folder(self) -> str:
        """The folder below the container that holds all its files; `.` for the container itself."""
        folders = {slice_.file.folder for slice_ in self.slices}
        return os.path.commonpath(folders) or "."

    @property
    def title(self) -> str:
        """Its name in messages: number and description, the volume's name, and the key."""
        parts = [f"series {self.number}" if self.number is not None else "series"]
        parts += [f'"{self.description}"'] * bool(self.description)
        parts += [f"({self.volume_name})"] * bool(self.volume_name)
        return f"{' '.join(parts)} [{self.key}]"

    def open_problems(self, options: DicomOptions) -> list[Problem]:
        """Return the problems that no given option deals with."""
        return [problem for problem in self.problems if not (problem.option and getattr(options, problem.option))]

    def check(self, options: DicomOptions) -> None:
        """Refuse the series if it is not a volume.

        Args:
            options: which irregularities may be resampled away.

        Raises:
            DataError: what is wrong, with which slices, and the option that accepts it, if there is one.
        """
        problems = self.open_problems(options)
        if not problems:
            return
        flags = list(dict.fromkeys(FLAGS_TO_READ[problem.option] for problem in problems if problem.option))
        if all(problem.option for problem in problems):
            hint = f"{' and '.join(flags)} resamples it to a regular grid, and records that; or choose another series."
        else:
            hint = "Choose another series, or export it again from the scanner or archive."
        messages = "; ".join(problem.message for problem in problems)
        raise DataError(
            f"{self.container}: {self.title} cannot be read as a volume: {messages}.", hint, "dicom geometry"
        )


@dataclass(frozen=True)
class LeftOut:
    """A file that is in no series.

    Attributes:
        file: its name below the container.
        reason: `secondary capture`, `localizer`, `no DICOM` ...; equal for equal reasons, so that they can be counted.
        series_uid: SeriesInstanceUID, if the file states it; an identifier, never shown.
    """

    file: str
    reason: str
    series_uid: str = ""

    @property
    def is_damaged(self) -> bool:
        """Whether it may belong to a series and could not be read."""
        return self.reason.startswith(DAMAGED)


@dataclass(frozen=True)
class DicomObject:
    """A DICOM object that is not an image: a segmentation, a structure set, a report.

    Attributes:
        file: where it is stored.
        sop_class_uid: SOPClassUID.
        modality: SEG, RTSTRUCT, SR ...
        referenced_series: SeriesInstanceUIDs of the series that it refers to, as far as it states them.
        description: SeriesDescription.
    """

    file: File
    sop_class_uid: str
    modality: str
    referenced_series: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True)
class Listing:
    """Everything that a container holds.

    Attributes:
        container: the folder, zip or file that was searched.
        series: volumes, by series number.
        objects: segmentations, structure sets, reports and so on; they are in `left_out` as well.
        left_out: every file that is in no series.
    """

    container: Path
    series: tuple[Series, ...]
    objects: tuple[DicomObject, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def damaged(self) -> tuple[LeftOut, ...]:
        """Files that may belong to a series and could not be read: the series may lack their slices."""
        return tuple(gone for gone in self.left_out if gone.is_damaged)

    def counts(self) -> dict[str, int]:
        """Return {reason: how many files were left out for it}, the most frequent first."""
        return dict(Counter(gone.reason.partition(":")[0] for gone in self.left_out).most_common())
