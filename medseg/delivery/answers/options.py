"""Options on what is written for each scan: maps beside the labels, and DICOM objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Maps:
    """Which maps are written, as 16-bit NIfTI on the scan's grid, in folders beside the labels.

    Attributes:
        probabilities: `probabilities/CASE/STRUCTURE.nii.gz`, by the logits that decide the labels.
        entropy: `entropy/CASE.nii.gz`, 0 where the answer is certain, 1 where all are equally likely.
        spread: `mean/CASE/STRUCTURE.nii.gz` and `spread/CASE/STRUCTURE.nii.gz`, mean and standard deviation of the
            probability over folds and mirrored copies; the networks look at the scan a second time.
    """

    probabilities: bool = False
    entropy: bool = False
    spread: bool = False


@dataclass(frozen=True)
class WriteOptions:
    """In which forms answers are written.

    Attributes:
        forms: some of `labels` (or `nifti`: the label map, in the scan's format, of DICOM as NIfTI), `seg`, `rtstruct`
            and `report`, which needs a `seg` and brings it; empty for what suits each scan: `labels`, of DICOM also
            `seg`.
        labelmap: a DICOM SEG of the type LABELMAP instead of BINARY.
        codes: file or pairs that say what structures are in coded words (`delivery.dicom.codes.read_codes`).
        generic_codes: structures without codes are "Tissue".
    """

    forms: Sequence[str] = ()
    labelmap: bool = False
    codes: str | None = None
    generic_codes: bool = False
