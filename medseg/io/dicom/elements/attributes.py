"""Every element of an image by its keyword, for rules on series and for the writers of DICOM objects."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from medseg.io.dicom.elements import values
from medseg.io.dicom.elements.dataset import read_dataset, without_warnings

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset, FileDataset

    from medseg.io.dicom.elements.files import File
    from medseg.io.dicom.elements.series import Slice

_NOT_PLAIN = ("SQ", "OB", "OW", "OF", "OD", "OL", "OV", "UN")
"""Value representations that are neither text nor numbers: sequences and binary data (PS3.5 6.2)."""


def attributes_of(slice_: Slice) -> dict[str, Any]:
    """Return the elements of a slice by keyword: text, numbers, or a list of them.

    The elements of the file come first. Those of the frame's functional groups, then of the shared ones, add what the
    file does not state (PS3.3 C.7.6.16).

    Raises:
        DataError: the file cannot be read.
    """
    dataset = _header(slice_.file, os.stat(slice_.file.path).st_mtime_ns)
    with without_warnings():
        result = _elements(dataset)
        per_frame = values.items(dataset, "PerFrameFunctionalGroupsSequence")
        groups = per_frame[slice_.frame : slice_.frame + 1] if slice_.frame is not None else []
        for group in (*groups, *values.items(dataset, "SharedFunctionalGroupsSequence")):
            for element in _readable(group):
                for item in element.value if element.VR == "SQ" else ():
                    result = {**_elements(item), **result}
    return result


@lru_cache(maxsize=2)
def _header(file: File, modified_ns: int) -> FileDataset:
    """Read a header once: the volumes of one multi-frame file share it. A changed file is read again."""
    return read_dataset(file)


def _elements(dataset: Dataset) -> dict[str, Any]:
    plain = (element for element in _readable(dataset) if element.keyword and element.VR not in _NOT_PLAIN)
    return {element.keyword: list(element.value) if element.VM > 1 else element.value for element in plain}


def _readable(dataset: Dataset) -> Iterator[DataElement]:
    """Yield the elements whose values can be converted; damaged ones are skipped."""
    for tag in sorted(dataset.keys()):
        element = None
        with suppress(Exception):
            element = dataset[tag]
        if element is not None:
            yield element
