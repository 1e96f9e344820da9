"""How loops are compiled with numba; imported only where they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable) -> Any:
    """The function, compiled when it is first called and kept on disk for the next process.

    Without "fastmath": sums and products keep their order and their rounding.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(function, cache=True, **options)
    except RuntimeError:  # there is no folder that could be written to
        return numba.njit(function, **options)
