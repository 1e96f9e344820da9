"""Options of the verbs that read a data set: `medseg check`, `medseg plan`, `medseg labelme`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from medseg.core.errors import PlanError
from medseg.core.options import OFTEN, Option
from medseg.core.verb_options import VerbOptions
from medseg.datasets.data_options import DEFAULT_DATA_OPTIONS, DataOptions
from medseg.engines.options import ClusterOptions

_RULES = Option(group="What the rules decide")
_PLAN_FILE = Option(group="Where the plan goes")


@dataclass(frozen=True)
class CheckOptions(ClusterOptions):
    """Options of `medseg check`.

    Attributes:
        data: Where the files of the data set lie, and what their values mean.
        orientation: Orientation in which a plan would use the scans: canonical, or stored, where the order of axes in
            the files matters.
        output: Folder for check.json and check.html; if left out, checks/NAME/ in the workspace.
    """

    orientation: str = "canonical"
    output: Annotated[Path | None, OFTEN] = None
    data: Annotated[DataOptions, Option(without=("activation",))] = field(default_factory=DataOptions)


def parse_memory(text: str) -> float:
    """Return an amount of memory in GB.

    Raises:
        PlanError: The text is not an amount of memory.

    >>> parse_memory("24 GiB"), parse_memory("24")
    (24.0, 24.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:g|gb|gib)?", text.strip().lower())
    if match is None or float(match[1]) <= 0:
        raise PlanError(f"{text!r} is not an amount of memory.", "Write it as --memory 24GB.")
    return float(match[1])


@dataclass(frozen=True)
class PlanOptions(ClusterOptions):
    """Options of `medseg plan`.

    Attributes:
        planner: Planner: default (plain U-Net), resenc-m, resenc-l or resenc-xl.
        memory_gb: GPU memory to plan for, such as 24GB; if left out, the default of the planner or the preset.
        preset: Machine to plan for: gpu, cpu, or auto: cpu where there is no GPU.
        default_configuration: Default configuration: 2d, 3d_fullres or 3d_lowres; if left out, 3d_fullres, or 2d for 2D
            images.
        data: Where the files of the data set lie, and what their values mean.
        network: Network instead of the U-Net of the rules, such as attention_unet, or smp_unet on a pretrained encoder.
        encoder: Encoder of smp_unet, fpn, deeplabv3plus and the like, such as resnet34; if left out, mobilenet_v2.
        weights: File with pretrained weights of the encoder, such as mobilenet_v2.pth.
        normalization: CHANNEL=SCHEME, with a scheme of ct, zscore, rescale_0_1, rgb_0_1, rgb_minus1_1,
            imagenet_red, imagenet_green, imagenet_blue or none; repeatable.
        splits: Folds: grouped (cases of one patient together, structures balanced), nnunet (nnU-Net's own five), or
            auto: fold 0 is the data set's own split where it has one, and its test cases are kept out; else grouped.
        validation: Share of the cases to validate on, such as 0.2: one fold in place of five.
        orientation: Orientation of the scans: canonical, or stored as in their files, which is what nnU-Net does.
        overrides: Setting of the plan to change, such as training.steps=1000; repeatable.
        codes: DICOM codes for structures whose names are not in the built-in table: a CSV, or
            'Anterior=anterior hippocampus,...' with names of the table. docs/dicom/dicom-writing.md describes both.
        cascade: Plan a low resolution and a cascade also where the rules need none, and make the cascade the default.
        replace: Replace a plan of this name.
        strict: Make no plan if the check finds anything.
    """

    planner: Annotated[str, _RULES, OFTEN] = "default"
    memory_gb: Annotated[float | None, Option("--memory", _RULES.group, "SIZE", parse_memory), OFTEN] = None
    preset: Annotated[str, _RULES] = "auto"
    default_configuration: Annotated[str | None, Option("--config", _RULES.group)] = None
    cascade: Annotated[bool, _RULES] = False
    network: Annotated[str | None, _RULES] = None
    encoder: Annotated[str | None, _RULES] = None
    weights: Annotated[str | None, Option(group=_RULES.group, metavar="FILE")] = None
    normalization: Annotated[Sequence[str], Option(group=_RULES.group, metavar="CHANNEL=SCHEME")] = ()
    splits: Annotated[str, _RULES] = "auto"
    validation: Annotated[float | None, Option(group=_RULES.group, metavar="SHARE")] = None
    orientation: Annotated[str, _RULES] = "canonical"
    overrides: Annotated[list[str], Option("--set", _RULES.group, "KEY=VALUE"), OFTEN] = field(default_factory=list)
    codes: Annotated[str | None, _RULES] = None
    data: DataOptions = DEFAULT_DATA_OPTIONS
    replace: Annotated[bool, Option("--force", _PLAN_FILE.group), OFTEN] = False
    strict: Annotated[bool, _PLAN_FILE] = False


@dataclass(frozen=True)
class LabelmeOptions(VerbOptions):
    """Options of `medseg labelme`.

    Attributes:
        labels: labelme's labels.txt, one class per line; if left out, the classes that occur, sorted by name.
        order: Which shape covers the other where two overlap: later (the one drawn later) or area (the smaller one).
        instances: Also write instances/: which pixel belongs to which object.
        voc: Lay the set out as Pascal VOC: JPEGImages/, SegmentationClass/, class_names.txt.
        coco: Write annotations/instances.json as COCO does, in place of masks.
    """

    labels: Path | None = None
    order: str = "later"
    instances: bool = False
    voc: bool = False
    coco: bool = False
