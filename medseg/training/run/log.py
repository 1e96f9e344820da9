"""log.jsonl: one JSON record a line, appended during training; the source of every curve."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from medseg.core.errors import MedsegError
from medseg.core.files import write_text


class Log:
    """Appends records; each is flushed, so that a kill loses none and at worst cuts the last line short.

    Args:
        path: the path of the log.
        keep_to_step: step that a run is resumed at: records up to it are kept; None for a new log.
        writes: False for a process that does not write; its log only knows what was kept.

    Attributes:
        kept: the records of earlier sessions that were kept.
    """

    def __init__(self, path: Path, keep_to_step: int | None = None, writes: bool = True) -> None:
        self.path = path
        self.kept = (
            [record for record in read_log(path) if record["step"] <= keep_to_step] if keep_to_step is not None else []
        )
        if writes:
            write_text(path, "".join(json.dumps(record) + "\n" for record in self.kept))
        stream = path if writes else os.devnull
        self._stream = open(stream, "a", encoding="utf-8")  # noqa: SIM115 - stays open as long as the run

    def add(self, kind: str, step: int, **figures: Any) -> None:
        """Append a record.

        Args:
            kind: "train" or "validation".
            step: number of steps that are done.
            **figures: what the record says, as JSON holds it.

        Raises:
            MedsegError: the log could not be written.
        """
        try:
            self._stream.write(json.dumps({"kind": kind, "step": step, **figures}) + "\n")
            self._stream.flush()
        except OSError as error:
            raise MedsegError(
                f"{self.path} could not be written: {error.strerror}", "Free some space, or check permissions."
            ) from None

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # what it could not write was reported by `add`
            self._stream.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the records of a log; none where there is no file. A last line that a kill cut short is left out."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records
