"""Scans and studies to watch for, one look at a folder, and what it left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")
from dicom.builders import uid, write_series

from medseg.commands.predict.options import PredictOptions
from medseg.commands.watch.options import WatchOptions
from medseg.commands.watch.state import JOURNAL
from medseg.commands.watch.watch import StudyEvent, watch
from medseg.core.progress import Progress, silent
from medseg.delivery.answers.options import WriteOptions

SETTLE = 0.05


PREDICT = PredictOptions(device="cpu", mirror=False, write=WriteOptions(generic_codes=True))


def study(folder: Path, name: str = "study", **changes: Any) -> list[Path]:
    pixels = np.random.default_rng(len(name)).integers(0, 200, (8, 16, 16)).astype(np.int16)
    return write_series(folder / name, pixels, series=name, StudyInstanceUID=uid(name), **changes)


def scan(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.random.default_rng(seed).normal(100, 20, (16, 16, 16)), np.eye(4)), path)
    return path


def once(place: Path, model: Path, callback: Callable[[Progress], None] = silent, **options: Any) -> list[StudyEvent]:
    """What one look at `place/in` does, with answers in `place/out`."""
    asked = WatchOptions(**{"predict": PREDICT, "settle_seconds": SETTLE, "once": True, **options})
    return list(watch(place / "in", place / "out", model, options=asked, callback=callback))


def states(events: list[StudyEvent]) -> dict[str, str]:
    return {event.study: event.state for event in events if event.state != "note"}


def journal(place: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (place / "out" / JOURNAL).read_text().splitlines()]


def folders(folder: Path) -> list[Path]:
    """The folders in a folder; `glob("*/")` returns files as well up to Python 3.10."""
    return [path for path in folder.iterdir() if path.is_dir()]


def times(folder: Path) -> dict[str, int]:
    """When each answer was written; the journal aside."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != JOURNAL and path.is_file()}
