"""`medseg verify`: whether answers, scores and weights are still what the manifest beside them says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medseg.core.errors import DataError, MedsegError
from medseg.core.files import content_hash
from medseg.core.machine.parallel import map_cases
from medseg.core.progress import Callback, silent, track
from medseg.core.wording import counted
from medseg.delivery.provenance.inputs import hash_series
from medseg.delivery.provenance.manifest import NAME, Entry, files_below, read_entries
from medseg.io.dicom.elements.paths import Reference, parse_reference

State = Literal["same", "changed", "missing", "new", "unreadable"]
Role = Literal["output", "input", "model"]


@dataclass(frozen=True)
class Verified:
    """The state of a file.

    Attributes:
        file: its name, relative to the folder it belongs to.
        role: whether a command wrote it, read it, or it belongs to the model.
        command: the verb that wrote or read it; empty for a new file.
        state: how it compares with the manifest.
    """

    file: str
    role: Role
    command: str
    state: State


@dataclass(frozen=True)
class Verification:
    """The result of `verify`.

    Attributes:
        files: every file that was looked at.
        notes: what was not looked at, in sentences.
    """

    files: list[Verified]
    notes: list[str]

    @property
    def changes(self) -> list[Verified]:
        """The files that differ from the manifest."""
        return [file for file in self.files if file.state != "same"]


@dataclass(frozen=True)
class _Listed:
    """A file that a manifest lists.

    Attributes:
        name: as the manifest has it.
        role: as in `Verified`.
        command: the verb that wrote or read it.
        sha256: the hash that it had.
        paths: where it may lie now.
    """

    name: str
    role: Role
    command: str
    sha256: str
    paths: tuple[Path, ...]


def verify(
    folder: str | Path,
    sources: Sequence[str | Path] = (),
    model: str | Path | None = None,
    callback: Callback = silent,
) -> Verification:
    """Hash the files of a folder again, and compare with every manifest in it and below it.

    Args:
        folder: the folder of answers, of scores, or of a run.
        sources: where the scans, references or training images lie; without any, these are not compared.
        model: the model's folder or file; without one, its weights are not compared.
        callback: receives progress; may raise `Cancelled`.

    Returns:
        The state of every file that was looked at, and what was not looked at.

    Raises:
        DataError: there is no manifest, or one is damaged.
    """
    folder = Path(folder)
    for path in (folder, *map(Path, sources), *([Path(model)] if model is not None else [])):
        if not path.exists():
            raise DataError(f"There is no file or folder {path}.")
    places = sorted(path.parent for path in folder.rglob(NAME)) if folder.is_dir() else []
    if not places:
        raise DataError(
            f"There is no {NAME} in {folder}.",
            "Expected a folder that medseg predict, train or evaluate wrote.",
        )
    listed, notes = [], []
    for manifest_folder in places:
        shown = f"{manifest_folder.relative_to(folder).as_posix()}/".removeprefix("./")
        for verb, entry in read_entries(manifest_folder).items():
            notes += [] if entry.get("complete") else [f"{shown}{NAME}: {verb} was cut short"]
            listed += [
                *_outputs(entry, verb, manifest_folder),
                *_weights(entry, verb, model),
                *_inputs(entry, verb, sources),
            ]
    states: list[tuple[_Listed, State]] = []
    for file, state in track(map_cases(_state, listed), "verify", len(listed), callback):
        states.append((file, "unreadable" if isinstance(state, MedsegError) else state))
    elsewhere = _notes_on_other_sources(states)
    files = [
        Verified(_shown_name(file, folder), file.role, file.command, state)
        for file, state in states
        if file.role != "input" or file.command not in elsewhere
    ]
    return Verification(files + _new_files(folder, places, listed), [*notes, *elsewhere.values()])


def _names_and_hashes(entries: Any, key: Literal["file", "series"] = "file") -> Iterator[tuple[str, str]]:
    """Yield names and hashes of a list in a manifest; what has none is skipped, as anyone may have edited the file."""
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get(key), str) and isinstance(entry.get("sha256"), str):
            yield entry[key], entry["sha256"]


def _cases(entry: Entry) -> list[Entry]:
    cases = entry.get("cases")
    return [case for case in cases if isinstance(case, dict)] if isinstance(cases, list) else []


def _outputs(entry: Entry, verb: str, manifest_folder: Path) -> Iterator[_Listed]:
    lists = [entry.get("files"), *(case.get("files") for case in _cases(entry))]
    options = entry.get("options")
    if not isinstance(options, dict) or options.get("output") is None:  # scores beside the answers that were scored
        lists += [case.get("predictions") for case in _cases(entry)]
    for files in lists:
        for name, digest in _names_and_hashes(files):
            yield _Listed(name, "output", verb, digest, (manifest_folder / name,))


def _inputs(entry: Entry, verb: str, sources: Sequence[str | Path]) -> Iterator[_Listed]:
    folders = [Path(source) if Path(source).is_dir() else Path(source).parent for source in sources]
    for case in _cases(entry) if folders else []:
        for name, digest in _names_and_hashes(case.get("inputs")):
            yield _Listed(name, "input", verb, digest, tuple(folder / name for folder in folders))
        for key, digest in _names_and_hashes(case.get("inputs"), "series"):
            valid_key = key if key.isalnum() else "0"  # no part of a path from an edited file
            paths = tuple(Reference(Path(source).absolute(), valid_key).path for source in sources)
            yield _Listed(f"series {key}", "input", verb, digest, paths)


def _weights(entry: Entry, verb: str, model: str | Path | None) -> Iterator[_Listed]:
    """Yield the files of weights, those of a cascade's first stage and of other configurations included."""
    waiting = [entry.get("model")]
    while model is not None and waiting:
        stage = waiting.pop(0)
        if not isinstance(stage, dict):
            continue
        path, configuration = Path(model), str(stage.get("configuration", ""))
        for name, digest in (*_names_and_hashes(stage.get("weights")), *_names_and_hashes(stage.get("int8"))):
            # the user may name the model by the folder of its plan, its own, that of one of its folds, or by its file;
            # several configurations have files of the same names
            folders = (
                [folder / configuration for folder in (path, path.parent, path.parent.parent)] if configuration else []
            )
            paths = (path,) if path.is_file() else tuple(folder / name for folder in (*folders, path, path.parent))
            yield _Listed(name, "model", verb, digest, paths)
        others = stage.get("others")
        waiting += [stage.get("previous"), *(others if isinstance(others, list) else [])]


def _notes_on_other_sources(states: Sequence[tuple[_Listed, State]]) -> dict[str, str]:
    """Return {command: note} for commands whose inputs lie in none of the sources, though another command's do.

    Scans and their references often have the same names, so a name alone does not tell whose input a file is. A file
    that is no other command's, as it holds what none of them read, is this one's, and was changed.
    """
    inputs: dict[str, list[_Listed]] = {}
    found: list[_Listed] = []
    for file, state in states:
        if file.role == "input":
            inputs.setdefault(file.command, []).append(file)
            found += [file] if state == "same" else []
    absent = inputs.keys() - {file.command for file in found}
    if not found or not absent:
        return {}
    of_others = {path for file in found for path in file.paths if _hash(path) == file.sha256}
    return {
        verb: f"of {counted(len(read), 'file')} that {verb} read none lies in the source; not compared"
        for verb, read in inputs.items()
        if verb in absent and all(path in of_others or not _is_there(path) for file in read for path in file.paths)
    }


def _is_there(path: Path) -> bool:
    try:
        return _hash(path) is not None
    except OSError:  # it cannot be read, and is there
        return True


def _state(file: _Listed) -> State:
    """Return `same` if any of the paths holds the content that the manifest lists."""
    try:
        digests = [digest for digest in map(_hash, file.paths) if digest is not None]
    except OSError:
        return "unreadable"
    return "same" if file.sha256 in digests else "changed" if digests else "missing"


def _hash(path: Path) -> str | None:
    """Return the hash of a file, or of the instances of a DICOM series; None where there is neither."""
    if path.is_file():
        return content_hash(path)
    if parse_reference(path) is None:
        return None
    series = hash_series(path)
    return str(series["sha256"]) if series["instances"] else None


def _new_files(folder: Path, places: Sequence[Path], listed: Iterable[_Listed]) -> list[Verified]:
    """Return the files beside manifests that no command lists."""
    outputs = {path for file in listed if file.role == "output" for path in file.paths}
    below = {path for manifest_folder in places for path in files_below(manifest_folder)}
    return [Verified(path.relative_to(folder).as_posix(), "output", "", "new") for path in sorted(below - outputs)]


def _shown_name(file: _Listed, folder: Path) -> str:
    """Return a file's name: of outputs relative to the verified folder, else as the manifest has it."""
    if file.role != "output":
        return file.name
    try:
        return file.paths[0].relative_to(folder).as_posix()
    except ValueError:
        return file.name
