"""Options of `medseg dicom`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from medseg.delivery.answers.options import WriteOptions


@dataclass(frozen=True)
class DicomOutOptions:
    """What may be asked when labels are turned into DICOM.

    Attributes:
        series: which series of the study; see `medseg.io.dicom.listing.choose`.
        structures: `name=value` strings, where no labels.json of `medseg predict` lies beside the labels; of an
            RTSTRUCT or SEG, the names of its structures and any values.
        write: as what; `labels` is of no use here.
        algorithm: NAME or `NAME VERSION` of the program that made the labels.
        manual: a person made them.
        resample_tilt, allow_gaps: how the labels' grid was made from the series.
    """

    series: str | None = None
    structures: Sequence[str] = ()
    write: WriteOptions = field(default_factory=WriteOptions)
    algorithm: str | None = None
    manual: bool = False
    resample_tilt: bool = False
    allow_gaps: bool = False
