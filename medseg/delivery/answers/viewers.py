"""Names and colours of structures in the forms that programs for annotation read, beside the label maps."""

from __future__ import annotations

from pathlib import Path

from medseg.core.colours import rgb_number
from medseg.core.files import write_text
from medseg.core.labels import Labels
from medseg.delivery.answers.formats import value_names

ITK_SNAP, SLICER = "labels.itksnap.txt", "labels.slicer.ctbl"
_ITK_SNAP_HEADER = """\
################################################
# ITK-SnAP Label Description File
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
################################################
    0     0    0    0        0  0  0    "Clear Label"
"""


def write_viewer_tables(folder: Path, labels: Labels) -> list[Path]:
    """Write the table that ITK-SNAP imports as label descriptions, and the one that 3D Slicer loads as colours.

    Args:
        folder: of the label maps.
        labels: the structures.

    Returns:
        The files.
    """
    names = value_names(labels)
    rows = [(value, rgb_number(number), name) for number, (value, name) in enumerate(names.items())]
    snap = [
        f'{value:5d} {red:5d} {green:4d} {blue:4d}        1  1  1    "{_plain(name)}"'
        for value, (red, green, blue), name in rows
    ]
    slicer = [
        f"{value} {'_'.join(_plain(name).split())} {red} {green} {blue} 255" for value, (red, green, blue), name in rows
    ]
    write_text(folder / ITK_SNAP, _ITK_SNAP_HEADER + "\n".join(snap) + "\n")
    write_text(folder / SLICER, "0 background 0 0 0 0\n" + "\n".join(slicer) + "\n")
    return [folder / ITK_SNAP, folder / SLICER]


def _plain(name: str) -> str:
    """Return a name without quotes and line breaks, which these tables cannot hold."""
    return " ".join(name.replace('"', "'").split())
