"""Read the names that a label file gives to its own values: in the header (NIfTI, `.seg.nrrd`), or in a list beside it.

labelme's `labelme_json_to_dataset` writes `label.png` and `label_names.txt` into a folder for each image. Line 0 of the
list names the value 0, and so on; the list follows the shapes of that image, so a name may have another value in the
next folder.
"""

from __future__ import annotations

from pathlib import Path

from medseg.core.errors import DataError
from medseg.io.formats.named.segment import Segment
from medseg.io.formats.table import FORMATS, split_suffix
from medseg.io.values.class_names import BACKGROUND, IGNORED, read_lines

LABEL_NAME = "label"
"""Name of the label file, without suffix."""
LIST = "label_names.txt"
_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif")


def names_list(path: Path) -> Path | None:
    """Return the list of names beside a label file; None where there is none."""
    stem, suffix = split_suffix(path)
    if stem != LABEL_NAME or suffix.lower() not in _SUFFIXES:
        return None
    listing = path.with_name(LIST)
    return listing if listing.is_file() else None


def may_name_values(path: Path) -> bool:
    """Return whether a label file may name its values, judged without reading it."""
    return names_in_header(path) or names_list(path) is not None


def names_in_header(path: Path) -> bool:
    """Return whether a label file is of a format whose header has a place for names, judged by its own name."""
    file_format = FORMATS.get(split_suffix(path)[1])
    return file_format is not None and file_format.names is not None


def named_values(path: Path) -> list[Segment]:
    """Return the structures that a label file names, with their values; [] for other files.

    Raises:
        DataError: the list beside a label file is not text, does not begin with the background, or has a name twice.
    """
    listing = names_list(path)
    if listing is None and not path.is_file():
        return []  # a link that leads nowhere, or a pipe, which would be waited for
    if listing is None:
        file_format = FORMATS.get(split_suffix(path)[1])
        return [] if file_format is None or file_format.names is None else file_format.names(path)
    names = read_lines(listing)
    if not names or names[0] not in BACKGROUND:
        raise DataError(
            f"{listing} begins with {names[0] if names else ''!r}; expected _background_, the name of the value 0.",
            "labelme_json_to_dataset writes such lists; write the names in the order of their values.",
        )
    structures = [(name, value) for value, name in enumerate(names) if name not in (*BACKGROUND, *IGNORED)]
    if len({name for name, _ in structures}) < len(structures):
        raise DataError(f"{listing} has a name twice.", "Expected one name for each value.")
    return [Segment(name, value) for name, value in structures]
