"""Compare the modality of a scan with that of the scans that a model was trained on.

Only DICOM states a modality. What a model knows is in its plan: the modalities of the training scans, else the names of
its channels (T1, FLAIR, CT).
"""

from __future__ import annotations

from collections.abc import Sequence

from medseg.checking.scan_finding import ScanFinding
from medseg.io.dicom.elements.modality import COMPARABLE, are_alike, modality_meant
from medseg.plans.schema import Plan


def compare_modality(modalities: Sequence[str], plan: Plan) -> list[ScanFinding]:
    """Return which channels of a scan are of another modality than those that a model was trained on.

    Modalities that do not say how a scan was made (OT, which converters write) count on neither side. It is a warning:
    names of channels are free text, and where one is a modality of DICOM's, series of others are not chosen by
    themselves (`io.dicom.listing.channel`).

    Args:
        modalities: of each channel of the scan (`modalities_of`); empty where it is not known.
        plan: the plan of the model.
    """
    findings = []
    ranges = plan.data.scans.channels if plan.data.scans is not None else []
    for number, (channel, modality) in enumerate(zip(plan.data.channels, modalities, strict=True)):
        stated = [kind for kind in ranges[number].modalities if kind in COMPARABLE] if number < len(ranges) else []
        meant = modality_meant(channel)
        trained = stated or ([] if meant is None else [meant])
        if modality not in COMPARABLE or not trained or are_alike(modality, trained):
            continue
        source = (
            f"the training scans were {' and '.join(stated)}" if stated else f"the name of the channel means {meant}"
        )
        message = f"Its channel {channel} is of modality {modality}; {source}."
        findings.append(ScanFinding("modality", False, message, "Choose a series of the modality that was trained on."))
    return findings
