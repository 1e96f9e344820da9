"""The sections `request` and `data`: what the plan was made from."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from medseg.plans.sections.reading import Reading
from medseg.plans.sections.section import Fraction, NonNegative, Section, Values


class Request(Section):
    """The request that the plan was made from; the plan follows from it and from the data, not from the machine.

    Attributes:
        planner: the rules and the size of network: `default`, `resenc-m`, `resenc-l` or `resenc-xl`.
        memory_gb: GPU memory to plan for, in GB; None for the planner's own.
        preset: how to train: `gpu` (nnU-Net's recipe) or `cpu` (short runs on a few cores).
        options: further options of `medseg plan` that were given, by name.
    """

    planner: str
    memory_gb: PositiveFloat | None
    preset: Literal["gpu", "cpu"]
    options: Values = {}


class Intensity(Section):
    """Statistics of one channel over the foreground voxels of all cases, in which each case weighs the same.

    Attributes:
        mean: mean intensity.
        median: median intensity.
        std: standard deviation.
        min: smallest intensity.
        max: largest intensity.
        percentile_00_5: 0.5th percentile.
        percentile_99_5: 99.5th percentile.
    """

    mean: float
    median: float
    std: float
    min: float
    max: float
    percentile_00_5: float
    percentile_99_5: float


_Vector = Annotated[list[float], Field(min_length=3, max_length=3)]
_Bounds = Annotated[list[_Vector], Field(min_length=2, max_length=2)]


class ChannelRange(Section):
    """What one channel of the training scans was like, over whole scans.

    Attributes:
        quantiles: the smallest and the largest value of the 5, 25, 50, 75 and 95 % quantiles of the scans.
        spread: the smallest and the largest distance of the 5 and the 95 % quantile.
        fewest_values: the smallest number of different values in a scan (`planning.content.ValuePattern`).
        most_equal: the largest share of equal neighbours in a scan (as above).
        modalities: the modalities that the scans' DICOM series state; empty if their files state none.
        roughness: the smallest and the largest rank correlation of mean and deviation in small neighbourhoods: above 0
            where bright areas are rougher than dark ones; empty if there are fewer than five scans.
        asymmetry: the smallest and the largest asymmetry of the 5, 50 and 95 % quantiles: above 0 where the median is
            nearer to the dark end; empty as above.
    """

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("modalities", "roughness", "asymmetry")

    quantiles: Annotated[
        list[Annotated[list[float], Field(min_length=5, max_length=5)]], Field(min_length=2, max_length=2)
    ]
    spread: Annotated[list[NonNegative], Field(min_length=2, max_length=2)]
    fewest_values: PositiveInt
    most_equal: Fraction
    modalities: list[str] = []
    roughness: Annotated[list[float], Field(max_length=2)] = []
    asymmetry: Annotated[list[float], Field(max_length=2)] = []


class ScanRange(Section):
    """What the training scans were like, to compare others with (`checking.scan_grid`).

    Axes are (z, y, x) in the plan's orientation, before `transpose_forward`; lengths are in mm, or in pixels if the
    spacing is unknown.

    Attributes:
        spacing: the smallest and the largest spacing along each axis.
        size: the smallest and the largest length of a scan, cropped to its nonzero box, along each axis.
        channels: each channel's range; empty if it is not known, as in models of nnU-Net's.
    """

    spacing: _Bounds
    size: _Bounds
    channels: list[ChannelRange] = []


class Data(Section):
    """The data set that the plan was made from.

    Attributes:
        folder: the data set's folder, relative to the workspace if it lies in it.
        layout: how files are arranged there, one of `medseg.io.layouts.dataset.LAYOUTS`.
        dimensions: 2 for images, 3 for volumes.
        channels: names of the channels, in order.
        cases: number of cases that were read.
        patient_pattern: regular expression that finds the patient in a case's id; None if ids say nothing of patients.
        spacing_known: False if the files do not store the size of a pixel (PNG); lengths are then in pixels.
        intensities: foreground statistics of each channel.
        structure_cases: structure -> number of cases in which it was annotated and is present.
        structure_volume: structure -> its mean volume in those cases, in ml, or in pixels if the spacing is unknown.
        scan_volume: mean volume of a scan, without ignored voxels, in the unit of `structure_volume`; None in plans
            that were made before this was noted.
        reading: what the values in files mean, as far as the files do not tell.
        left_out: ids of cases that could not be used; making the plan again looks at them again.
        series_rules: for DICOM studies, the rule that chooses the series of each channel, in prediction too; empty if
            each study has one series that fits.
        spacing_rule: how large a voxel of a scan is to the network: as `files` say; what the reader of `nnunet` says
            (`Image.nnunet_spacing`); or always `one`.
        scans: what the training scans were like; None in plans that were made before this was noted.
    """

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("scan_volume", "series_rules", "spacing_rule", "scans")

    folder: str
    layout: str
    dimensions: Literal[2, 3]
    channels: list[str] = Field(min_length=1)
    cases: int
    patient_pattern: str | None
    spacing_known: bool
    intensities: list[Intensity]
    structure_cases: dict[str, int]
    structure_volume: dict[str, float]
    scan_volume: float | None = None
    reading: Reading = Reading()
    left_out: list[str] = []
    series_rules: list[str] = []
    spacing_rule: Literal["files", "nnunet", "one"] = "files"
    scans: ScanRange | None = None
