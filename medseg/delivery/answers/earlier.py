"""Move aside what describes answers that are about to be replaced: old scores must not lie beside new answers."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from medseg.delivery.provenance import manifest
from medseg.models.run_files import METRICS, METRICS_CSV, POOLED_CSV, REPORT

DESCRIBING = {METRICS: "evaluate", METRICS_CSV: "evaluate", POOLED_CSV: "evaluate", REPORT: "evaluate"}
"""File beside answers that describes them -> the command that wrote it.

`predict` itself writes volumes.csv, labels.json, predict.jsonl and manifest.json anew in every run, and its ledger
deletes maps and DICOM objects of an answer that is replaced.
"""


def move_aside(folder: Path) -> str | None:
    """Move files that describe the answers in a folder into a new folder `earlier-DATE-TIME` in it.

    Their entries in the manifest go with them.

    Args:
        folder: the folder of answers that are about to change.

    Returns:
        A sentence on what was moved; None if there was nothing.
    """
    names = [name for name in DESCRIBING if (folder / name).is_file()]
    if not names:
        return None
    stem = f"earlier-{datetime.now():%Y%m%d-%H%M%S}"
    target, number = folder / stem, 1
    while target.exists():
        number += 1
        target = folder / f"{stem}-{number}"
    target.mkdir()
    for name in names:
        os.replace(folder / name, target / name)
    for command in dict.fromkeys(DESCRIBING.values()):
        manifest.move_entry(folder, target, command)
    return f"{', '.join(names)} describe earlier answers in {folder}; they are now in {target.name}"
