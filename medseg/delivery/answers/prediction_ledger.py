"""The ledger of a folder of answers: which model made them, and which cases are finished; `--continue` goes by it.

`predict.jsonl` begins with a line on how the answers are made; one line follows for each finished case. Lines are
appended as cases finish, so that a kill at any moment loses at most the case it meets; at the end of a run the lines
are put in the order of the cases. Until then further lines say what lay there before, which cases the run began, whose
files may be its own, and which of them failed.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.files import content_hash, remove_temporaries, write_text
from medseg.core.machine.locking import open_alone
from medseg.core.names import relative_path_problem
from medseg.core.replacing import finish_replacing
from medseg.io.dicom.elements.paths import parse_reference
from medseg.io.several_files import files_of

LEDGER_NAME = "predict.jsonl"
_BEFORE, _BEGUN, _FAILED, _SERIES = "before", "begun", "failed", "series"
_SAMPLED_BYTES = 1 << 16


class PredictionLedger:
    """The ledger of a folder of answers; a context in which no other run may write into the folder.

    Args:
        folder: the folder of the answers; it exists.
        made_by: what decides the answers, as JSON: the model, and how it is used.
        keep: whether to keep the answers that are there; else the ledger begins again.
        answers: the files that this run will write into the folder and folders below it.

    Attributes:
        entries: {case: what is known of its answer}, of this run and, if it continues one, of earlier ones.
        replaced: the cases that an earlier run answered and this one begins anew.
        is_new: whether no earlier run wrote into the folder.

    Raises:
        DataError: another run writes there, files without a record lie where the answers go, or the answers to keep
            were made with other settings.
    """

    def __init__(self, folder: Path, made_by: Mapping[str, Any], keep: bool, answers: Sequence[Path]) -> None:
        self.path = folder / LEDGER_NAME
        self.made_by = dict(made_by)
        self.entries: dict[str, dict[str, Any]] = {}
        self.replaced: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self._refuse_unrecorded(answers)
        busy = DataError(f"Another `medseg predict` is writing into {folder}.", "Wait for it, or name another folder.")
        self._stream, alone = open_alone(self.path, busy)
        try:
            if alone:
                names: dict[Path, set[str]] = {}
                for path in answers:
                    names.setdefault(path.parent, set()).add(path.name)
                for parent, of_answers in names.items():
                    finish_replacing(parent)
                    remove_temporaries(parent, of_answers)
            text = self.path.read_text(encoding="utf-8", errors="replace")
            lines = [value for value in map(_parse, text.splitlines()) if value is not None]
            self._earlier_files = _files_in(lines)
            self.is_new = not lines
            self._begun = _begun_in(lines)
            if keep and self._continues(lines):
                self.entries = {entry["case"]: entry for entry in lines if _is_entry(entry)}
                if not text.endswith("\n"):  # a kill cut the last line short
                    self._stream.write("\n")
            else:
                self.replaced = tuple(self._earlier_files)
                self._stream.truncate(0)
                self._append(self.made_by, *([{_BEFORE: self._earlier_files}] if self._earlier_files else []))
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> PredictionLedger:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    @property
    def folder(self) -> Path:
        """The folder of the answers, in which it lies."""
        return self.path.parent

    def holds(self, case: Case) -> bool:
        """Return whether all files of a case's answer are unchanged, and the scan is the one that was answered."""
        entry = self.entries.get(case.id)
        try:
            return (
                entry is not None
                and entry["scan"] == _scan_hashes(case)
                and all(content_hash(self.folder / name) == digest for name, digest in entry["files"].items())
            )
        except OSError:
            return False

    @contextmanager
    def answering(self, cases: Iterable[Case]) -> Iterator[None]:
        """Note that some cases are answered in a block: what a kill leaves of them is then known to be this run's own.

        Args:
            cases: the cases.
        """
        self._append({_BEGUN: [case.id for case in cases]})
        try:
            yield
        except BaseException:
            with suppress(OSError):  # such as a full disk, of which the exception tells
                self._append({_BEGUN: []})  # a run that is stopped in order has listed what it finished
            raise

    def of_others(self, files: Mapping[str, Sequence[Path]]) -> list[Path]:
        """Return those of some files that no earlier run left as they are: somebody corrected or added them.

        Args:
            files: {case: files that this run will write}.
        """
        recorded = [*self._earlier_files.values(), *(entry["files"] for entry in self.entries.values())]
        digests = {name: digest for files in recorded for name, digest in files.items()}
        found = []
        for case, paths in files.items():
            for path in filter(Path.is_file, paths):
                digest = digests.get(path.relative_to(self.folder).as_posix())
                if (digest is None and case not in self._begun) or (digest and content_hash(path) != digest):
                    found.append(path)
        return found

    def note(self, entry: Mapping[str, Any]) -> None:
        """Note that a case is finished.

        Files with which an earlier run answered the same case and that this run does not write, such as DICOM objects
        of an older label map, are deleted, unless somebody changed them since.

        Args:
            entry: what `finished_entry` returned.
        """
        for name, digest in self._earlier_files.pop(entry["case"], {}).items():
            if name not in entry["files"]:
                _remove_unchanged(self.folder / name, digest)
        with self._lock:
            self.entries[entry["case"]] = dict(entry)
            self._append(entry)

    def note_failed(self, case: Case) -> None:
        """Note that a case has no answer: what lies in its place later is not of this run.

        Args:
            case: the case.
        """
        with self._lock:
            self._append({_FAILED: case.id})

    def knows(self, case: str) -> bool:
        """Return whether an earlier run, or this one, has answered a case.

        Args:
            case: its id.
        """
        return case in self._earlier_files or case in self.entries

    def drop(self, cases: Iterable[str]) -> list[Path]:
        """Forget the earlier answers to cases that have none now, and return the files of these that are there.

        Args:
            cases: ids of the cases.
        """
        files: dict[str, str] = {}
        for case in cases:
            files |= self._earlier_files.pop(case, {}) | self.entries.pop(case, {}).get("files", {})
        return [self.folder / name for name in files if (self.folder / name).is_file()]

    def close(self, cases: Iterable[Case]) -> None:
        """Put the ledger in the order of the cases: a run in two parts leaves the same ledger as one in one part."""
        entries = [self.entries[case.id] for case in cases if case.id in self.entries]
        write_text(self.path, "".join(map(_line, (self.made_by, *entries))))

    def _refuse_unrecorded(self, answers: Iterable[Path]) -> None:
        """Refuse to replace files in a folder without a ledger: they may be labels that somebody drew.

        Raises:
            DataError: there are such files.
        """
        recorded = self.path.is_file() and any(map(_parse, _lines(self.path)))
        existing = [] if recorded else [path for path in answers if path.exists()]
        if existing:
            raise DataError(
                f"{self.folder} holds {existing[0].name} where an answer would go, but no record of what made it "
                f"({LEDGER_NAME}): it may be a label that somebody drew.",
                f"Name another folder, or move away {'this file' if len(existing) == 1 else f'these {len(existing)}'}.",
            )

    def _continues(self, lines: Sequence[Mapping[str, Any]]) -> bool:
        """Return whether there is a ledger to continue, made in the same way; False if there are no answers yet.

        Raises:
            DataError: the answers were made with other settings.
        """
        if not lines:
            return False
        before, now = lines[0], self.made_by
        changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
        if changed:
            shown = "; ".join(f"{key}: {before.get(key)} then, {now.get(key)} now" for key in changed)
            raise DataError(
                f"The answers in {self.folder} were made with other settings: {shown}.",
                "Leave --continue out to make all answers again, or name another folder.",
            )
        return True

    def _append(self, *values: Mapping[str, Any]) -> None:
        self._stream.write("".join(map(_line, values)))
        self._stream.flush()


def finished_entry(folder: Path, case: Case, files: Iterable[Path], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry of a case that is finished, with hashes of its scan and of its answer.

    Args:
        folder: the folder of the answers.
        case: the case.
        files: the files of its answer.
        about: what later runs should know of the answer.
    """
    digests = {path.relative_to(folder).as_posix(): content_hash(path) for path in files}
    series = [reference.key for reference in map(parse_reference, case.channels) if reference is not None]
    entry = {**about, "case": case.id, "scan": _scan_hashes(case), "files": digests}
    return entry | ({_SERIES: series} if series else {})


def maker_of(path: Path) -> dict[str, Any] | None:
    """Return the model that made an answer, from the ledger of its folder; None if no line has the file's present hash.

    Args:
        path: a file among the answers.
    """
    lines, entries = _entries_on(path)
    if not entries or _is_entry(lines[0]) or entries[-1]["files"][path.name] != content_hash(path):
        return None
    return lines[0]


def answered_series(path: Path) -> tuple[str, ...]:
    """Return the keys of the DICOM series that an answer was made from, whoever changed it since; () if not known.

    Args:
        path: a file among the answers.
    """
    _, entries = _entries_on(path)
    keys = entries[-1].get(_SERIES) if entries else None
    return tuple(map(str, keys)) if isinstance(keys, list) else ()


def _entries_on(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the lines of the ledger beside a file, and those of them that list it; both empty without a ledger."""
    ledger = path.parent / LEDGER_NAME
    if not ledger.is_file():
        return [], []
    lines = [value for value in map(_parse, _lines(ledger)) if value is not None]
    return lines, [entry for entry in lines if _is_entry(entry) and path.name in entry["files"]]


def _lines(ledger: Path) -> list[str]:
    return ledger.read_text(encoding="utf-8", errors="replace").splitlines()


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False) + "\n"


def _parse(line: str) -> dict[str, Any] | None:
    """Return a line of the ledger; None for one that a kill cut short."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _files_in(lines: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return {case: {file of its answer: hash}} of what runs left: the last, and those that it was to replace."""
    before = [line[_BEFORE] for line in lines if isinstance(line.get(_BEFORE), dict)]
    answers = [(case, files) for earlier in before for case, files in earlier.items() if isinstance(files, dict)]
    answers += [(line["case"], line["files"]) for line in lines if _is_entry(line)]
    return {case: {name: digest for name, digest in files.items() if _is_below(name)} for case, files in answers}


def _begun_in(lines: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the cases that a killed run may have left files of without listing them."""
    begun: set[str] = set()
    for line in lines:
        if isinstance(line.get(_BEGUN), list):
            begun = {str(case) for case in line[_BEGUN]}
        begun -= {str(line[key]) for key in ("case", _FAILED) if key in line}
    return begun


def _is_entry(value: Mapping[str, Any]) -> bool:
    """Return whether a line names a case, its scan and at least one file; other lines count as missing."""
    files = value.get("files")
    return isinstance(value.get("case"), str) and "scan" in value and isinstance(files, dict) and bool(files)


def _scan_hashes(case: Case) -> list[str]:
    """Return a hash of each file of a scan: of its size, beginning and end, which is fast for large files.

    The end of a .gz file is a checksum of its whole content.
    """
    digests = []
    for path in (file for channel in case.channels for file in files_of(channel)):
        digest = hashlib.blake2b(digest_size=16)
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            digest.update(f"{size} ".encode())
            for start in (0, max(0, size - _SAMPLED_BYTES)):
                stream.seek(start)
                digest.update(stream.read(_SAMPLED_BYTES))
        digests.append(digest.hexdigest())
    return digests


def _is_below(name: str) -> bool:
    """Return whether a file's name in the ledger lies in the folder: nothing else may be deleted."""
    return relative_path_problem(name) is None


def _remove_unchanged(path: Path, digest: str) -> None:
    try:
        if content_hash(path) == digest:
            path.unlink()
    except OSError:
        pass  # gone already, or this user may not delete it
