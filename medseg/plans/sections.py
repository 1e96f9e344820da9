"""The plan's sections on data, training and inference; `schema` puts the plan together.

Nothing here has a default that another module repeats.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

Fraction = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]

_OF_DICOM = ("segments", "overlaps", "resample_tilt", "allow_gaps")


def _ordered(limits: list[float]) -> list[float]:
    if limits[0] > limits[1]:
        raise ValueError("expected [smallest, largest]")
    return limits


Range = Annotated[list[NonNegative], Field(min_length=2, max_length=2), AfterValidator(_ordered)]
Overlaps = Literal["refuse", "later"] | dict[str, int]
PositiveRange = Annotated[list[PositiveFloat], Field(min_length=2, max_length=2), AfterValidator(_ordered)]


class Section(BaseModel):
    """A part of the plan; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class Reading(Section):
    """How files become scans and label maps where the files alone do not say; empty unless someone said so.

    Attributes:
        frame: which point in time of a time series is the scan, from 0.
        threshold: a soft mask belongs to the structure, which then has the value 1, where it is at least this large.
        map: value in label files (`3`), or a range of them (`100-255`) -> value meant, applied after the threshold and
            before structures are looked up.
        colours: `#rrggbb` in label files -> value meant; palettes are then read by colour, too.
        resample_labels: a label map on another grid than its scan is brought there by nearest neighbour.
        segments: name of an ROI (RTSTRUCT) or segment (DICOM SEG), or a pattern of such names (`GTV*`) -> value meant.
            Those that no pattern fits are left out; nothing said, a SEG's segments have their numbers as values.
        overlaps: what is meant where several of them overlap: nothing (that is an error), the `later` one of
            `segments`, or a table of sets of values (`1+2`) -> value.
        resample_tilt: a DICOM series with a gantry tilt is resampled onto a grid with right angles.
        allow_gaps: missing slices and unequal steps of a DICOM series are bridged by linear interpolation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    frame: Annotated[int, Field(ge=0)] | None = None
    threshold: float | None = None
    map: dict[int | str, int] = {}
    colours: dict[str, int] = {}
    resample_labels: bool = False
    segments: dict[str, int] = {}
    overlaps: Overlaps = "refuse"
    resample_tilt: bool = False
    allow_gaps: bool = False

    @model_serializer(mode="wrap")
    def _without_dicom(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What was said of DICOM only where something was: other plans, and the keys of their caches, need none."""
        values: dict[str, Any] = handler(self)
        return {
            name: value
            for name, value in values.items()
            if name not in _OF_DICOM or getattr(self, name) != type(self).model_fields[name].default
        }

    @field_validator("map")
    @classmethod
    def _values_or_ranges(cls, table: dict[int | str, int]) -> dict[int | str, int]:
        # JSON, and YAML as plans are written, have keys in text: whole numbers become whole again
        table = {
            int(source) if re.fullmatch(r"-?\d+", str(source)) else source: value for source, value in table.items()
        }
        ranges = sorted(cls.bounds(source) for source in table if isinstance(source, str))
        for (_, high), (low, _) in pairwise(ranges):
            if low <= high:
                raise ValueError(f"two ranges of map hold the value {low}")
        return table

    @field_validator("colours")
    @classmethod
    def _hexadecimal(cls, table: dict[str, int]) -> dict[str, int]:
        odd = [colour for colour in table if not re.fullmatch("#[0-9a-f]{6}", colour)]
        if odd:
            raise ValueError(f"{odd[0]!r} is no colour; expected #rrggbb in lower case, such as #ff0000")
        return table

    @staticmethod
    def bounds(source: int | str) -> tuple[int, int]:
        """The smallest and the largest value that a key of `map` stands for.

        Raises:
            ValueError: it is neither a whole number nor a range of them.
        """
        parts = re.fullmatch(r"(-?\d+)(?:-(-?\d+))?", str(source))
        low, high = (int(parts[1]), int(parts[2] or parts[1])) if parts else (1, 0)
        if low > high:
            raise ValueError(f"{source!r} is neither a value (3) nor a range of values (100-255)")
        return low, high


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
    """The data set that the plan was made from.

    Attributes:
        left_out: ids of cases that could not be used when the plan was made; planning anew looks at them again.
        series_rules: of DICOM studies, the rule by which the series of each channel is chosen; none where a study has
            one series that fits. Prediction goes by them, too.
    """

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
    left_out: list[str] = []
    series_rules: list[str] = []

    @model_serializer(mode="wrap")
    def _without_rules(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Rules for series only where there are any."""
        values: dict[str, Any] = handler(self)
        return {name: value for name, value in values.items() if name != "series_rules" or value}


class Augmentation(Section):
    """Probabilities and ranges of the random changes to a training patch.

    Attributes:
        previous_operator_probability: in a cascade, the stage before's structures grow, shrink, are opened or closed.
        previous_removal_probability: and parts of them vanish; see `training.previous`.
    """

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
    previous_operator_probability: Fraction = 0.4
    previous_removal_probability: Fraction = 0.2


DEFAULT_LOSS = "dice_ce"
"""Dice + cross-entropy; plans that name no loss mean this one."""


class LossChoice(Section):
    """Which loss is trained with: a name, or `{name: tversky, alpha: 0.3}` with arguments of its own.

    `medseg.training.losses.table` lists the names; whoever trains looks them up there.

    Attributes:
        name: of the loss.
    """

    model_config = ConfigDict(extra="allow")

    name: str

    @property
    def arguments(self) -> dict[str, Any]:
        """Everything that is said beside the name."""
        return dict(self.model_extra or {})

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_serializer(mode="plain")
    def _as_written(self) -> str | dict[str, Any]:
        return {"name": self.name, **self.arguments} if self.arguments else self.name


class Training(Section):
    """Optimizer, schedule, sampling and augmentation.

    Attributes:
        loss: what is minimized, by name; written only where it is not `dice_ce`.
        dice_weight: of the Dice term of `dice_ce`.
        cross_entropy_weight: of the cross-entropy term of `dice_ce`.
        encoder_learning_rate: the encoder's share of the learning rate; 0 freezes it.
        schedule_epoch_steps: the learning rate changes every so many steps; nnU-Net's epoch has 250.
        cuda_graph: on a CUDA device, record a step once and replay it.
        patience: validations in a row without a better mean Dice after which a run comes to its end; 0 for never.
    """

    steps: PositiveInt
    optimizer: Literal["sgd", "adamw", "muon"]
    learning_rate: PositiveFloat
    encoder_learning_rate: Fraction = 1.0
    momentum: Fraction
    weight_decay: NonNegative
    schedule: Literal["poly", "one_cycle"]
    schedule_epoch_steps: PositiveInt = 1
    gradient_clip: PositiveFloat
    foreground_fraction: Fraction
    deep_supervision: bool
    loss: LossChoice = LossChoice(name=DEFAULT_LOSS)
    dice_weight: NonNegative
    cross_entropy_weight: NonNegative
    average_weights: Fraction
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    cuda_graph: bool = False
    validations: PositiveInt
    patience: Annotated[int, Field(ge=0)] = 0
    validation_cases: PositiveInt
    seed: Annotated[int, Field(ge=0)]
    augmentation: Augmentation

    @model_serializer(mode="wrap")
    def _without_default_loss(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave the default loss out, so that plans stay as they were before there was a choice."""
        values: dict[str, Any] = handler(self)
        return {name: value for name, value in values.items() if name != "loss" or value != DEFAULT_LOSS}


class Inference(Section):
    """The sliding window, and how it is computed.

    Attributes:
        step_fraction: largest step from tile to tile, as a share of the tile.
        gaussian_sigma_fraction: width of the weight around a tile's centre, as a share of the tile.
        mirror: average over mirrored copies along the configuration's `mirror_axes`.
        precision: that convolutions are computed in; auto: bf16 where the processor has it.
        backend: auto: OpenVINO on a CPU where it is installed, else torch.
        tile_batch: tiles and mirrored copies that go through the network at once; auto: by the tile's size.
        skip_empty_tiles: a tile in which no channel varies by more than 0.001 is answered as another one of the same
            intensity (to two decimals) was. Tiles that are exactly even are answered once in any case.
    """

    step_fraction: Annotated[float, Field(gt=0, le=1)]
    gaussian_sigma_fraction: PositiveFloat
    mirror: bool
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    backend: Literal["auto", "torch", "openvino"] = "auto"
    tile_batch: PositiveInt | Literal["auto"]
    skip_empty_tiles: bool = False


class Scoring(Section):
    """How answers are scored, after training and by `medseg evaluate`.

    Attributes:
        nsd_tolerance_mm: {structure: tolerance of its normalized surface distance}; 2 mm (pixels) for the others.
        empty_policy: what a score is where a structure is empty: medseg's own rule, or a challenge's.
        surface: what surfaces consist of: elements as in DeepMind's code, voxels as in MONAI's; null measures none.
        lesions: count lesions too: connected components of each structure.
        instances: measure the panoptic quality of instances, which are connected components.
        extra_measures: names of measures that were added with `register_measure`; see docs/measures.md.
    """

    nsd_tolerance_mm: dict[str, PositiveFloat] = {}
    empty_policy: Literal["default", "brats", "isles"] = "default"
    surface: Literal["elements", "voxels"] | None = "elements"
    lesions: bool = False
    instances: bool = False
    extra_measures: list[str] = []

    @model_serializer(mode="wrap")
    def _without_extra(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Return the section as it is written: plans that ask for no extra measure need no key for it."""
        values: dict[str, Any] = handler(self)
        return {name: value for name, value in values.items() if name != "extra_measures" or value}
