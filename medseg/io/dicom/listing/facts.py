"""What may tell slices at one position apart: b-value, echo, time, kind of image, as plain values by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medseg.io.dicom.elements import values

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

B_VALUES = ((0x0019, 0x100C), (0x0043, 0x1039), (0x2001, 0x1003))
"""Private elements of Siemens, GE and Philips that hold the b-value where DiffusionBValue is absent."""
_NUMBERS = {
    "b": "DiffusionBValue",
    "echo": "EchoNumbers",
    "echo time": "EchoTime",
    "inversion time": "InversionTime",
    "flip angle": "FlipAngle",
    "kilovolts": "KVP",
    "time position": "TemporalPositionIdentifier",
    "trigger": "TriggerTime",
    "acquisition": "AcquisitionNumber",
}
_TEXTS = {
    "kernel": "ConvolutionKernel",
    "sequence": "SequenceName",
    "acquired": "AcquisitionDateTime",
    "acquired at": "AcquisitionTime",
    "image type": "ImageType",
}
_GE_B_OFFSET = 1_000_000_000
FACT_TAGS = (*_NUMBERS.values(), *_TEXTS.values(), "DiffusionGradientOrientation", *B_VALUES)


def facts_of(found: Dataset) -> dict[str, Any]:
    """The facts of a single-frame image; what it does not say is not in there."""
    facts: dict[str, Any] = {name: values.number(found, keyword) for name, keyword in _NUMBERS.items()}
    facts |= {name: values.text(found, keyword) or None for name, keyword in _TEXTS.items()}
    facts["direction"] = values.numbers(found, "DiffusionGradientOrientation", 3)
    if facts["b"] is None:
        facts["b"] = _private_b_value(found)
    return {name: value for name, value in facts.items() if value is not None}


def _private_b_value(found: Dataset) -> float | None:
    """The b-value as vendors stored it before there was an element for it."""
    for tag in B_VALUES:
        if tag not in found:
            continue
        value = found[tag].value
        if isinstance(value, bytes):
            value = value.decode("ascii", "replace").split("\\")[0]
        elif not isinstance(value, (str, int, float)):
            value = value[0] if len(value) else None
        number = values.finite(value)
        if number is not None and number >= 0:
            return number % _GE_B_OFFSET  # GE adds a thousand million to say that directions are stored elsewhere
    return None
