"""Compilation of loops with numba; imported only where they run, as importing numba takes half a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable) -> Any:
    """Return a function that is compiled when it is first called, and kept on disk for the next process.

    It releases the interpreter lock, and divides as numpy does. Without numba's "fastmath": sums and products keep
    their order and their rounding.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(function, cache=True, **options)
    except RuntimeError:  # there is no folder that could be written to
        return numba.njit(function, **options)
