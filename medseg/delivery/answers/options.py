"""Options on what is written for each scan: maps beside the labels, and DICOM objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from medseg.core.options import OFTEN, Option, parse_list
from medseg.core.verb_options import VerbOptions

_MAPS = Option(group="Maps beside the labels")
_DICOM = Option(group="DICOM answers")


@dataclass(frozen=True)
class Maps:
    """Options on maps that are written beside the labels, as 16-bit NIfTI on the grid of the scan.

    Attributes:
        probabilities: Also write one probability map per structure: probabilities/CASE/STRUCTURE.nii.gz.
        entropy: Also write a map of uncertainty (entropy), entropy/CASE.nii.gz: 0 where the answer is certain, 1 where
            all structures are equally likely.
        spread: Also write the mean and standard deviation of each probability over folds and mirrored copies:
            mean/CASE/STRUCTURE.nii.gz and spread/CASE/STRUCTURE.nii.gz. The networks read the scan a second time.
    """

    probabilities: Annotated[bool, _MAPS, OFTEN] = False
    entropy: Annotated[bool, _MAPS] = False
    spread: Annotated[bool, _MAPS] = False


@dataclass(frozen=True)
class WriteOptions(VerbOptions):
    """Options on the forms in which answers to DICOM scans are written.

    Attributes:
        forms: What to write for DICOM scans, joined by commas: nifti (the label map), seg, rtstruct, report (volumes; a
            seg is written with it), sheet (a picture, for viewers that show no segmentations). If left out, nifti,seg;
            in `medseg dicom`, seg. For other scans label maps are written in the format of the scan.
        labelmap: Write DICOM SEG of the type LABELMAP, not BINARY.
        codes: DICOM codes for structures whose names are not in the built-in table: a CSV, or
            'Anterior=anterior hippocampus,...' with names of the table. docs/dicom/dicom-writing.md describes both.
        generic_codes: Code structures without codes as 'Tissue', with their name.
    """

    forms: Annotated[Sequence[str], Option("--write", _DICOM.group, "FORMS", parse_list), OFTEN] = ()
    labelmap: Annotated[bool, _DICOM] = False
    codes: Annotated[str | None, _DICOM] = None
    generic_codes: Annotated[bool, _DICOM] = False
