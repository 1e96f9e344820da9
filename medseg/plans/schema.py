"""The plan: the one configuration, validated. `plan_file` reads and writes it as YAML.

Vectors are (z, y, x) in the plan's axis order, that is after `transpose_forward`; 2D configurations leave
the first axis out. Nothing here has a default that another module repeats.
"""

from __future__ import annotations

from math import prod
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, field_validator, model_validator

from medseg.core.labels import Labels
from medseg.core.wording import counted
from medseg.plans.sections import Data, Inference, NonNegative, Request, Scoring, Section, Training
from medseg.plans.terminology import Coding

SCHEMA_VERSION = 1


class Normalization(Section):
    """How one channel is normalized; `nonzero_only`: statistics within the nonzero mask, zero outside of it."""

    scheme: Literal["ct", "zscore", "rescale_0_1", "rgb_0_1", "none"]
    nonzero_only: bool = False

    @model_validator(mode="after")
    def _mask_needs_zscore(self) -> Normalization:
        if self.nonzero_only and self.scheme != "zscore":
            raise ValueError(f"nonzero_only goes with zscore, not with {self.scheme}")
        return self


class Resampling(Section):
    """Spline order in plane, order across slices, and whether slices are resampled apart (null: when anisotropic)."""

    order: Annotated[int, Field(ge=0, le=3)]
    order_across: Annotated[int, Field(ge=0, le=1)]
    separate_axis: bool | None


UNETS = {"plain_unet": False, "residual_unet": True}
"""medseg's own networks, and whether their encoder is residual."""


class Network(Section):
    """A U-Net, stage by stage from the full resolution down, or another network by name with its own arguments."""

    name: str
    features: list[PositiveInt] = []
    kernels: list[list[PositiveInt]] = []
    strides: list[list[PositiveInt]] = []
    blocks: list[PositiveInt] = []
    decoder_convolutions: list[PositiveInt] = []
    bias: bool = True
    arguments: dict[str, Any] = {}

    @model_validator(mode="after")
    def _stages_agree(self) -> Network:
        stages = len(self.features)
        counts = {"kernels": len(self.kernels), "strides": len(self.strides), "blocks": len(self.blocks)}
        for key, count in counts.items():
            if stages and count != stages:
                has = counted(stages, "stage")
                raise ValueError(f"{key} has {counted(count, 'entry')} for the {has} that features has")
        if self.name not in UNETS:
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
        """What each axis of a patch must be a multiple of."""
        return [prod(axis) for axis in zip(*self.strides, strict=True)]


class Configuration(Section):
    """One way to segment this data set: a resolution, a patch, a network.

    `rotation_degrees` limits the random rotation about each axis; a single angle turns in the slice plane, and
    `in_plane_only` keeps scaling there too. `mirror_axes` are the axes of the patch that may be reversed, in
    training and in prediction.
    """

    spacing_mm: list[PositiveFloat]
    median_shape_voxels: list[float]
    patch_voxels: list[PositiveInt]
    batch_size: PositiveInt
    batch_dice: bool
    normalization: list[Normalization]
    resample_image: Resampling
    resample_label: Resampling
    resample_logits: Resampling
    rotation_degrees: list[NonNegative]
    in_plane_only: bool
    mirror_axes: list[int]
    network: Network
    previous_stage: str | None = None

    @property
    def dimensions(self) -> int:
        """2 or 3."""
        return len(self.patch_voxels)

    @property
    def patch_zyx(self) -> tuple[int, int, int]:
        """The patch in three axes: one slice deep in 2D."""
        z, y, x = (1,) * (3 - self.dimensions) + tuple(self.patch_voxels)
        return z, y, x

    @model_validator(mode="after")
    def _patch_fits_network(self) -> Configuration:
        if len(self.spacing_mm) != self.dimensions:
            raise ValueError(f"spacing_mm has {len(self.spacing_mm)} axes, patch_voxels has {self.dimensions}")
        if len(self.rotation_degrees) not in (1, 2 * self.dimensions - 3):
            raise ValueError(
                f"rotation_degrees has {counted(len(self.rotation_degrees), 'entry')}; expected one, "
                "or in 3D one an axis"
            )
        if len({*self.mirror_axes}) != len(self.mirror_axes) or not {*self.mirror_axes} <= {*range(self.dimensions)}:
            raise ValueError(
                f"mirror_axes is {self.mirror_axes}; expected some of {[*range(self.dimensions)]}, each once"
            )
        for key in ("kernels", "strides"):
            odd = [axes for axes in getattr(self.network, key) if len(axes) != self.dimensions]
            if odd:
                raise ValueError(
                    f"network.{key} has an entry {odd[0]}; expected {self.dimensions} axes, as patch_voxels has"
                )
        if self.network.strides:
            divisor = self.network.divisor
            if any(size % step for size, step in zip(self.patch_voxels, divisor, strict=True)):
                valid = [
                    max(step, round(size / step) * step) for size, step in zip(self.patch_voxels, divisor, strict=True)
                ]
                raise ValueError(
                    f"patch_voxels is {self.patch_voxels}, but the network's strides need multiples of {divisor}; "
                    f"the nearest valid patch is {valid}"
                )
        return self


class Plan(Section):
    """Everything that preprocessing, training and inference will do, with the reason for each decision.

    `reasons` maps dotted keys (`configurations.3d_fullres.patch_voxels`) to sentences; in the file they are
    comments. `codes` says in coded words what structures are whose names do not (`delivery.dicom.codes`). `nnunet`
    keeps what an nnU-Net plan said that has no meaning here, so that it can be turned back.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
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
    nnunet: dict[str, Any] = {}
    reasons: dict[str, str] = Field(default={}, exclude=True)

    @field_validator("name")
    @classmethod
    def _file_name(cls, value: str) -> str:
        if not value or value.startswith(".") or "/" in value or "\\" in value:
            raise ValueError(f"{value!r} cannot be the name of a folder")
        return value

    @field_validator("transpose_forward")
    @classmethod
    def _permutation(cls, value: list[int]) -> list[int]:
        if sorted(value) != [0, 1, 2]:
            raise ValueError(f"{value} is not a permutation of the axes [0, 1, 2]")
        return value

    @model_validator(mode="after")
    def _configurations_are_valid(self) -> Plan:
        if len(self.data.intensities) not in (0, len(self.data.channels)):
            raise ValueError(
                f"data.intensities has {counted(len(self.data.intensities), 'entry')} for "
                f"{counted(len(self.data.channels), 'channel')}"
            )
        for name in self.configurations:
            try:
                resolved = self.configuration(name)
            except ValidationError as error:
                raise ValueError(f"configurations.{name} has {error}") from None
            if len(resolved.normalization) != len(self.data.channels):
                raise ValueError(
                    f"configurations.{name}.normalization has {counted(len(resolved.normalization), 'entry')} "
                    f"for {counted(len(self.data.channels), 'channel')}"
                )
        odd = sorted({*self.scoring.nsd_tolerance_mm} - {*self.labels.names})
        if odd:
            raise ValueError(
                f"scoring.nsd_tolerance_mm names {odd[0]!r}; structures are {', '.join(self.labels.names)}"
            )
        odd = sorted({*self.codes} - {*self.labels.names})
        if odd:
            raise ValueError(f"codes names {odd[0]!r}; structures are {', '.join(self.labels.names)}")
        if self.default_configuration not in self.configurations:
            raise ValueError(
                f"default_configuration is {self.default_configuration!r}; there are {', '.join(self.configurations)}"
            )
        return self

    def configuration(self, name: str) -> Configuration:
        """The configuration with everything that it inherits filled in."""
        return Configuration.model_validate(self._inherited(name, ()))

    def _inherited(self, name: str, path: tuple[str, ...]) -> dict[str, Any]:
        if name in path:
            raise ValueError(f"configurations inherit in a circle: {' -> '.join((*path, name))}")
        if not isinstance(name, str) or name not in self.configurations:
            raise ValueError(f"there is no configuration {name!r}; there are {', '.join(self.configurations)}")
        own = dict(self.configurations[name])
        parent = own.pop("inherits", None)
        return own if parent is None else {**self._inherited(parent, (*path, name)), **own}
