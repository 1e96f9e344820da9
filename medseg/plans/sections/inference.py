"""The section `inference`: the sliding window, and how it is computed."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveFloat

from medseg.plans.sections.section import Section


class Inference(Section):
    """The sliding window, and how it is computed.

    Attributes:
        step_fraction: largest step from tile to tile, as a share of the tile.
        gaussian_sigma_fraction: standard deviation of the Gaussian weight around a tile's centre, as a share of the
            tile.
        mirror: average over mirrored copies along the configuration's `mirror_axes`.
        precision: in which convolutions are computed; `auto` is bf16 if the processor has it; `int8` is for models that
            `medseg quantize` has prepared, on x86 processors.
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
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"]
    backend: Literal["auto", "torch", "openvino"] = "auto"
    tile_batch: Annotated[int, Field(ge=1, le=100_000)] | Literal["auto"]
    skip_empty_tiles: bool = False
    spacing: Annotated[list[PositiveFloat], Field(min_length=3, max_length=3)] | None = None
    unlike_scans: Literal["refuse", "warn"] = "refuse"
