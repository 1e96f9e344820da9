"""The plan's sections on data, training and inference; `schema` puts the plan together.

Nothing here has a default that another module repeats.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

Fraction = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]


def _ordered(limits: list[float]) -> list[float]:
    if limits[0] > limits[1]:
        raise ValueError("expected [smallest, largest]")
    return limits


Range = Annotated[list[NonNegative], Field(min_length=2, max_length=2), AfterValidator(_ordered)]
PositiveRange = Annotated[list[PositiveFloat], Field(min_length=2, max_length=2), AfterValidator(_ordered)]


class Section(BaseModel):
    """A part of the plan; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class Reading(Section):
    """How files become scans and label maps where the files alone do not say; empty unless a user said so.

    Attributes:
        frame: which point in time of a time series is the scan, from 0.
        threshold: a soft mask belongs to the structure where it is at least this large.
        map: value in label files -> value meant, applied before structures are looked up.
        colours: `#rrggbb` in label files -> value meant.
        resample_labels: a label map on another grid than its scan is brought there by nearest neighbour.
    """

    frame: Annotated[int, Field(ge=0)] | None = None
    threshold: float | None = None
    map: dict[int, int] = {}
    colours: dict[str, int] = {}
    resample_labels: bool = False


class Request(Section):
    """What was asked when the plan was made; the plan depends on this and on the data, not on the machine."""

    planner: str
    memory_gb: PositiveFloat | None
    preset: Literal["gpu", "cpu"]
    options: dict[str, Any] = {}


class Intensity(Section):
    """Statistics of a channel over the foreground voxels of the training cases."""

    mean: float
    median: float
    std: float
    min: float
    max: float
    percentile_00_5: float
    percentile_99_5: float


class Data(Section):
    """The data set that the plan was made from."""

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
    reading: Reading = Reading()


class Augmentation(Section):
    """Probabilities and ranges of the random changes to a training patch."""

    rotation_probability: Fraction
    scaling_probability: Fraction
    scaling_range: PositiveRange
    noise_probability: Fraction
    noise_std: Range
    blur_probability: Fraction
    blur_sigma_voxels: Range
    brightness_probability: Fraction
    brightness_factor: PositiveRange
    contrast_probability: Fraction
    contrast_factor: PositiveRange
    low_resolution_probability: Fraction
    low_resolution_zoom: PositiveRange
    gamma_probability: Fraction
    gamma_inverted_probability: Fraction
    gamma_range: PositiveRange


class Training(Section):
    """Optimizer, schedule, sampling and augmentation."""

    steps: PositiveInt
    optimizer: Literal["sgd", "adamw"]
    learning_rate: PositiveFloat
    momentum: Fraction
    weight_decay: NonNegative
    schedule: Literal["poly", "one_cycle"]
    gradient_clip: PositiveFloat
    foreground_fraction: Fraction
    deep_supervision: bool
    dice_weight: NonNegative
    cross_entropy_weight: NonNegative
    average_weights: Fraction
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    validations: PositiveInt
    validation_cases: PositiveInt
    seed: Annotated[int, Field(ge=0)]
    augmentation: Augmentation


class Inference(Section):
    """The sliding window."""

    step_fraction: Annotated[float, Field(gt=0, le=1)]
    gaussian_sigma_fraction: PositiveFloat
    mirror: bool
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    tile_batch: PositiveInt
