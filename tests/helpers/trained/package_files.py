"""Packages whose members are changed."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Members = dict[str, bytes]


def rewrite(path: Path, change: Callable[[Members], None], **how: Any) -> None:
    """Change members as someone would who does not keep the hashes right."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", **how) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def with_hashes(members: Members) -> None:
    """Make metadata.json true again, as someone would who wants to do harm."""
    metadata = json.loads(members["metadata.json"])
    metadata["members"] = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in members.items()
        if name != "metadata.json"
    }
    members["metadata.json"] = json.dumps(metadata).encode()
