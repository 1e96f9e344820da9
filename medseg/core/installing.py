"""The command that installs further packages, which also works in a copy of the repository."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def pip_install(extra: str) -> str:
    """Return the command that installs an extra of medseg.

    A copy of the repository is named by its folder, as no index of packages need have this version.

    Args:
        extra: its name, such as `dicom`.
    """
    if not (_ROOT / "pyproject.toml").is_file():
        return f"pip install 'medseg[{extra}]'"
    folder = "." if Path.cwd() == _ROOT else os.fspath(_ROOT)
    return f"pip install {shlex.quote(f'{folder}[{extra}]')}"
