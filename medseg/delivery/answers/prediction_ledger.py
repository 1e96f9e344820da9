"""What a folder of answers already holds, and which model made it: what `--continue` goes by.

`predict.jsonl` begins with how the answers are made; a line follows for each finished case. Lines are appended as cases
end, so that a kill at any moment costs no more than the case it meets; at the end they are put in order.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.files import content_hash, write_text
from medseg.core.locking import open_alone
from medseg.io.formats.table import files_of

RECORD = "predict.jsonl"
_TEMPORARY = re.compile(r"\.[0-9a-f]{8}\.(.+)")
_SAMPLED_BYTES = 1 << 16


class Finished:
    """The record of a folder of answers; a context, within which no other run may write there.

    Attributes:
        entries: {case: what is known of its answer}, of this run and, where it goes on, of those before.
    """

    def __init__(self, folder: Path, made_by: Mapping[str, Any], keep: bool, answers: Sequence[Path]) -> None:
        """Open the record of a folder that exists.

        Args:
            folder: where the answers go.
            made_by: what decides the answers, as JSON holds it: the model, and how it is used.
            keep: go on with what is there, instead of starting anew.
            answers: the files that this run is to write into the folder and those below it.

        Raises:
            DataError: another run writes there, or what is there was made otherwise.
        """
        self.path = folder / RECORD
        self.made_by = dict(made_by)
        self.entries: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        busy = DataError(f"Another `medseg predict` is writing into {folder}.", "Wait for it, or name another folder.")
        self._stream, alone = open_alone(self.path, busy)
        try:
            if alone:
                _remove_temporaries(answers)
            self._earlier = self._files_before()
            if not (keep and self._read(answers)):
                self._stream.truncate(0)
                self._append(self.made_by)
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Finished:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def holds(self, case: Case) -> bool:
        """Whether the answer to a case is there and whole, and the scan is the one that was answered."""
        entry = self.entries.get(case.id)
        try:
            return (
                entry is not None
                and entry["scan"] == _samples(case)
                and all(content_hash(self.path.parent / name) == known for name, known in entry["files"].items())
            )
        except OSError:
            return False

    def add(self, case: Case, files: Iterable[Path], about: Mapping[str, Any]) -> None:
        """Note that a case is finished: its files, and what is to be known of them later.

        Files that an earlier run answered the same case with and that this one does not write, such as DICOM objects of
        an older label map, go, unless somebody changed them since.
        """
        digests = {path.relative_to(self.path.parent).as_posix(): content_hash(path) for path in files}
        scan = _samples(case)
        for name, known in self._earlier.pop(case.id, {}).items():
            if name not in digests:
                _remove_unchanged(self.path.parent / name, known)
        with self._lock:
            self.entries[case.id] = {**about, "case": case.id, "scan": scan, "files": digests}
            self._append(self.entries[case.id])

    def close(self, cases: Iterable[Case]) -> None:
        """Put the record in the order of the cases: a run in two parts leaves what a run in one leaves."""
        kept = [self.entries[case.id] for case in cases if case.id in self.entries]
        write_text(self.path, "".join(map(_line, (self.made_by, *kept))))

    def _files_before(self) -> dict[str, dict[str, str]]:
        """{case: {file below the folder: its hash}} as an earlier run recorded them."""
        text = self.path.read_text(encoding="utf-8", errors="replace")
        entries = [entry for entry in map(_parse, text.splitlines()[1:]) if entry is not None and _is_entry(entry)]
        return {
            entry["case"]: {name: known for name, known in entry["files"].items() if _lies_below(name)}
            for entry in entries
        }

    def _read(self, answers: Sequence[Path]) -> bool:
        """Take over what an earlier run left; False if nothing is there."""
        text = self.path.read_text(encoding="utf-8", errors="replace")
        parsed = [value for value in map(_parse, text.splitlines()) if value is not None]
        if not parsed:
            there = [path.name for path in answers if path.exists()]
            if there:
                raise DataError(
                    f"{self.path.parent} holds answers ({there[0]}), but no record of what made them ({RECORD}).",
                    "Leave --continue out to make them anew, or name another folder.",
                )
            return False
        made_by, *entries = parsed
        changed = [key for key in sorted({*made_by, *self.made_by}) if made_by.get(key) != self.made_by.get(key)]
        if changed:
            shown = "; ".join(f"{key}: {made_by.get(key)} then, {self.made_by.get(key)} now" for key in changed)
            raise DataError(
                f"{self.path.parent} holds answers that were made otherwise. {shown}.",
                "Leave --continue out to make all answers anew, or name another folder.",
            )
        self.entries = {entry["case"]: entry for entry in entries if _is_entry(entry)}
        if not text.endswith("\n"):  # a kill cut the last line short
            self._stream.write("\n")
        return True

    def _append(self, value: Mapping[str, Any]) -> None:
        self._stream.write(_line(value))
        self._stream.flush()


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False) + "\n"


def _parse(line: str) -> dict[str, Any] | None:
    """A line of the record; None for one that a kill cut short."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _is_entry(value: Mapping[str, Any]) -> bool:
    """Whether a line names a case, its scan and at least one file; any other is as good as none."""
    files = value.get("files")
    return isinstance(value.get("case"), str) and "scan" in value and isinstance(files, dict) and bool(files)


def _samples(case: Case) -> list[str]:
    return [_sample(file) for path in case.channels for file in files_of(path)]


def _sample(path: Path) -> str:
    """Hash of a scan's size, beginning and end; the end of a .gz file is a checksum of its content."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        digest.update(f"{size} ".encode())
        for place in (0, max(0, size - _SAMPLED_BYTES)):
            stream.seek(place)
            digest.update(stream.read(_SAMPLED_BYTES))
    return digest.hexdigest()


def _lies_below(name: str) -> bool:
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def _remove_unchanged(path: Path, known: str) -> None:
    try:
        if content_hash(path) == known:
            path.unlink()
    except OSError:
        pass  # gone already, or not ours to delete


def _remove_temporaries(answers: Sequence[Path]) -> None:
    """Delete what a killed run had not finished writing."""
    for folder in {path.parent for path in answers if path.parent.is_dir()}:
        for path in folder.iterdir():
            unfinished = _TEMPORARY.fullmatch(path.name)
            if unfinished and folder / unfinished[1] in answers:
                path.unlink(missing_ok=True)
