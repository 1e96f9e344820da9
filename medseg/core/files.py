"""Writing so that nothing is lost: a temporary name beside the target, then a rename."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medseg.core.errors import MedsegError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path with the same suffixes; rename it to `path` when the block ends well.

    A kill at any moment leaves either the old file or the new one, never half of one. Two processes that
    write the same file both succeed, and the last rename wins.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def saving(path: Path) -> Iterator[Path]:
    """`atomic`, for libraries that raise errors of their own when a disk is full or a folder is not writable.

    Raises:
        MedsegError: the file could not be written.
    """
    try:
        with atomic(path) as temporary:
            yield temporary
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise MedsegError(f"{path} could not be written: {reason}", "Free some space, or check permissions.") from None


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8.

    Names of files may hold bytes that are no UTF-8; they are written as JSON would (`\\udce9`).
    """
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` atomically, as indented JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def content_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal, as `sha256sum` gives it."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
