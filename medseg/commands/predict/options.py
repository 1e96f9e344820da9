"""Options of `medseg predict`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from medseg.delivery.answers.options import Maps, WriteOptions


@dataclass(frozen=True)
class PredictOptions:
    """What may be asked of a prediction.

    Attributes:
        configuration: which of a plan's trained configurations; None if only one is trained.
        folds: None for all that are trained; several are averaged.
        checkpoint: of nnU-Net's models: `final`, `best`, `latest` or a file's name.
        fast: trade some accuracy for time (`inference.fast`); what else is asked for goes before.
        mirror: also predict mirrored copies and average; None for what the plan says.
        channels: one pattern a channel (`*_flair.nii.gz`), where names carry no `_0000`.
        frame: which volume of a time series is the scan, from 0.
        series: of DICOM studies, one rule, or `CHANNEL:RULE` for each channel; else the plan's.
        resample_tilt: read DICOM series with a gantry tilt, resampled.
        allow_gaps: read DICOM series with missing slices, interpolated.
        device: `auto`, `cuda`, `cuda:1`, `mps` or `cpu`; several (`cuda:0,cuda:1`, or `all`) share the cases.
        keep_finished: leave alone what an earlier run of the same model finished in the folder.
        maps: what else is written beside the labels.
        write: in which forms answers are written, and what DICOM objects of them say.
        identify: name patients in manifest.json: identifiers and UIDs of DICOM, which stand nowhere otherwise.
        overrides: `dotted.key=value` strings for the plan.
    """

    configuration: str | None = None
    folds: Sequence[str] | None = None
    checkpoint: str | None = None
    fast: bool = False
    mirror: bool | None = None
    channels: Sequence[str] | None = None
    frame: int | None = None
    series: Sequence[str] = ()
    resample_tilt: bool = False
    allow_gaps: bool = False
    device: str = "auto"
    keep_finished: bool = False
    maps: Maps = field(default_factory=Maps)
    write: WriteOptions = field(default_factory=WriteOptions)
    identify: bool = False
    overrides: list[str] = field(default_factory=list)
