"""Names and colours in a NIfTI header: a table of labels in XML, in an extension of code 0, as TotalSegmentator has it.

The XML is that of Caret and Connectome Workbench (`CaretExtension`, `VolumeInformation`, `LabelTable`), whose own files
have the extension's code 30. Either code is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree import ElementTree

from medseg.io.formats.named.segment import Segment, colour_of_shares
from medseg.io.values.class_names import means_background

CODE = 0
"""Code of the extension: unknown format, as TotalSegmentator has it."""
_CODES = (CODE, 30)
_ROOT = b"<CaretExtension"
_WORKBENCH_BACKGROUND = "???"
_MOST_BYTES = 1 << 22
"""A table of a thousand names is a hundred times smaller."""


def write_table(segments: Iterable[Segment]) -> bytes:
    """Return the XML of a table of labels, in UTF-8.

    Args:
        segments: the structures; their layers are left out.

    >>> xml = write_table([Segment("liver", 3, colour=(255, 0, 51))]).decode()
    >>> xml[xml.index("<Label ") : xml.index("</LabelTable>")]
    '<Label Key="3" Red="1.0" Green="0.0" Blue="0.2" Alpha="1">liver</Label>'
    """
    root = ElementTree.Element("CaretExtension")
    volume = ElementTree.SubElement(root, "VolumeInformation", Index="0")
    table = ElementTree.SubElement(volume, "LabelTable")
    for segment in segments:
        parts = [f"{part / 255:.6g}" if part % 51 else f"{part / 255:.1f}" for part in segment.colour or (255,) * 3]
        about = {"Key": str(segment.value), **dict(zip(("Red", "Green", "Blue"), parts, strict=True)), "Alpha": "1"}
        ElementTree.SubElement(table, "Label", about).text = segment.one_line
    ElementTree.SubElement(volume, "StudyMetaDataLinkSet")
    ElementTree.SubElement(volume, "VolumeType").text = "Label"
    return ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)


def read_table(extensions: Sequence[Any]) -> list[Segment]:
    """Return the structures that the extensions of a NIfTI header name; [] where none has a table that can be read.

    Args:
        extensions: nibabel's, of a header that was read.
    """
    for extension in extensions:
        content = bytes(extension.get_content() if isinstance(extension.get_content(), bytes) else b"").rstrip(b"\0 \n")
        if extension.get_code() in _CODES and _ROOT in content[:200] and len(content) < _MOST_BYTES:
            return _segments(content)
    return []


def _segments(xml: bytes) -> list[Segment]:
    """Return the labels of the first table in some XML; 0 is one if its name does not say that it is background."""
    if b"<!DOCTYPE" in xml or b"<!ENTITY" in xml:  # whose entities may grow without end
        return []
    try:
        root = ElementTree.fromstring(xml)
        labels = [(label, int(label.get("Key", ""))) for label in root.iterfind(".//LabelTable/Label")]
    except (ElementTree.ParseError, ValueError):
        return []
    named = [(label, value, " ".join((label.text or "").split())) for label, value in labels]
    return [
        Segment(name, value, colour=colour_of_shares(label.get(part, "") for part in ("Red", "Green", "Blue")))
        for label, value, name in named
        if name and not (value == 0 and (name == _WORKBENCH_BACKGROUND or means_background(name)))
    ]
