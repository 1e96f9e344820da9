"""Options of `medseg dicom`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from medseg.core.options import Option
from medseg.core.verb_options import VerbOptions
from medseg.delivery.answers.options import WriteOptions

_MEANING = Option(group="What the labels are")
_SERIES = Option(group="Which series")


@dataclass(frozen=True)
class DicomOutOptions(VerbOptions):
    """Options of `medseg dicom`.

    Attributes:
        series: Which series of the study: a number, a key of `medseg series`, or a rule such as Modality=CT.
        structures: NAME=VALUE of a structure in the labels, repeatable; of an RTSTRUCT or DICOM SEG, the names of its
            structures with any values. If left out, they are read from labels.json, which `medseg predict` writes
            beside the labels.
        write: Forms in which the labels are written; a label map is not a form here.
        algorithm: NAME, or 'NAME VERSION', of the program that made the labels; a last word without a digit is part of
            the name.
        manual: A person drew or corrected the labels.
        resample_tilt: The labels were made with --resample-tilt.
        allow_gaps: The labels were made with --allow-gaps.
    """

    series: Annotated[str | None, Option(group=_SERIES.group, metavar="RULE")] = None
    structures: Annotated[Sequence[str], Option(group=_MEANING.group, metavar="NAME=VALUE")] = ()
    write: Annotated[WriteOptions, Option(rarely=("forms",))] = field(default_factory=WriteOptions)
    algorithm: Annotated[str | None, _MEANING] = None
    manual: Annotated[bool, _MEANING] = False
    resample_tilt: Annotated[bool, _SERIES] = False
    allow_gaps: Annotated[bool, _SERIES] = False
