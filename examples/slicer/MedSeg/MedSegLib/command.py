"""Run `medseg predict` on one scan and follow its records; needs nothing but Python's own library.

medseg lives in an environment of its own: 3D Slicer's Python need not have it, nor torch.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class MedSegError(RuntimeError):
    """What `medseg` said went wrong, with its hint."""


def segment(
    executable: str,
    model: str,
    scan: Path,
    folder: Path,
    report: Callable[[float, str], None] = lambda share, text: None,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Segment a scan, and return its record: the answer's `file`, `volumes` by structure, their `unit`, `warnings`.

    Args:
        executable: the program `medseg`.
        model: a package (model.medseg), a run's folder, or a model of nnU-Net.
        scan: the scan's file.
        folder: where the answer goes.
        report: told how far it is, from 0 to 1, and of what; an error that it raises stops the program.
        environment: variables of the program; None for this process's. Slicer's own (PYTHONHOME, LD_LIBRARY_PATH) would
            make another Python fail: hand in those that it was started with.

    Raises:
        MedSegError: the program cannot be started, or there is no answer.
    """
    command = [executable, "predict", str(scan), str(folder), "--model", model]
    command += ["--format", "seg.nrrd", "--no-page", "--json"]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        try:
            program = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=said, env=environment, text=True, encoding="utf-8"
            )
        except OSError as error:
            raise MedSegError(f"{executable} cannot be started: {error.strerror}. Choose the program medseg.") from None
        try:
            records = [_followed(line, report) for line in program.stdout or ()]
        finally:
            program.terminate()  # nothing, where it has ended
            code = program.wait()
        said.seek(0)
        answers = [record for record in records if record.get("kind") == "case" and record.get("state") == "done"]
        if not answers:
            raise MedSegError(_problem(records) or said.read().strip() or f"medseg ended with exit code {code}.")
    return answers[0]


def _followed(line: str, report: Callable[[float, str], None]) -> dict[str, Any]:
    """Return the record on a line, after reporting the progress that it tells."""
    record: dict[str, Any] = json.loads(line)
    if record.get("kind") == "progress" and record.get("total"):
        done = record["done"] + record.get("figures", {}).get("share", 0.0)
        report(min(1.0, done / record["total"]), str(record["stage"]))
    return record


def _problem(records: list[dict[str, Any]]) -> str:
    """Return what records say went wrong; "" if nothing."""
    told = [record for record in records if record.get("kind") == "error" or record.get("state") == "failed"]
    parts = [str(record[key]) for record in told for key in ("message", "error", "hint") if record.get(key)]
    return "\n".join(parts)
