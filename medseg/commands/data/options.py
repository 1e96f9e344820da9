"""Options of the verbs that read a data set: `medseg check`, `medseg plan`, `medseg labelme`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medseg.datasets.data_options import NOTHING_SAID, DataOptions


@dataclass(frozen=True)
class CheckOptions:
    """What may be asked of a check.

    Attributes:
        data: what is said about the data set, as for a plan.
        orientation: `canonical` or `stored`, in which a plan would use the scans.
        output: folder for `check.json` and `check.html`; None for `checks/NAME/` in the workspace.
    """

    data: DataOptions = field(default_factory=DataOptions)
    orientation: str = "canonical"
    output: Path | None = None


@dataclass(frozen=True)
class PlanOptions:
    """What may be asked of a plan.

    Attributes:
        planner: `default` (plain U-Net), `resenc-m`, `resenc-l` or `resenc-xl`.
        memory_gb: GPU memory to plan for; None for the planner's own, or the preset's.
        preset: `gpu`, `cpu`, or `auto`: cpu where there is no GPU.
        default_configuration: None for 3d_fullres, or 2d for images.
        data: what is said about the data set: where its files lie, what their values mean.
        normalization: `channel=scheme` strings.
        splits: `grouped` or `nnunet`.
        orientation: `canonical` or `stored`.
        overrides: `dotted.key=value` strings for the plan.
        codes: what structures are in coded words, see `delivery.dicom.codes.read_codes`.
        cascade: plan a low resolution and a cascade, also where the rules need none, and train the cascade by default.
        replace: overwrite a plan of the same name.
        strict: make no plan of a data set in which the check finds anything.
    """

    planner: str = "default"
    memory_gb: float | None = None
    preset: str = "auto"
    default_configuration: str | None = None
    data: DataOptions = NOTHING_SAID
    normalization: Sequence[str] = ()
    splits: str = "grouped"
    orientation: str = "canonical"
    overrides: list[str] = field(default_factory=list)
    codes: str | None = None
    cascade: bool = False
    replace: bool = False
    strict: bool = False


@dataclass(frozen=True)
class LabelmeOptions:
    """What may be asked of a conversion.

    Attributes:
        labels: labelme's `labels.txt`, one class a line; None for the classes that occur, sorted.
        order: where shapes overlap, `later` ones cover earlier ones, or, by `area`, smaller ones cover larger ones.
        instances: also write which pixel belongs to which object.
    """

    labels: Path | None = None
    order: str = "later"
    instances: bool = False
