"""log.jsonl: one JSON record a line, appended as training goes; the source of every curve and table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medseg.files import write_text


class Log:
    """Appends records; each is flushed, so that a kill loses none and at worst cuts the last line short."""

    def __init__(self, path: Path, keep_to_step: int | None = None) -> None:
        """Start a new log or, when a run is resumed at a step, keep what was logged up to it."""
        kept = (
            [record for record in read_log(path) if record["step"] <= keep_to_step] if keep_to_step is not None else []
        )
        write_text(path, "".join(json.dumps(record) + "\n" for record in kept))
        self._stream = open(path, "a", encoding="utf-8")  # noqa: SIM115 - stays open as long as the run

    def add(self, kind: str, step: int, **figures: Any) -> None:
        """Append a record of `kind` ("train", "validation") for the state after `step` steps."""
        self._stream.write(json.dumps({"kind": kind, "step": step, **figures}) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a log; a last line that a kill cut short is left out."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records
