"""Import what a command needs, quickly, in a process that has done nothing else yet."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def starting() -> Iterator[None]:
    """Import modules in the block faster; where numpy was imported before, the process is someone else's: no change.

    Python does not look for garbage among what is imported, neither meanwhile nor later, as modules stay. nibabel is
    imported first and without pydicom, which takes longer than nibabel itself. It would only decode DICOM elements in
    the extensions of NIfTI headers, which medseg never reads; what needs pydicom imports it afterwards as ever.

    >>> with starting():
    ...     import json
    """
    if "numpy" in sys.modules:
        yield
        return
    collects = gc.isenabled()
    gc.disable()
    try:
        _import_nibabel()
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()


def _import_nibabel() -> None:
    """Import nibabel while pydicom is hidden: before there are threads, of which another could import pydicom."""
    if "pydicom" in sys.modules:
        return
    sys.modules["pydicom"] = None  # type: ignore[assignment]  # None makes `import` raise ModuleNotFoundError
    try:
        import nibabel  # noqa: F401
    finally:
        del sys.modules["pydicom"]
