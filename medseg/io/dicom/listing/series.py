"""What a container of DICOM holds: series of slices that make a volume, other objects, and what was left out."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from medseg.io.dicom.elements.files import File
from medseg.io.dicom.elements.kinds import DAMAGED
from medseg.io.dicom.elements.uids import hide_uids

KEY_DIGITS = 10


@dataclass(frozen=True)
class Slice:
    """A plane of pixels: a file, or a frame of one; coordinates as DICOM has them (LPS, mm).

    Attributes:
        file: where it is stored.
        frame: number of the frame in a multi-frame file, from 0; None for a file of one image.
        sop_uid, sop_class: of the instance.
        instance_number: as the scanner counted; says nothing of where the slice lies.
        rows, columns: size of the matrix.
        position: centre of the first pixel; None where the file does not say.
        orientation: direction cosines of a row (x), then of a column (y); None where the file does not say.
        spacing_yx: distance of rows, then of columns; None where the file does not say.
        thickness: SliceThickness, used only for a series of a single slice.
        rescale: slope and intercept; (1, 0) where there are none.
        transfer_syntax: UID of how the pixels are packed.
        facts: what may split a series (b-value, echo, time ...), by name; values are plain numbers or text.
        frame_of_reference: UID of the frame of reference; slices in two of them never make a volume.
        label: what messages call its file, where that is shorter than the file's name.
    """

    file: File
    frame: int | None
    sop_uid: str
    sop_class: str
    instance_number: int | None
    rows: int
    columns: int
    position: tuple[float, float, float] | None
    orientation: tuple[float, ...] | None
    spacing_yx: tuple[float, float] | None
    thickness: float | None
    rescale: tuple[float, float]
    transfer_syntax: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    frame_of_reference: str = ""
    label: str = ""

    @property
    def name(self) -> str:
        """What messages call it: the file's name, and the frame, from 1; where UIDs are names, what was counted."""
        file = self.label or self.file.name
        if (shown := hide_uids(file)) != file:
            counted = PurePosixPath(shown).with_name(f"image {self.instance_number}").as_posix()
            file = shown if self.instance_number is None else counted
        return file if self.frame is None else f"{file}, frame {self.frame + 1}"


@dataclass(frozen=True)
class Problem:
    """Why a series is no volume as it is.

    Attributes:
        kind: a word or two, the same for the same trouble: `gantry tilt`, `missing slices`, `unequal steps` ...
        message: a sentence that names the slices.
        option: field of `DicomOptions` that has the series read in spite of it; None where nothing does.
    """

    kind: str
    message: str
    option: str | None = None


@dataclass(frozen=True)
class Series:
    """Slices that are one volume, or ought to be.

    Attributes:
        container: the folder or zip that was looked at, or a single file.
        uid: SeriesInstanceUID; an identifier, for code only, never shown.
        study_uid: StudyInstanceUID, likewise.
        number: SeriesNumber.
        description: SeriesDescription.
        modality: CT, MR, PT ...
        split: what tells it from other volumes of the same series: `b=1000`, `echo 2`, or nothing.
        slices: sorted along the normal of the planes.
        shape_zyx: slices, rows, columns.
        spacing_mm: along z, y, x; what is not known is 0.
        plane: axial, sagittal, coronal, or `oblique` with the nearest of them; empty where not known.
        problems: why it cannot be read as it is; none where it can.
        notes: what is worth a word though it can be read.
    """

    container: Path
    uid: str
    study_uid: str
    number: int | None
    description: str
    modality: str
    split: str
    slices: tuple[Slice, ...]
    shape_zyx: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    plane: str
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Ten hexadecimal digits, always the same for this volume; no identifier can be read back from them."""
        return hashlib.sha256(f"{self.uid}\0{self.split}".encode()).hexdigest()[:KEY_DIGITS]

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Every element of the first slice by its DICOM keyword; those of functional groups by theirs.

        Read when first asked for. Values hold identifiers: they are for rules and writers, never for messages.

        Raises:
            DataError: the file cannot be read any more.
        """
        from medseg.io.dicom.listing.attributes import attributes_of

        return attributes_of(self.slices[0])

    @property
    def folder(self) -> str:
        """The folder below the container that holds all its files; `.` for the container itself."""
        folders = {one.file.folder for one in self.slices}
        return os.path.commonpath(folders) or "."

    @property
    def title(self) -> str:
        """What messages call it: number and description, what splits it, and the key."""
        parts = [f"series {self.number}" if self.number is not None else "series"]
        parts += [f'"{self.description}"'] * bool(self.description) + [f"({self.split})"] * bool(self.split)
        return f"{' '.join(parts)} [{self.key}]"


@dataclass(frozen=True)
class LeftOut:
    """Something in a container that is not part of any series.

    Attributes:
        what: file, as it is named below the container.
        why: `secondary capture`, `localizer`, `no DICOM` ...; equal for equal reasons, so that they can be counted.
        series_uid: SeriesInstanceUID, where the file says it; an identifier, for code only.
    """

    what: str
    why: str
    series_uid: str = ""


@dataclass(frozen=True)
class DicomObject:
    """A DICOM object that is no image: a segmentation, a structure set, a report.

    Attributes:
        file: where it is stored.
        sop_class, sop_uid: of the instance.
        modality: SEG, RTSTRUCT, SR ...
        series_uid, study_uid: of the object itself.
        referenced_series: UIDs of the series that it speaks of, as far as its references say.
        description: SeriesDescription.
    """

    file: File
    sop_class: str
    sop_uid: str
    modality: str
    series_uid: str
    study_uid: str
    referenced_series: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True)
class Listing:
    """All that a container holds.

    Attributes:
        container: what was looked at.
        series: volumes, by series number.
        objects: segmentations, structure sets, reports and so on; they are in `left_out` as well.
        left_out: everything that is in no series.
    """

    container: Path
    series: tuple[Series, ...]
    objects: tuple[DicomObject, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def damaged(self) -> tuple[LeftOut, ...]:
        """Files that may belong to a series and could not be read: the series may lack their slices."""
        return tuple(one for one in self.left_out if one.why.startswith(DAMAGED))

    def counts(self) -> dict[str, int]:
        """How many things were left out, by reason."""
        return dict(Counter(one.why.partition(":")[0] for one in self.left_out).most_common())
