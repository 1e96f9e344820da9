"""OME-XML in TIFF: how large pixels are, and in which files the planes of an image lie.

A set of several files is one image, read whole from the file that holds its first plane (`tifffile` follows the XML);
its other files are refused by name, so that one image is never taken for several. Source: the OME-TIFF specification
(docs.openmicroscopy.org, "OME-TIFF specification", elements `Pixels`, `TiffData`, `UUID` and `BinaryOnly`).
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path

from medseg.core.errors import DataError
from medseg.core.wording import first_few
from medseg.io.formats.stack import mm_in, number_in

_OWN_UUID = re.compile(r'<(?:\w+:)?OME\b[^>]*?\sUUID="([^"]*)"')
_PLANES = re.compile(r"<(?:\w+:)?TiffData\b([^>]*?)(?:/>|>(.*?)</(?:\w+:)?TiffData>)", re.DOTALL)
_FILE = re.compile(r'<(?:\w+:)?UUID\b[^>]*?\sFileName="([^"]*)"[^>]*>([^<]*)<')
_ELSEWHERE = re.compile(r'<(?:\w+:)?BinaryOnly\b[^>]*?\sMetadataFile="([^"]*)"')
_FIRST = re.compile(r'\bFirst[ZCT]="0*[1-9]')


@dataclass(frozen=True)
class _Planes:
    """A run of planes.

    Attributes:
        file: name of the file that holds them; None for the file that is read.
        first: whether the first plane of the image is among them.
    """

    file: str | None
    first: bool


def other_files(path: Path, xml: str) -> list[Path]:
    """Return the further files of the set that a file belongs to, in the order of the XML; [] for a file alone.

    Args:
        path: the file.
        xml: its OME-XML.
    """
    names = dict.fromkeys(planes.file for planes in _planes(path, xml) if planes.file is not None)
    return [path.with_name(name) for name in names if name == Path(name).name]


def first_file(path: Path, xml: str) -> Path | None:
    """Return the file from which the set of a file is read; None for that file itself, or a file without a set.

    Args:
        path: the file.
        xml: its OME-XML.
    """
    planes = _planes(path, xml)
    if any(run.first for run in planes if run.file is None):  # files of several images begin one each
        return None
    first = next((run.file for run in planes if run.first and run.file is not None), None)
    return None if first is None else path.with_name(Path(first).name)


def check_set(path: Path, xml: str) -> None:
    """Refuse a file of a set that is not the set's first one, and a set that is not whole.

    Args:
        path: the file.
        xml: its OME-XML.

    Raises:
        DataError: the description lies in another file, the set is read from another file, or files are missing.
    """
    elsewhere = _ELSEWHERE.search(xml)
    if elsewhere is not None:
        raise DataError(
            f"{path} holds a part of an OME image that {html.unescape(elsewhere[1])} describes.",
            "Give that file if it is an .ome.tif; else save the image as one file, with Fiji or bfconvert.",
        )
    planes = _planes(path, xml)
    names = list(dict.fromkeys(run.file for run in planes if run.file is not None))
    outside = [name for name in names if name != Path(name).name]
    if outside:
        raise DataError(
            f"{path} says that its planes lie in {outside[0]}, which is no name of a file beside it.",
            "Save the image as one file, with Fiji or bfconvert.",
        )
    missing = [name for name in names if not path.with_name(name).is_file()]
    if missing:
        raise DataError(
            f"{path} is one of the files of an OME image, of which {first_few(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not beside it.",
            "Bring all files of the image into one folder, under the names that they had.",
        )
    first = first_file(path, xml)
    if first is not None:
        raise DataError(
            f"{path} is one of the {len(names) + 1} files of the OME image that begins with {first.name}; the image is "
            "read whole from there.",
            f"Give {first.name} alone, and call its label after that file.",
        )


def pixel_size_zyx(xml: str) -> tuple[float, float, float]:
    """Return PhysicalSizeZ, -Y and -X in mm, micrometres unless they say otherwise; 0 for an absent one.

    Args:
        xml: the file's OME-XML.
    """
    pixels = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", xml)
    values = dict(re.findall(r'(\w+)="([^"]*)"', pixels[0])) if pixels else {}
    sizes = []
    for axis in "ZYX":
        unit = html.unescape(values.get(f"PhysicalSize{axis}Unit", "um"))
        sizes.append(number_in(values.get(f"PhysicalSize{axis}", "0")) * (mm_in(unit) or 0.0))
    return sizes[0], sizes[1], sizes[2]


def _planes(path: Path, xml: str) -> list[_Planes]:
    """Return the planes that the XML lists, by file."""
    uuid = _OWN_UUID.search(xml)
    planes = []
    for attributes, content in _PLANES.findall(xml):
        file = _FILE.search(content)
        name = None if file is None else html.unescape(file[1])
        # a file that was renamed knows itself by its identifier
        if file is not None and (name == path.name or (uuid is not None and file[2].strip() == uuid[1].strip())):
            name = None
        planes.append(_Planes(name, not _FIRST.search(attributes)))
    return planes
