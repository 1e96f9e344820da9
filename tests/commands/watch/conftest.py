"""A folder to watch."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with an empty `in`."""
    (tmp_path / "in").mkdir()
    return tmp_path
