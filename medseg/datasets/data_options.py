"""The options that every verb on a data set has: where its files lie, and what the values in them mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from medseg.core.errors import PlanError
from medseg.core.options import OFTEN, Option
from medseg.core.verb_options import VerbOptions

_FILES = Option(group="Which files")
_VALUES = Option(group="What label files mean")
_DICOM = Option(group="DICOM")


@dataclass(frozen=True)
class LabelOptions(VerbOptions):
    """Options on what the values in label files mean, which every verb that reads label files has.

    Attributes:
        threshold: For soft masks: voxels with at least this value are the structure, as value 1.
        map: OLD=NEW reads the value OLD in label files as NEW, such as 3=0 or 128-255=1; repeatable.
        resample_labels: Resample label maps on another grid to that of their scan, by nearest neighbour.
        segments: Structures in labels that name them (RTSTRUCT, DICOM SEG, .seg.nrrd, folders of masks): NAME=PATTERN
            of these names, such as 'tumour=GTV*', or only a name; repeatable. If left out, every name is a structure.
        overlaps: What to do where such structures overlap: refuse, later (the one named later in --segments counts) or
            regions (each structure is predicted by itself); if left out, refuse.
    """

    threshold: Annotated[float | None, _VALUES] = None
    map: Annotated[Sequence[str], Option(group=_VALUES.group, metavar="OLD=NEW")] = ()
    resample_labels: Annotated[bool, _VALUES] = False
    segments: Annotated[Sequence[str], Option(group=_VALUES.group, metavar="NAME=PATTERN")] = ()
    overlaps: Annotated[str | None, _VALUES] = None


@dataclass(frozen=True)
class SeriesOptions(VerbOptions):
    """Options on how DICOM series are chosen and read, which every verb that reads scans has.

    Attributes:
        series: Which series of a DICOM study is the scan: a number, a key of `medseg series`, a SeriesInstanceUID, or a
            rule such as 'Modality=CT,SeriesDescription~thorax'. For several channels one rule each, repeated:
            'T1:SeriesDescription~t1'.
        resample_tilt: Read series with a gantry tilt, resampled to right angles.
        allow_gaps: Read series with missing slices or unequal slice distances, interpolated to equal ones.
    """

    series: Annotated[Sequence[str], Option(group=_DICOM.group, metavar="RULE")] = ()
    resample_tilt: Annotated[bool, _DICOM] = False
    allow_gaps: Annotated[bool, _DICOM] = False


@dataclass(frozen=True)
class DataOptions(SeriesOptions, LabelOptions):
    """Options on a data set: where its files lie, and what the values in them mean.

    Attributes:
        images: Image files where the folder does not say: a pattern such as '*_flair.nii.gz' in which * is the case, or
            the name that they have in each case, flair. Repeat it for several channels.
        labels: Label files, likewise: '*_seg.nii.gz', or seg.
        cases: CSV with a row for each case: a column for each channel, and label; also id, patient, annotated, weight.
            A cases.csv in the folder needs no option.
        patient_pattern: Regular expression that finds the patient in a case's name.
        exclude: Text file of case ids to leave out, one per line, such as a test set.
        frame: Which point in time of a time series is the scan, counted from 0.
        structures: NAME=VALUE of a structure, where the data set does not say; several with commas, or repeatable.
        no_background: Every voxel belongs to a structure, as in scenes of a street; a structure with the value 0 in
            --structures says so too.
        ignore: Value of voxels that were not annotated: they count in no loss and no score.
        activation: softmax, or sigmoid: each structure is predicted by itself. Regions that overlap need sigmoid; if
            left out, what the structures need.
        colours: For masks in colours: NAME=#rrggbb, repeatable, or a CSV with columns name and colour.
        boundaries: Also learn the boundary of objects as a class of its own, so that `medseg predict --instances` tells
            objects that touch apart.
        annotated_from_values: For partly labelled cases: a structure that a label file does not contain was not
            annotated in that case.
    """

    images: Annotated[Sequence[str], Option(group=_FILES.group, metavar="PATTERN"), OFTEN] = ()
    labels: Annotated[str | None, Option(group=_FILES.group, metavar="PATTERN"), OFTEN] = None
    cases: Annotated[Path | None, _FILES] = None
    patient_pattern: Annotated[str | None, Option(group=_FILES.group, metavar="REGEX"), OFTEN] = None
    exclude: Annotated[Path | None, _FILES] = None
    frame: Annotated[int | None, Option(group=_FILES.group, minimum=0)] = None
    structures: Annotated[Sequence[str], Option(group=_VALUES.group, metavar="NAME=VALUE"), OFTEN] = ()
    no_background: Annotated[bool, _VALUES] = False
    ignore: Annotated[int | None, _VALUES] = None
    activation: Annotated[str | None, _VALUES] = None
    colours: Annotated[Sequence[str], Option(group=_VALUES.group, metavar="NAME=COLOUR")] = ()
    boundaries: Annotated[bool, _VALUES] = False
    annotated_from_values: Annotated[bool, _VALUES] = False

    def given(self) -> dict[str, Any]:
        """Return the options that differ from their defaults, by name, as a plan records them in `request.options`.

        The patient pattern is not among them, as it has a key of its own in the plan. Of files only the name is given.
        """
        given: dict[str, Any] = {}
        for option in fields(self):
            value = getattr(self, option.name)
            if isinstance(value, (list, tuple)):
                value = tuple(value)
            if value == option.default or option.name == "patient_pattern":
                continue
            given[option.name] = list(value) if isinstance(value, tuple) else value
            if isinstance(value, Path):
                given[option.name] = value.name
        return given


DEFAULT_DATA_OPTIONS = DataOptions()


def split_pair(text: str, example: str) -> tuple[str, str]:
    """Return the two parts of a `NAME=VALUE`.

    Args:
        text: what a user gave.
        example: a correct option, for the message.

    Raises:
        PlanError: the text is not of this form.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise PlanError(f"{text!r} is not of the form NAME=VALUE.", f"Example: {example}")
    return name.strip(), value.strip()
