"""The plan's sections on data, training, inference and scoring; `schema` puts the plan together.

Defaults of the plan are given here and in `schema`, and nowhere else.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    Tag,
    field_validator,
    model_serializer,
    model_validator,
)

Fraction = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
# Limits that no sensible plan comes near. Without them an absurd number ends in an error of torch's, or in no end.
_Amount = Annotated[float, Field(ge=0, le=1000)]
_Factor = Annotated[float, Field(ge=0.001, le=1000)]


def _check_order(limits: list[float]) -> list[float]:
    """Refuse a range whose lower limit is above the upper one."""
    if limits[0] > limits[1]:
        raise ValueError("expected [smallest, largest]")
    return limits


def _check_is_text(values: dict[str, Any]) -> dict[str, Any]:
    """Refuse texts that no file can hold: JSON and YAML may name half of a character."""
    try:
        json.dumps(values, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{error.object[error.start : error.end]!r} is not a character") from None
    return values


Values = Annotated[dict[str, Any], AfterValidator(_check_is_text)]
"""Keys and values of which the schema knows nothing."""
Range = Annotated[list[_Amount], Field(min_length=2, max_length=2), AfterValidator(_check_order)]
PositiveRange = Annotated[list[_Factor], Field(min_length=2, max_length=2), AfterValidator(_check_order)]
Overlaps = Literal["refuse", "later"] | dict[str, int]


class Section(BaseModel):
    """A part of the plan; unknown keys are errors.

    Attributes:
        OPTIONAL_KEYS: keys that are left out of a written plan while they have their default, so that plans, and the
            hashes that name cached cases, stay as they were before these keys existed.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False)

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _serialize(self, handler: SerializerFunctionWrapHandler) -> Any:
        """Return the values by key, without optional keys that have their default."""
        values: dict[str, Any] = handler(self)
        for key in self.OPTIONAL_KEYS:
            if getattr(self, key) == type(self).model_fields[key].default:
                values.pop(key, None)
        return values


class Reading(Section):
    """How files become scans and label maps, as far as the files themselves do not tell.

    Attributes:
        frame: index of the point in time to take from a time series, from 0; None for files without time.
        threshold: voxels of a soft mask with at least this value belong to the structure, whose value is then 1; None
            for label files with whole numbers.
        map: value in label files (`3`), or a range of values (`100-255`) -> the value it stands for. It is applied
            after the threshold and before structures are looked up.
        colours: `#rrggbb` in label files -> the value it stands for; images with a palette are then read by colour too.
        resample_labels: bring a label map on another grid than its scan to the scan's grid, by nearest neighbour.
        segments: name of an ROI (RTSTRUCT) or segment (DICOM SEG), or a pattern of names (`GTV*`) -> its value. Those
            that match nothing are left out. If this is empty, the segments of a SEG have their numbers as values.
        overlaps: what overlapping segments mean: `refuse` makes them an error, `later` lets the later one of `segments`
            win, and a table gives each set of values (`1+2`) a value of its own.
        resample_tilt: resample DICOM series with a gantry tilt onto a grid with right angles.
        allow_gaps: bridge missing slices and unequal steps of DICOM series by linear interpolation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("segments", "overlaps", "resample_tilt", "allow_gaps")

    frame: Annotated[int, Field(ge=0)] | None = None
    threshold: float | None = None
    map: dict[int | str, int] = {}
    colours: dict[str, int] = {}
    resample_labels: bool = False
    segments: dict[str, int] = {}
    overlaps: Overlaps = "refuse"
    resample_tilt: bool = False
    allow_gaps: bool = False

    @field_validator("map")
    @classmethod
    def _check_map(cls, table: dict[int | str, int]) -> dict[int | str, int]:
        """Turn keys that are whole numbers into integers, and refuse ranges that overlap."""
        # the keys of JSON and of written plans are strings
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
    def _check_colours(cls, table: dict[str, int]) -> dict[str, int]:
        """Refuse keys that are not `#rrggbb`."""
        wrong = [colour for colour in table if not re.fullmatch("#[0-9a-f]{6}", colour)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is not a colour; expected #rrggbb in lower case, such as #ff0000")
        return table

    @staticmethod
    def bounds(source: int | str) -> tuple[int, int]:
        """Return the smallest and the largest value that a key of `map` stands for.

        Args:
            source: a whole number, or a range of them as text.

        Raises:
            ValueError: it is neither.

        >>> Reading.bounds(3), Reading.bounds("100-255"), Reading.bounds("-5--1")
        ((3, 3), (100, 255), (-5, -1))
        """
        parts = re.fullmatch(r"(-?\d+)(?:-(-?\d+))?", str(source))
        low, high = (int(parts[1]), int(parts[2] or parts[1])) if parts else (1, 0)  # (1, 0): not a range
        if low > high:
            raise ValueError(f"{source!r} is neither a value (3) nor a range of values (100-255)")
        return low, high


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
    """

    quantiles: Annotated[
        list[Annotated[list[float], Field(min_length=5, max_length=5)]], Field(min_length=2, max_length=2)
    ]
    spread: Annotated[list[NonNegative], Field(min_length=2, max_length=2)]
    fewest_values: PositiveInt
    most_equal: Fraction


class ScanRange(Section):
    """What the training scans were like, to compare others with (`checking.scan_fit`).

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


class Augmentation(Section):
    """Probabilities and ranges of the random changes to a training patch.

    The changes are nnU-Net v2's (`nnUNetTrainer.get_training_transforms`); `medseg.training.data.augment` draws them.
    Ranges are [smallest, largest].

    Attributes:
        rotation_probability: probability of a rotation, within the configuration's `rotation_degrees`.
        scaling_probability: probability of a change of size.
        scaling_range: factors of the change of size.
        noise_probability: probability of added Gaussian noise.
        noise_std: standard deviation of the noise, in units of the normalized image.
        blur_probability: probability of a Gaussian blur.
        blur_sigma_voxels: standard deviation of the blur, in voxels.
        brightness_probability: probability that intensities are multiplied by a factor.
        brightness_factor: that factor.
        contrast_probability: probability that deviations from the mean intensity are multiplied by a factor.
        contrast_factor: that factor.
        low_resolution_probability: probability that the patch is made as coarse as an image of lower resolution.
        low_resolution_zoom: the lower resolution, as a share of that of the patch.
        gamma_probability: probability of a gamma correction.
        gamma_inverted_probability: probability of a gamma correction of the inverted image.
        gamma_range: exponents of both gamma corrections.
        previous_operator_probability: in a cascade, probability that structures of the previous stage grow, shrink, are
            opened or closed.
        previous_removal_probability: in a cascade, probability that parts of such structures are removed.
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
"""Dice plus cross-entropy; the loss of plans that name none."""


LOSS_SUM = "sum"
"""The key of a sum of losses, and the name that it has in messages."""
BACKGROUND = "background"
"""What `training.class_weights` calls everything that belongs to no structure."""


class LossName(Section):
    """A loss by its name, or `{name: tversky, alpha: 0.3}` with arguments of its own.

    Attributes:
        name: name of the loss; `medseg.training.losses.table` has the names, and is asked when training starts.
    """

    model_config = ConfigDict(extra="allow")

    name: str

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the loss: every key but the name."""
        return dict(self.model_extra or {})

    @model_validator(mode="before")
    @classmethod
    def _accept_name_alone(cls, value: Any) -> Any:
        """Turn a plain name into a section."""
        return {"name": value} if isinstance(value, str) else value

    @model_serializer(mode="wrap")
    def _serialize(self, handler: SerializerFunctionWrapHandler) -> Any:
        """Return the name alone if there is nothing else to say, and a sum without its name."""
        values: dict[str, Any] = handler(self)
        for key in self.OPTIONAL_KEYS:
            if getattr(self, key) == type(self).model_fields[key].default:
                values.pop(key)
        if LOSS_SUM in values:
            return {LOSS_SUM: values[LOSS_SUM]}
        return values if len(values) > 1 else self.name


class LossPart(LossName):
    """A loss of a sum: a name, its arguments, and its weight in the sum.

    Attributes:
        weight: the weight, or [first, last]: it then changes linearly in the course of the schedule.
    """

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("weight",)

    weight: NonNegative | Annotated[list[NonNegative], Field(min_length=2, max_length=2)] = 1.0

    @property
    def weights(self) -> tuple[float, float]:
        """The weight at the start and at the end of the schedule."""
        first, last = self.weight if isinstance(self.weight, list) else (self.weight, self.weight)
        return first, last


class LossChoice(LossName):
    """The loss to train with: a name, with arguments or without, or `{sum: [dice, {name: focal, weight: 0.5}]}`.

    Attributes:
        sum: the losses of a sum; empty for a single loss.
    """

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("sum",)

    sum: list[LossPart] = []

    @model_validator(mode="before")
    @classmethod
    def _name_the_sum(cls, value: Any) -> Any:
        """Give a sum, which has no other keys, its name."""
        if not isinstance(value, dict) or LOSS_SUM not in value or value.get("name") == LOSS_SUM:
            return value
        others = [key for key in value if key != LOSS_SUM]
        if others:
            raise ValueError(f"a sum of losses has no key {others[0]!r}; names and arguments stand in its list")
        if not value[LOSS_SUM]:
            raise ValueError("the sum of losses is empty; expected a list such as [dice, {name: focal, weight: 0.5}]")
        return {"name": LOSS_SUM, **value}


BOOL_FORM, LEVELS_FORM = "(true or false)", "(levels)"
"""Tags of the two forms of `training.deep_supervision`; `problems` leaves them out of keys."""


class SupervisedLevels(Section):
    """Which answers of a network the loss looks at, and how much each counts.

    Attributes:
        levels: positions in the network's list of answers, 0 the full resolution, which predicts and must be there.
        weights: of these levels; they are divided by their sum. Empty for nnU-Net's: half for each further level.
    """

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("weights",)

    levels: Annotated[list[Annotated[int, Field(ge=0, le=31)]], Field(min_length=1)]
    weights: list[NonNegative] = []

    @model_validator(mode="after")
    def _check(self) -> SupervisedLevels:
        if len(set(self.levels)) < len(self.levels):
            raise ValueError(f"levels {self.levels} names a level twice")
        if self.weights and len(self.weights) != len(self.levels):
            raise ValueError(f"weights has {len(self.weights)} entries for {len(self.levels)} levels")
        if self.by_level[0] == 0:
            raise ValueError(
                "level 0 is the full resolution, which predicts; expected it among the levels, with a weight above 0"
            )
        return self

    @property
    def by_level(self) -> list[float]:
        """The weight of each level from 0 to the coarsest that is named, 0 for those between; their sum is 1."""
        weights = self.weights or [0.5**level for level in self.levels]
        named = dict(zip(self.levels, weights, strict=True))
        total = sum(weights) or 1.0
        return [named.get(level, 0.0) / total for level in range(max(self.levels) + 1)]


def _supervision_form(value: Any) -> str:
    """Return the tag of the form that `training.deep_supervision` has, so that its problems are those of one form."""
    return LEVELS_FORM if isinstance(value, dict | SupervisedLevels) else BOOL_FORM


class Training(Section):
    """Optimizer, schedule, loss, sampling and augmentation.

    Attributes:
        steps: optimizer steps; `epochs`, `--steps`, `--epochs` and `--budget` override it.
        epochs: length in epochs (`training.length.epochs`) instead of steps.
        optimizer: `sgd` (with Nesterov momentum), `adam` (weight decay as part of the gradient), `adamw` (apart from
            it), or `muon` (orthogonalized steps for convolutions, AdamW for the rest).
        learning_rate: the largest of the schedule.
        encoder_learning_rate: the encoder's share of the learning rate; 0 freezes it.
        momentum: the momentum of SGD and Muon.
        weight_decay: strength of the weight decay.
        schedule: `poly` ((1 - progress)^0.9), `cosine` (down to 0), `one_cycle` (up over the first tenth, then down
            along a cosine) or `constant`.
        schedule_epoch_steps: the learning rate changes once in this many steps; nnU-Net's epoch has 250.
        gradient_clip: largest global norm of the gradient.
        foreground_fraction: share of patches that are centred on a structure.
        sampling: structure -> how often these patches are centred on it, relative to the others, which have 1; the case
            is then one of those that have the structure. Empty to draw the case first, then one of its structures.
        deep_supervision: also apply the loss to coarser outputs: all that the network has with nnU-Net's weights
            (true), or chosen ones with chosen weights.
        loss: what is minimized: a loss, or a sum of losses.
        class_weights: structure (or `background`) -> its weight in the loss, 1 for those that are not named; or
            `inverse_frequency`: the rarer, the larger, as `training.losses.class_weights` says.
        dice_weight: weight of the Dice term of `dice_ce`.
        cross_entropy_weight: weight of the cross-entropy term of `dice_ce`.
        average_weights: decay of the moving average of the weights, which is then kept as the result; 0 for none.
        precision: in which convolutions are computed; `auto` is bf16 if the processor has it.
        cuda_graph: on a CUDA device, record a step once and replay it.
        validations: how often whole volumes are validated during the run.
        patience: validations in a row without a better mean Dice after which a run goes to its end early; 0 for never.
        validation_cases: number of cases in each of these validations.
        train_scores: also score as many training cases then, to see how far the network has learnt them by heart.
        seed: start of all random numbers.
        augmentation: random changes to patches.
    """

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("epochs", "sampling", "loss", "class_weights", "train_scores")

    steps: Annotated[int, Field(ge=1, le=10**9)]
    epochs: Annotated[float, Field(gt=0, le=10**9)] | None = None
    optimizer: Literal["sgd", "adam", "adamw", "muon"]
    learning_rate: PositiveFloat
    encoder_learning_rate: Fraction = 1.0
    momentum: Fraction
    weight_decay: NonNegative
    schedule: Literal["poly", "cosine", "one_cycle", "constant"]
    schedule_epoch_steps: PositiveInt = 1
    gradient_clip: PositiveFloat
    foreground_fraction: Fraction
    sampling: dict[str, NonNegative] = {}
    deep_supervision: Annotated[
        Annotated[bool, Tag(BOOL_FORM)] | Annotated[SupervisedLevels, Tag(LEVELS_FORM)],
        Discriminator(_supervision_form),
    ]
    loss: LossChoice = LossChoice(name=DEFAULT_LOSS)
    class_weights: dict[str, NonNegative] | Literal["inverse_frequency"] | None = None
    dice_weight: NonNegative
    cross_entropy_weight: NonNegative
    average_weights: Fraction
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    cuda_graph: bool = False
    validations: PositiveInt
    patience: Annotated[int, Field(ge=0)] = 0
    validation_cases: PositiveInt
    train_scores: bool = False
    seed: Annotated[int, Field(ge=0)]
    augmentation: Augmentation


class Inference(Section):
    """The sliding window, and how it is computed.

    Attributes:
        step_fraction: largest step from tile to tile, as a share of the tile.
        gaussian_sigma_fraction: standard deviation of the Gaussian weight around a tile's centre, as a share of the
            tile.
        mirror: average over mirrored copies along the configuration's `mirror_axes`.
        precision: in which convolutions are computed; `auto` is bf16 if the processor has it.
        backend: what computes the network; `auto` is OpenVINO on a CPU if it is installed, else torch.
        tile_batch: how many tiles and mirrored copies go through the network at once; `auto` decides by their size.
        skip_empty_tiles: compute a tile in which no channel varies by more than 0.001 only once for each intensity
            (rounded to two decimals). Tiles of exactly one value are computed once in any case.
        spacing: distance of a scan's voxels along z, y and x as they are stored, in the unit of the plan (mm, or
            pixels), whatever its file says; None for that of the file.
        unlike_scans: what is done with a scan so unlike the training scans that its answer cannot mean anything (a
            spacing in other units, a label map): `refuse` it, or `warn` and segment it.
    """

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("spacing", "unlike_scans")

    step_fraction: Annotated[float, Field(ge=0.01, le=1)]
    gaussian_sigma_fraction: Annotated[float, Field(ge=0.01, le=100)]
    mirror: bool
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    backend: Literal["auto", "torch", "openvino"] = "auto"
    tile_batch: Annotated[int, Field(ge=1, le=100_000)] | Literal["auto"]
    skip_empty_tiles: bool = False
    spacing: Annotated[list[PositiveFloat], Field(min_length=3, max_length=3)] | None = None
    unlike_scans: Literal["refuse", "warn"] = "refuse"


class Scoring(Section):
    """How predictions are scored, after training and by `medseg evaluate`.

    Attributes:
        nsd_tolerance_mm: structure -> tolerance of its normalized surface distance; 2 mm (or pixels) for the others.
        empty_policy: what an empty structure scores: medseg's own rule (`default`), or that of a challenge.
        surface: what surfaces consist of: `elements` as in DeepMind's code, `voxels` as in MONAI; None for no surface
            distances.
        lesions: also count lesions, which are connected components of a structure.
        instances: also measure the panoptic quality of instances, which are connected components.
        extra_measures: names of measures that were added with `register_measure`; see docs/measures.md.
    """

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("extra_measures",)

    nsd_tolerance_mm: dict[str, PositiveFloat] = {}
    empty_policy: Literal["default", "brats", "isles"] = "default"
    surface: Literal["elements", "voxels"] | None = "elements"
    lesions: bool = False
    instances: bool = False
    extra_measures: list[str] = []
