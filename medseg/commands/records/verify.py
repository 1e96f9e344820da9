"""`medseg verify`: whether answers, scores and weights are still what the manifest beside them says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medseg.core.errors import DataError, MedsegError
from medseg.core.files import content_hash
from medseg.core.parallel import map_cases
from medseg.core.progress import Callback, silent, track
from medseg.core.wording import counted
from medseg.delivery.provenance.inputs import hash_series
from medseg.delivery.provenance.manifest import NAME, Entry, files_below, read_entries
from medseg.io.dicom.elements.paths import Reference, parse_reference

State = Literal["same", "changed", "missing", "new", "unreadable"]
Role = Literal["output", "input", "model"]


@dataclass(frozen=True)
class Verified:
    """What became of a file.

    Attributes:
        file: its name, below the folder it belongs to.
        command: the verb that wrote or read it; empty for a new file.
    """

    file: str
    role: Role
    command: str
    state: State


@dataclass(frozen=True)
class Verification:
    """Every file that was looked at, and in sentences what was not."""

    files: list[Verified]
    notes: list[str]

    @property
    def changes(self) -> list[Verified]:
        """Those that are not what they were."""
        return [one for one in self.files if one.state != "same"]


@dataclass(frozen=True)
class _Known:
    """A file with the hash that it had, and where it may lie now."""

    name: str
    role: Role
    command: str
    sha256: str
    places: tuple[Path, ...]


def verify(
    folder: str | Path,
    sources: Sequence[str | Path] = (),
    model: str | Path | None = None,
    callback: Callback = silent,
) -> Verification:
    """Hash the files of a folder anew, and compare with every manifest in it and below it.

    Args:
        folder: of answers, of scores, or of a run.
        sources: where the scans, references or training images lie; nothing said, they are not looked for.
        model: the model's folder or file; nothing said, its weights are not looked for.

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
    known, notes = [], []
    for place in places:
        shown = f"{place.relative_to(folder).as_posix()}/".removeprefix("./")
        for verb, entry in read_entries(place).items():
            notes += [] if entry.get("complete") else [f"{shown}{NAME}: {verb} was cut short"]
            known += [*_outputs(entry, verb, place), *_of_model(entry, verb, model), *_inputs(entry, verb, sources)]
    files = []
    for one, state in track(map_cases(_state, known), "verify", len(known), callback):
        now = "unreadable" if isinstance(state, MedsegError) else state
        files.append(Verified(_shown(one, folder), one.role, one.command, now))
    elsewhere = _elsewhere(files)
    files = [one for one in files if one.role != "input" or one.command not in elsewhere]
    return Verification(files + _new(folder, places, known), [*notes, *elsewhere.values()])


def _listed(entries: Any, named: Literal["file", "series"] = "file") -> Iterator[tuple[str, str]]:
    """Names and hashes of a list in a manifest; what is none is passed over."""
    for one in entries if isinstance(entries, list) else []:
        if isinstance(one, dict) and isinstance(one.get(named), str) and isinstance(one.get("sha256"), str):
            yield one[named], one["sha256"]


def _cases(entry: Entry) -> list[Entry]:
    cases = entry.get("cases")
    return [one for one in cases if isinstance(one, dict)] if isinstance(cases, list) else []


def _outputs(entry: Entry, verb: str, place: Path) -> Iterator[_Known]:
    lists = [entry.get("files"), *(case.get("files") for case in _cases(entry))]
    options = entry.get("options")
    if not isinstance(options, dict) or options.get("output") is None:  # scores beside the answers that were scored
        lists += [case.get("predictions") for case in _cases(entry)]
    for files in lists:
        for name, digest in _listed(files):
            yield _Known(name, "output", verb, digest, (place / name,))


def _inputs(entry: Entry, verb: str, sources: Sequence[str | Path]) -> Iterator[_Known]:
    folders = [Path(source) if Path(source).is_dir() else Path(source).parent for source in sources]
    for case in _cases(entry) if folders else []:
        for name, digest in _listed(case.get("inputs")):
            yield _Known(name, "input", verb, digest, tuple(folder / name for folder in folders))
        for key, digest in _listed(case.get("inputs"), "series"):
            named = key if key.isalnum() else "0"  # one that is no key is found nowhere
            places = tuple(Reference(Path(source).absolute(), named).path for source in sources)
            yield _Known(f"series {key}", "input", verb, digest, places)


def _elsewhere(files: Sequence[Verified]) -> dict[str, str]:
    """Commands whose inputs lie somewhere else, with a note: none of them is as it was, but another command's are.

    Scans and their references often have the same names, so that a name alone says nothing.
    """
    read = {verb: [one for one in files if one.role == "input" and one.command == verb] for verb in _verbs(files)}
    there = {verb for verb, ones in read.items() if any(one.state == "same" for one in ones)}
    return {
        verb: f"of {counted(len(ones), 'file')} that {verb} read none lies in the source; not compared"
        for verb, ones in read.items()
        if there and ones and verb not in there
    }


def _verbs(files: Sequence[Verified]) -> list[str]:
    return list(dict.fromkeys(one.command for one in files))


def _of_model(entry: Entry, verb: str, model: str | Path | None) -> Iterator[_Known]:
    """The files of weights, of an earlier stage too; a model is named by its folder, that of a fold, or its file."""
    stage = entry.get("model")
    while model is not None and isinstance(stage, dict):
        path = Path(model)
        for name, digest in _listed(stage.get("weights")):
            places = (path,) if path.is_file() else (path / name, path.parent / name)
            yield _Known(name, "model", verb, digest, places)
        stage = stage.get("previous")


def _state(one: _Known) -> State:
    """`same` if any of the places holds what was there."""
    try:
        found = [digest for digest in map(_hash, one.places) if digest is not None]
    except OSError:
        return "unreadable"
    return "same" if one.sha256 in found else "changed" if found else "missing"


def _hash(path: Path) -> str | None:
    """Hash of a file, or of the instances of a DICOM series; None where there is none."""
    if path.is_file():
        return content_hash(path)
    if parse_reference(path) is None:
        return None
    series = hash_series(path)
    return str(series["sha256"]) if series["instances"] else None


def _new(folder: Path, places: Sequence[Path], known: Iterable[_Known]) -> list[Verified]:
    """Files beside a manifest that no command names."""
    named = {path for one in known if one.role == "output" for path in one.places}
    below = {path for place in places for path in files_below(place)}
    return [Verified(path.relative_to(folder).as_posix(), "output", "", "new") for path in sorted(below - named)]


def _shown(one: _Known, folder: Path) -> str:
    """A file's name: of outputs below the folder that is verified, else as the manifest has it."""
    if one.role != "output":
        return one.name
    try:
        return one.places[0].relative_to(folder).as_posix()
    except ValueError:
        return one.name
