"""A planned workspace for tests that train in it."""

import shutil
from pathlib import Path

import pytest
from toy_workspace import write_toy_workspace


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a planned set of four small scans."""
    workspace = tmp_path_factory.mktemp("base")
    write_toy_workspace(workspace)
    return workspace


@pytest.fixture
def workspace(base: Path, tmp_path: Path) -> Path:
    """A copy of the workspace."""
    shutil.copytree(base, tmp_path / "workspace")
    return tmp_path / "workspace"
