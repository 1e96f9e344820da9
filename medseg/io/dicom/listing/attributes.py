"""Every element of an image by its keyword, for rules and writers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from medseg.io.dicom.elements import values
from medseg.io.dicom.elements.dataset import quiet, read_dataset
from medseg.io.dicom.listing.series import Slice

_NOT_PLAIN = ("SQ", "OB", "OW", "OF", "OD", "OL", "OV", "UN")

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset, FileDataset

    from medseg.io.dicom.elements.files import File


def attributes_of(one: Slice) -> dict[str, Any]:
    """Elements by keyword: text, numbers, or a list of them.

    The functional groups of a frame (its own, then shared ones) add what does not stand outside of them.

    Raises:
        DataError: the file cannot be read.
    """
    found = _dataset(one.file, os.stat(one.file.path).st_mtime_ns)
    with quiet():
        result = _elements(found)
        each = values.items(found, "PerFrameFunctionalGroupsSequence")
        groups = each[one.frame : one.frame + 1] if one.frame is not None else []
        for group in (*groups, *values.items(found, "SharedFunctionalGroupsSequence")):
            for element in _readable(group):
                for item in element.value if element.VR == "SQ" else ():
                    result = {**_elements(item), **result}
    return result


@lru_cache(maxsize=2)
def _dataset(file: File, changed: int) -> FileDataset:
    """The header of a file; the volumes of one multi-frame file share it."""
    return read_dataset(file)


def _elements(found: Dataset) -> dict[str, Any]:
    plain = (one for one in _readable(found) if one.keyword and one.VR not in _NOT_PLAIN)
    return {one.keyword: list(one.value) if one.VM > 1 else one.value for one in plain}


def _readable(found: Dataset) -> Iterator[DataElement]:
    """The elements whose values can be converted; a damaged one says nothing."""
    for tag in sorted(found.keys()):
        element = None
        with suppress(Exception):
            element = found[tag]
        if element is not None:
            yield element
