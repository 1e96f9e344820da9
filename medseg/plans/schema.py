"""The plan: everything that preprocessing, training and inference do, validated; `file` reads and writes it.

Vectors are (z, y, x) in the plan's axis order, that is after `transpose_forward`; 2D configurations leave the first
axis out. Defaults of the plan are given here and in `sections`, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import prod
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from medseg.core.labels import Labels
from medseg.core.names import check_name
from medseg.core.wording import counted
from medseg.plans.network_rules import (
    CLASS_NAMES,
    ENCODER_CLASSES,
    UNETS,
    encoder_problem,
    patch_rule,
    pruning_problem,
    upsampling_problem,
)
from medseg.plans.sections.data import Data, Request
from medseg.plans.sections.inference import Inference
from medseg.plans.sections.losses import BACKGROUND
from medseg.plans.sections.scoring import Scoring
from medseg.plans.sections.section import Section, Values
from medseg.plans.sections.training import Training
from medseg.plans.terminology import Coding

SCHEMA_VERSION = 1
"""Version of the file format that this medseg writes; newer ones are refused."""


_OF_WHOLE_IMAGES = (
    *("ct", "rescale_0_1", "rgb_0_1", "rgb_minus1_1", "none"),
    *("imagenet_red", "imagenet_green", "imagenet_blue"),
)
"""Normalization schemes that take no statistics of the nonzero voxels."""


class Normalization(Section):
    """How the intensities of one channel are normalized.

    Attributes:
        scheme: `ct` (clip to the 0.5 and 99.5 percentiles of the foreground, standardize by its statistics), `zscore`
            (by each image's own mean and deviation), `rescale_0_1`, `rgb_0_1` (divide by 255), `rgb_minus1_1`
            (0 to 255 become -1 to 1), `imagenet_red`, `_green`, `_blue` (divide by 255, standardize by the statistics
            of this colour in ImageNet), `none`, or one that was registered; `medseg.preprocessing.normalize` has the
            table, and is asked before anything is preprocessed.
        nonzero_only: take the statistics of the nonzero voxels, and set all others to zero; with `zscore`, or with a
            scheme that was registered.
    """

    scheme: str
    nonzero_only: bool = False

    @model_validator(mode="after")
    def _check_nonzero_only(self) -> Normalization:
        if self.nonzero_only and self.scheme in _OF_WHOLE_IMAGES:
            raise ValueError(f"nonzero_only goes with zscore, not with {self.scheme}")
        return self


class Resampling(Section):
    """How images are resampled to another spacing.

    Attributes:
        order: order of the spline, within slices if these are resampled separately: 0 is nearest neighbour, 3 cubic.
        order_across: order of the spline across slices, if these are resampled separately.
        separate_axis: whether to resample within and across slices separately; None to do so if the spacing is
            anisotropic, as nnU-Net does (`default_resampling.py`).
    """

    order: Annotated[int, Field(ge=0, le=3)]
    order_across: Annotated[int, Field(ge=0, le=1)]
    separate_axis: bool | None


_Width = Annotated[int, Field(ge=1, le=1 << 16)]
_KernelSize = Annotated[int, Field(ge=1, le=127)]
_Stride = Annotated[int, Field(ge=1, le=64)]
_BlockCount = Annotated[int, Field(ge=1, le=1000)]
_Spacing = Annotated[float, Field(ge=1e-6, le=1e4)]
_PatchSize = Annotated[int, Field(ge=1, le=1 << 14)]
_MOST_PATCH_VOXELS = 1 << 30
# Limits that no network comes near: electron microscopes resolve some nanometres (1e-6 mm), whole slides are cut into
# patches of a few thousand pixels. Without them an absurd number ends in an error of torch's.


class Network(Section):
    """A U-Net, stage by stage from the full resolution down, or another network by name with its own arguments.

    Attributes:
        name: name of the network; `plain_unet` and `residual_unet` are described by the lists below. The name of a
            class of MONAI (`AttentionUnet`) is read as medseg's own for it (`attention_unet`).
        features: channels of each stage.
        kernels: kernel size along each axis, for each stage.
        strides: stride along each axis, for each stage; the first stage keeps the full resolution.
        blocks: convolutions (plain) or residual blocks (residual) of each stage of the encoder.
        decoder_convolutions: convolutions of each stage of the decoder, which has one stage less.
        bias: whether convolutions have a bias.
        arguments: arguments of all networks but `plain_unet` and `residual_unet`.
        encoder: name of the encoder, for networks of segmentation-models-pytorch; None for `mobilenet_v2`.
        weights: a file with weights of the encoder, which a run begins with, relative to the workspace; or `imagenet`
            for those that the library knows and `medseg train --download` fetches. None for random weights.
        upsampling: how the decoder comes to a finer grid, for networks that have the choice: by `transposed`
            convolutions or by linear `interpolation` after a 1x1 convolution. None for the network's own way, which is
            `transposed` for the U-Nets, as in nnU-Net.
    """

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("encoder", "weights", "upsampling")

    name: str
    features: list[_Width] = []
    kernels: list[list[_KernelSize]] = []
    strides: list[list[_Stride]] = []
    blocks: list[_BlockCount] = []
    decoder_convolutions: list[_BlockCount] = []
    bias: bool = True
    arguments: Values = {}
    encoder: str | None = None
    weights: str | None = None
    upsampling: Literal["transposed", "interpolation"] | None = None

    @field_validator("name")
    @classmethod
    def _short_name(cls, value: str) -> str:
        return {**CLASS_NAMES, **ENCODER_CLASSES}.get(value, value)

    @model_validator(mode="before")
    @classmethod
    def _written_as_a_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(f"a network has its arguments beside its name: {{name: {value}, arguments: {{}}}}")
        return value

    @model_validator(mode="after")
    def _check(self) -> Network:
        stages = len(self.features)
        for key in ("kernels", "strides", "blocks"):
            count = len(getattr(self, key))
            if stages and count != stages:
                raise ValueError(
                    f"{key} has {counted(count, 'entry')} for the {counted(stages, 'stage')} that features has"
                )
        problem = upsampling_problem(self)
        if problem:
            raise ValueError(problem)
        if self.name not in UNETS:  # other networks need not have stages
            return self
        if stages < 2:
            raise ValueError(
                f"a U-Net needs at least two stages; features has {stages}: the images or patches are too small"
            )
        if len(self.decoder_convolutions) != stages - 1:
            raise ValueError(f"decoder_convolutions needs {counted(stages - 1, 'entry')}, one less than the stages")
        if any(size % 2 == 0 for kernel in self.kernels for size in kernel):
            raise ValueError(f"kernels are {self.kernels}; sizes must be odd")
        if any(step != 1 for step in self.strides[0]):
            raise ValueError(f"strides begin with {self.strides[0]}; the first stage keeps the full resolution: all 1")
        if self.arguments:
            raise ValueError(f"arguments {', '.join(self.arguments)} are not known to {self.name}; delete them")
        return self

    @property
    def divisor(self) -> list[int]:
        """The number that the patch must be a multiple of, for each axis: the product of its strides."""
        return [prod(axis) for axis in zip(*self.strides, strict=True)]


class Configuration(Section):
    """One way to segment this data set: a resolution, a patch, a network.

    Attributes:
        spacing_mm: spacing of the network's grid.
        median_shape_voxels: median shape of the cases on that grid.
        patch_voxels: size of a training patch, and of a tile in prediction.
        batch_size: patches in a training step.
        batch_dice: take the Dice loss over the whole batch instead of for each patch.
        normalization: how each channel is normalized.
        resample_image: how images are brought to the network's grid.
        resample_label: how label maps are brought to the network's grid.
        resample_logits: how the network's output is brought back to the grid of the scan.
        rotation_degrees: limit of the random rotation about each axis; a single one is for rotations within slices.
        in_plane_only: random scaling, too, stays within slices.
        mirror_axes: axes of the patch that may be mirrored, in training and in prediction.
        network: the network.
        previous_stage: in a cascade, the configuration whose prediction is an input of this one.
    """

    spacing_mm: list[_Spacing]
    median_shape_voxels: list[Annotated[float, Field(ge=0, le=1e9)]]
    patch_voxels: list[_PatchSize]
    batch_size: Annotated[int, Field(ge=1, le=100_000)]
    batch_dice: bool
    normalization: list[Normalization]
    resample_image: Resampling
    resample_label: Resampling
    resample_logits: Resampling
    rotation_degrees: list[Annotated[float, Field(ge=0, le=360)]]
    in_plane_only: bool
    mirror_axes: list[int]
    network: Network
    previous_stage: Annotated[str, AfterValidator(partial(check_name, what="configuration"))] | None = None

    @property
    def dimensions(self) -> int:
        """2 or 3."""
        return len(self.patch_voxels)

    @property
    def patch_zyx(self) -> tuple[int, int, int]:
        """The patch with three axes: one slice deep in 2D."""
        z, y, x = (1,) * (3 - self.dimensions) + tuple(self.patch_voxels)
        return z, y, x

    @model_validator(mode="after")
    def _check(self) -> Configuration:
        if len(self.spacing_mm) != self.dimensions:
            raise ValueError(f"spacing_mm has {len(self.spacing_mm)} axes, patch_voxels has {self.dimensions}")
        if prod(self.patch_voxels) > _MOST_PATCH_VOXELS:
            raise ValueError(
                f"patch_voxels is {self.patch_voxels}, which are {prod(self.patch_voxels):,} voxels; "
                f"expected at most {_MOST_PATCH_VOXELS:,}"
            )
        if len(self.rotation_degrees) not in (1, 2 * self.dimensions - 3):
            raise ValueError(
                f"rotation_degrees has {counted(len(self.rotation_degrees), 'entry')}; expected one, "
                "or in 3D one for each axis"
            )
        if len({*self.mirror_axes}) != len(self.mirror_axes) or not {*self.mirror_axes} <= {*range(self.dimensions)}:
            raise ValueError(
                f"mirror_axes is {self.mirror_axes}; expected some of {[*range(self.dimensions)]}, each once"
            )
        for key in ("kernels", "strides"):
            wrong = [axes for axes in getattr(self.network, key) if len(axes) != self.dimensions]
            if wrong:
                raise ValueError(
                    f"network.{key} has an entry {wrong[0]}; expected {self.dimensions} axes, as patch_voxels has"
                )
        problem = encoder_problem(self.network, self.batch_size)
        if problem:
            raise ValueError(problem)
        rule = patch_rule(self)
        nearest = rule.nearest(self.patch_voxels)
        if nearest != self.patch_voxels:
            needs = "the network's strides need" if self.network.name in UNETS else f"{self.network.name} needs"
            raise ValueError(
                f"patch_voxels is {self.patch_voxels}, but {needs} {rule.words}; the nearest valid patch is {nearest}"
            )
        return self


class Plan(Section):
    """Everything that preprocessing, training and inference will do, with the reason for each decision.

    Attributes:
        schema_version: version of the file format.
        name: name of the plan; runs lie below `runs/NAME/`.
        made_by: version of medseg that made the plan.
        request: the request that the plan was made from.
        data: the data set that the plan was made from.
        labels: the structures.
        orientation: `canonical` brings every scan to one frame (x to the right, y to the front, z up); `stored` keeps
            the axes of the files, as nnU-Net does.
        transpose_forward: which (z, y, x) axis becomes the first, second and third axis of the network.
        default_configuration: the configuration that is used unless another one is asked for.
        configurations: name -> values of a configuration, or of the keys in which it differs from the one it `inherits`
            from; `configuration` returns one complete and validated.
        training: how to train.
        inference: how to predict.
        scoring: how predictions are scored.
        codes: structure -> its DICOM code, for names that are not in medseg's own table (`delivery.dicom.codes`).
        nnunet: content of an imported nnU-Net plan that has no meaning here, kept for export to nnU-Net.
        reasons: dotted key (`configurations.3d_fullres.patch_voxels`) -> why it has its value; comments in the file.
    """

    schema_version: int = SCHEMA_VERSION
    name: Annotated[str, AfterValidator(partial(check_name, what="folder"))]
    made_by: str
    request: Request
    data: Data
    labels: Labels
    orientation: Literal["canonical", "stored"]
    transpose_forward: list[int]
    default_configuration: str
    configurations: dict[str, dict[str, Any]]
    training: Training
    inference: Inference
    scoring: Scoring = Scoring()
    codes: dict[str, Coding] = {}
    nnunet: Values = {}
    reasons: dict[str, str] = Field(default={}, exclude=True)

    @field_validator("transpose_forward")
    @classmethod
    def _check_transpose(cls, value: list[int]) -> list[int]:
        if sorted(value) != [0, 1, 2]:
            raise ValueError(f"{value} is not a permutation of the axes [0, 1, 2]")
        return value

    @model_validator(mode="after")
    def _check(self) -> Plan:
        channels = counted(len(self.data.channels), "channel")
        if len(self.data.intensities) not in (0, len(self.data.channels)):
            raise ValueError(f"data.intensities has {counted(len(self.data.intensities), 'entry')} for {channels}")
        if self.labels.foreign_values and not self.nnunet:  # nnU-Net trains with such an order, and writes what it says
            raise ValueError(f"labels.region_values {self.labels.foreign_values[0]}")
        for name in self.configurations:
            check_name(name, "configuration")
            try:
                count = len(self.configuration(name).normalization)
            except ValidationError as error:
                raise ValueError(f"configurations.{name} has {error}") from None
            pruning = pruning_problem(self.configuration(name).network, self.training.deep_supervision)
            if pruning:
                raise ValueError(f"configurations.{name}.{pruning}")
            if count != len(self.data.channels):
                raise ValueError(f"configurations.{name}.normalization has {counted(count, 'entry')} for {channels}")
        for key, names in (("scoring.nsd_tolerance_mm", self.scoring.nsd_tolerance_mm), ("codes", self.codes)):
            unknown = sorted({*names} - {*self.labels.names})
            if unknown:
                raise ValueError(f"{key} names {unknown[0]!r}; structures are {', '.join(self.labels.names)}")
        boundaries = self.data.reading.boundaries
        unknown_values = sorted({*boundaries, *boundaries.values()} - {*self.labels.written_values.values()})
        if unknown_values or {*boundaries} & {*boundaries.values()}:
            values = ", ".join(map(str, self.labels.written_values.values()))
            raise ValueError(
                f"data.reading.boundaries is {boundaries}; expected {{value of a structure: value of its boundary}}, "
                f"two of {values}"
            )
        self._check_class_weights()
        sampling = self.training.sampling
        unknown = sorted({*sampling} - {*self.labels.names})
        if unknown:
            raise ValueError(f"training.sampling names {unknown[0]!r}; structures are {', '.join(self.labels.names)}")
        if not any(sampling.get(name, 1.0) for name in self.labels.names):
            raise ValueError("training.sampling gives every structure the weight 0; foreground_fraction: 0 means that")
        if self.default_configuration not in self.configurations:
            raise ValueError(
                f"default_configuration is {self.default_configuration!r}; there are {', '.join(self.configurations)}"
            )
        return self

    def _check_class_weights(self) -> None:
        """Refuse weights of what the network has no output for, and weights that leave nothing."""
        weights = self.training.class_weights
        if not isinstance(weights, dict):
            return
        with_background = self.labels.activation == "softmax" and self.labels.background is not None
        outputs = [*([BACKGROUND] if with_background else []), *self.labels.names]
        unknown = sorted({*weights} - {*outputs})
        if unknown:
            raise ValueError(f"training.class_weights names {unknown[0]!r}; expected some of {', '.join(outputs)}")
        if not any(weights.get(name, 1.0) for name in self.labels.names):
            raise ValueError("training.class_weights gives every structure the weight 0; nothing would be learnt")

    def configuration(self, name: str) -> Configuration:
        """Return a configuration with everything that it inherits filled in.

        Args:
            name: name of the configuration.

        Raises:
            ValueError: there is no such configuration, it inherits from itself, or its values are not valid.
        """
        return Configuration.model_validate(inherited_values(self.configurations, name))


def inherited_values(configurations: Mapping[str, dict[str, Any]], name: str) -> dict[str, Any]:
    """Return the values of a configuration, with those that it inherits filled in.

    Args:
        configurations: all configurations by name, as in a plan.
        name: name of the configuration.

    Raises:
        ValueError: it, or one that it inherits from, is missing; or it inherits from itself.

    >>> inherited_values({"full": {"batch_size": 2, "batch_dice": True}, "low": {"inherits": "full", "batch_size": 4}},
    ...                  "low")
    {'batch_size': 4, 'batch_dice': True}
    """
    values: dict[str, Any] = {}
    chain: list[str] = []
    current: Any = name
    while current is not None:
        if current in chain:
            raise ValueError(f"configurations inherit in a circle: {' -> '.join([*chain, current])}")
        if not isinstance(current, str) or current not in configurations:
            raise ValueError(f"there is no configuration {current!r}; there are {', '.join(configurations)}")
        chain.append(current)
        values = {**configurations[current], **values}
        current = configurations[current].get("inherits")
    values.pop("inherits", None)
    return values
