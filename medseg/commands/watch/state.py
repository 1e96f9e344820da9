"""What a watch has seen and done: a journal, a line of JSON for each thing that happens to a study.

The last line of a study counts. Lines are appended and flushed to the disk before what they announce is done or told,
so that a kill at any moment loses at most a line cut short, which is as good as none.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from itertools import chain, count
from pathlib import Path
from typing import Any

from medseg.core.errors import DataError
from medseg.core.locking import open_alone
from medseg.delivery.provenance.manifest import now

JOURNAL = "watch.jsonl"
_PARTIAL = ".partial"
ANSWERED = "answered"
"""The answer is whole and about to be moved to its place; `then` is the state that follows."""


class WatchState:
    """The journal of an OUT folder; a context, within which no other watch works there.

    Attributes:
        entries: {study: its last line}.
    """

    def __init__(self, folder: Path) -> None:
        """Open the journal in a folder that exists.

        Raises:
            DataError: another watch works there.
        """
        self.folder = folder
        self.entries: dict[str, dict[str, Any]] = {}
        busy = f"Another `medseg watch` is at work in {folder}.", "Stop it, or name another folder for the answers."
        self._stream, _ = open_alone(folder / JOURNAL, DataError(*busy))
        try:
            self._read()
            self._tidy()
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> WatchState:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def note(self, study: str, state: str, **about: Any) -> dict[str, Any]:
        """Write down what became of a study; a folder of answers that it has stays its own."""
        kept = {key: value for key, value in self.entries.get(study, {}).items() if key == "folder"}
        entry = {"study": study, "state": state, "time": now(), **kept, **about}
        self.entries[study] = entry
        self._stream.write(json.dumps(entry, ensure_ascii=True) + "\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        return entry

    def folder_for(self, study: str, stem: str) -> str:
        """The name of a study's folder of answers: always the same, and no other study's.

        Raises:
            DataError: a folder of that name is there, and is not of this watch.
        """
        known = self.entries.get(study, {}).get("folder")
        if known:
            return str(known)
        taken = {entry.get("folder") for entry in self.entries.values()} | {JOURNAL}
        free = next(name for name in chain((stem, study), (f"{stem}_{n}" for n in count(2))) if name not in taken)
        if (self.folder / free).exists():
            raise DataError(
                f"{self.folder / free} is there already, and no answer of this watch.",
                "Move it away and start the watch with --again, or name another folder for the answers.",
            )
        return free

    def workplace(self, folder: str) -> Path:
        """An empty folder in which an answer is made before it is moved to its place."""
        place = self.folder / f".{folder}{_PARTIAL}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        return place

    def publish(self, study: str, about: Mapping[str, Any]) -> dict[str, Any]:
        """Move a whole answer to its place, instead of an older one, and write down the state `about["then"]`."""
        _flush(self.folder / f".{about['folder']}{_PARTIAL}")
        self.note(study, ANSWERED, **about)
        return self._move(study)

    def _move(self, study: str) -> dict[str, Any]:
        about = {key: value for key, value in self.entries[study].items() if key not in ("study", "state", "time")}
        folder = str(about["folder"])
        final, made, old = self.folder / folder, self.folder / f".{folder}{_PARTIAL}", self.folder / f".{folder}.old"
        if made.exists():
            if final.exists():
                shutil.rmtree(old, ignore_errors=True)
                final.rename(old)
            try:
                made.rename(final)
            except OSError:
                if old.exists():
                    old.rename(final)
                raise
        shutil.rmtree(old, ignore_errors=True)
        return self.note(study, about.pop("then"), **about)

    def _read(self) -> None:
        text = (self.folder / JOURNAL).read_text(encoding="utf-8", errors="replace")
        for entry in map(_parse, text.splitlines()):
            if entry is not None:
                self.entries[entry["study"]] = entry
        if text and not text.endswith("\n"):  # a kill cut the last line short
            self._stream.write("\n")

    def _tidy(self) -> None:
        """Bring answers that were whole to their places, and drop those that a kill left half made."""
        for study, entry in list(self.entries.items()):
            if entry["state"] == ANSWERED:
                self._move(study)
        for place in self.folder.glob(f".*{_PARTIAL}"):
            shutil.rmtree(place, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Have the files of a folder on the disk, so that an answer that the journal calls whole survives a power cut."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as stream:
                os.fsync(stream.fileno())


def _parse(line: str) -> dict[str, Any] | None:
    """A line of the journal; None for one that a kill cut short."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    good = isinstance(value, dict) and isinstance(value.get("study"), str) and isinstance(value.get("state"), str)
    return value if good else None
