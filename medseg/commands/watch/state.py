"""The journal of a watch: one line of JSON for each thing that happens to a study.

The last line of a study counts. A line is on the disk before what it announces is done or reported, so that a kill at
any moment loses at most a line cut short, which is ignored.
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
from medseg.core.machine.locking import open_alone
from medseg.core.names import file_name_for, relative_path_problem
from medseg.delivery.provenance.manifest import now

JOURNAL = "watch.jsonl"
_PARTIAL = ".partial"
ANSWERED = "answered"
"""The state in which an answer is complete and about to be moved to its final folder; `then` is the state after it."""


class WatchState:
    """The journal of a folder of answers; a context, within which no other watch works there.

    Attributes:
        folder: the folder of the answers.
        entries: {study: its last line}.
    """

    def __init__(self, folder: Path) -> None:
        """Open the journal, and finish or remove what an earlier watch left when it was killed.

        Args:
            folder: the folder of the answers; it exists.

        Raises:
            DataError: another watch works there.
        """
        self.folder = folder
        self.entries: dict[str, dict[str, Any]] = {}
        busy = f"Another `medseg watch` is at work in {folder}.", "Stop it, or name another folder for the answers."
        self._stream, _ = open_alone(folder / JOURNAL, DataError(*busy))
        try:
            self._read()
            self._recover()
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> WatchState:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def note(self, study: str, state: str, **about: Any) -> dict[str, Any]:
        """Write a line on a study and return it; a study keeps the folder of answers that it has.

        Args:
            study: name of its folder or file.
            state: its new state.
            **about: further keys of the line.
        """
        folder = {key: value for key, value in self.entries.get(study, {}).items() if key == "folder"}
        entry = {"study": study, "state": state, "time": now(), **folder, **about}
        self.entries[study] = entry
        self._stream.write(json.dumps(entry, ensure_ascii=True) + "\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        return entry

    def folder_for(self, study: str, stem: str) -> str:
        """Return the name of a study's folder of answers: always the same, and no other study's.

        Args:
            study: name of its folder or file.
            stem: the name to take, if no other study has it.

        Raises:
            DataError: a folder of that name is there, and is not of this watch.
        """
        recorded = self.entries.get(study, {}).get("folder")
        if recorded:
            return str(recorded)
        taken = {entry.get("folder") for entry in self.entries.values()} | {JOURNAL}
        stem, study = (name if _is_folder_name(name) else file_name_for(name) for name in (stem, study))
        free = next(name for name in chain((stem, study), (f"{stem}_{n}" for n in count(2))) if name not in taken)
        if (self.folder / free).exists():
            raise DataError(
                f"{self.folder / free} is there already, and no answer of this watch.",
                "Move it away and start the watch with --again, or name another folder for the answers.",
            )
        return free

    def make_partial_folder(self, folder: str) -> Path:
        """Make the hidden, empty folder in which the answer that goes to `folder` is prepared.

        Returns:
            The folder.
        """
        partial = self.folder / f".{folder}{_PARTIAL}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        return partial

    def publish(self, study: str, about: Mapping[str, Any]) -> dict[str, Any]:
        """Move a complete answer to its final folder, in place of an older one, and note the state `about["then"]`.

        Args:
            study: name of its folder or file.
            about: keys of the line: `folder`, `then` and others.

        Returns:
            The line that was written to the journal.
        """
        _flush(self.folder / f".{about['folder']}{_PARTIAL}")
        self.note(study, ANSWERED, **about)
        return self._finish_publishing(study)

    def _finish_publishing(self, study: str) -> dict[str, Any]:
        """Move a study's complete answer to its final folder, if a killed watch has not done so, and note its state.

        An older answer is moved aside first, and comes back if the new one cannot be moved.

        Returns:
            The new line of the journal.
        """
        about = {key: value for key, value in self.entries[study].items() if key not in ("study", "state", "time")}
        folder = str(about["folder"])
        final, partial = self.folder / folder, self.folder / f".{folder}{_PARTIAL}"
        old = self.folder / f".{folder}.old"
        if partial.exists():  # else a watch that was killed had moved it
            if final.exists():
                shutil.rmtree(old, ignore_errors=True)
                final.rename(old)
            try:
                partial.rename(final)
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

    def _recover(self) -> None:
        """Move answers that were complete to their final folders, and remove those that a kill left half made."""
        for study, entry in list(self.entries.items()):
            if entry["state"] == ANSWERED:
                self._finish_publishing(study)
        for partial in self.folder.glob(f".*{_PARTIAL}"):
            shutil.rmtree(partial, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Flush the files of a folder to the disk: an answer that the journal calls complete must survive a power cut."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as stream:
                os.fsync(stream.fileno())


def _parse(line: str) -> dict[str, Any] | None:
    """Return a line of the journal; None for one that a kill cut short."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    is_entry = isinstance(value, dict) and isinstance(value.get("study"), str) and isinstance(value.get("state"), str)
    return value if is_entry and _is_folder_name(value.get("folder", "none")) else None


def _is_folder_name(name: Any) -> bool:
    """Return whether an entry names a folder right in the folder of answers: no other may be replaced or removed."""
    return isinstance(name, str) and relative_path_problem(name) is None and Path(name).name == name
