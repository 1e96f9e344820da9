"""Move aside what describes answers that are about to be replaced: old scores must not lie beside new answers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from medseg.core.wording import first_few
from medseg.delivery.provenance import manifest
from medseg.models.run_files import METRICS, METRICS_CSV, POOLED_CSV, RANKING, REPORT, REPORT_CASES

SCORES = (METRICS, METRICS_CSV, POOLED_CSV, REPORT)
"""Files that `evaluate` writes beside answers."""
DESCRIBING = {**dict.fromkeys(SCORES, "evaluate"), RANKING: "rank"}
"""File beside answers that describes them -> the command that wrote it.

`predict` itself deletes volumes.csv and instances.csv, and writes labels.json, predict.jsonl, manifest.json and
index.html anew in every run; its ledger deletes maps and DICOM objects of an answer that is replaced, and the pictures
of that go with them.
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
    cases = [REPORT_CASES] if REPORT in names and (folder / REPORT_CASES).is_dir() else []
    target = _move(folder, [*names, *cases])
    for command in dict.fromkeys(DESCRIBING[name] for name in names):
        manifest.move_entry(folder, target, command)
    return f"{', '.join(names)} describe earlier answers in {folder}; they are now in {target.name}"


def move_report_aside(paths: Mapping[str, Path]) -> str | None:
    """Move the report of a segmentation object that is about to be replaced, unless a new one is written with it.

    The report names the replaced object by its UID, and its volumes.

    Args:
        paths: {form: file} of the objects that are about to be written, as `delivery.dicom.write.object_paths` has it.

    Returns:
        A sentence on what was moved; None if there was nothing.
    """
    from medseg.delivery.dicom.write import SUFFIXES

    if "seg" not in paths or "report" in paths:
        return None
    seg = paths["seg"]
    report = seg.with_name(seg.name.removesuffix(SUFFIXES["seg"]) + SUFFIXES["report"])
    if not report.is_file():
        return None
    target = _move(report.parent, [report.name])
    return f"{report.name} describes an earlier {seg.name} in {seg.parent}; it is now in {target.name}"


def move_changed_aside(folder: Path, changed: Sequence[Path]) -> str | None:
    """Move answers that somebody changed, and that are about to be replaced, into a new folder `earlier-DATE-TIME`.

    Args:
        folder: the folder of the answers.
        changed: files in it.

    Returns:
        A sentence on what was moved; None if there is nothing to move.
    """
    if not changed:
        return None
    names = [path.relative_to(folder).as_posix() for path in changed]
    target = _move(folder, names)
    verb, they = ("was", "it is") if len(names) == 1 else ("were", "they are")
    return f"{first_few(names)} in {folder} {verb} changed since an earlier run; {they} now in {target.name}"


def _move(folder: Path, names: Iterable[str]) -> Path:
    """Move files of a folder into a new folder in it, and return that."""
    stem = f"earlier-{datetime.now():%Y%m%d-%H%M%S}"
    target, number = folder / stem, 1
    while target.exists():
        number += 1
        target = folder / f"{stem}-{number}"
    target.mkdir()
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(folder / name, target / name)
    return target
