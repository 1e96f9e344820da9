"""Write files so that none is ever half-written (a temporary file beside the target, then a rename), and hash them."""

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
    """Give a temporary path to write to, and rename it to `path` when the block ends without an error.

    A kill at any moment leaves either the old file or the new one, never half of one. If two processes write the same
    file, both succeed, and the last rename wins.

    Args:
        path: the file to write; its folder is made if it is missing.

    Yields:
        A path in the same folder (so that the rename is atomic) with the same suffixes (by which formats are chosen).
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
    """Do as `atomic` does, for libraries that raise their own errors when a disk is full or a folder is not writable.

    Args:
        path: the file to write.

    Yields:
        The temporary path to write to.

    Raises:
        MedsegError: the file could not be written, for whatever reason.
    """
    try:
        with atomic(path) as temporary:
            yield temporary
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise MedsegError(
            f"{path} could not be written: {reason}", "Free some space, or check the folder's permissions."
        ) from None


def write_text(path: Path, text: str) -> None:
    r"""Write `text` to `path` atomically, as UTF-8.

    File names on Linux may hold bytes that are not UTF-8; such bytes are written escaped, as in JSON (`\udce9`).
    """
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` atomically, as indented JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal, as `sha256sum` prints it."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):  # 1 MiB at a time: scans may be larger than memory
            digest.update(block)
    return digest.hexdigest()
