"""Move aside what describes answers that are about to be replaced: old scores must not lie beside new answers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from medseg.core.files import earlier_path
from medseg.core.wording import first_few
from medseg.delivery.answers.instances import TABLE as OBJECTS_TABLE
from medseg.delivery.answers.labels_file import NAME as LABELS_FILE
from medseg.delivery.answers.prediction_ledger import LEDGER_NAME, maker_of
from medseg.delivery.answers.viewers import ITK_SNAP, SLICER
from medseg.delivery.provenance import manifest
from medseg.delivery.provenance.folder_files import VOLUME_TABLES
from medseg.models.run_files import METRICS, METRICS_CSV, POOLED_CSV, RANKING, REPORT, REPORT_CASES

SCORES = (METRICS, METRICS_CSV, POOLED_CSV, REPORT)
"""Files that `evaluate` writes beside answers."""
DESCRIBING = {**dict.fromkeys(SCORES, "evaluate"), RANKING: "rank"}
"""File beside answers that describes them -> the command that wrote it.

`predict` itself deletes volumes.csv and instances.csv, and writes labels.json, predict.jsonl, manifest.json and
index.html anew in every run; its ledger deletes maps and DICOM objects of an answer that is replaced, and the pictures
of that go with them.
"""
TABLES_BESIDE = (*VOLUME_TABLES, OBJECTS_TABLE, LABELS_FILE, ITK_SNAP, SLICER)
"""Files that `predict` writes or deletes in every run; before the first one in a folder, they are somebody else's."""


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


def move_foreign_objects_aside(paths: Mapping[str, Path]) -> str | None:
    """Move DICOM objects that are about to be replaced, and are none of medseg's own, into `earlier-DATE-TIME`.

    Args:
        paths: as in `move_report_aside`.

    Returns:
        A sentence on what was moved; None if there was nothing.
    """
    foreign = [path for path in paths.values() if path.is_file() and not _is_own(path)]
    if not foreign:
        return None
    folder, names = foreign[0].parent, [path.name for path in foreign]
    target = _move(folder, names)
    return (
        f"Not medseg's own, or changed since medseg predict wrote it: {first_few(names)} in {folder}, now in "
        f"{target.name}"
    )


def _is_own(path: Path) -> bool:
    """Return whether medseg wrote a DICOM object as it is now: by the record of `predict`, else by its header.

    The record goes first: who corrects an object in place may leave the header as it is.
    """
    from medseg.delivery.dicom.common import is_own_object

    ledger = path.parent / LEDGER_NAME
    if ledger.is_file() and json.dumps(path.name, ensure_ascii=False) in ledger.read_text("utf-8", errors="replace"):
        return maker_of(path) is not None
    return is_own_object(path)


def move_others_aside(folder: Path, of_others: Sequence[Path]) -> str | None:
    """Move files that somebody else changed or added, and that are about to be replaced, into `earlier-DATE-TIME`.

    Args:
        folder: the folder of the answers.
        of_others: files in it.

    Returns:
        A sentence on what was moved; None if there is nothing to move.
    """
    if not of_others:
        return None
    names = [path.relative_to(folder).as_posix() for path in of_others]
    target = _move(folder, names)
    they_are = "it is" if len(names) == 1 else "they are"
    return f"No run of medseg left {first_few(names)} in {folder} as {they_are}; {they_are} now in {target.name}"


def move_unanswered_aside(folder: Path, files: Sequence[Path]) -> list[str]:
    """Move earlier answers to scans that have none now into `earlier-DATE-TIME`, and return a sentence on it.

    Args:
        folder: the folder of the answers.
        files: the files of these answers.
    """
    if not files:
        return []
    names = [path.relative_to(folder).as_posix() for path in files]
    target = _move(folder, names)
    return [f"{first_few(names)} in {folder} answered scans that have no answer now; moved to {target.name}"]


def _move(folder: Path, names: Iterable[str]) -> Path:
    """Move files of a folder into a new folder in it, and return that."""
    target = earlier_path(folder)
    target.mkdir()
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(folder / name, target / name)
    return target
