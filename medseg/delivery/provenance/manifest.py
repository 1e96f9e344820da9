"""manifest.json beside answers, scores and trained weights: what made them, from what, and their hashes.

There is one file per folder, with an entry for each command that wrote into the folder. It names files relative to the
folder that was read or written, and nothing that identifies a patient: neither enclosing folders nor the UIDs of DICOM.
docs/prediction/provenance.md describes every key. `provenance.entries` puts the entries together.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from medseg import __version__
from medseg.core.errors import DataError
from medseg.core.files import content_hash, earlier_path, write_text
from medseg.core.json_text import parse_json
from medseg.io.dicom.elements.uids import hide_uids
from medseg.models.run_files import MANIFEST as NAME
from medseg.models.run_files import README

if TYPE_CHECKING:
    from medseg.core.image import Image
    from medseg.preprocessing.volume import Geometry

SCHEMA_VERSION = 1
STATEMENT = "For research use only. Not a medical device: not for diagnosis or treatment."
_FLAT_LIST = re.compile(r"\[\n\s+([^\[\]{}]+?)\n\s+\]")
"""A list of plain values as `json.dumps` spreads it over lines; texts contain no line breaks, so none matches."""
_NAME_KEYS = ("case", "file")
"""Keys whose values stay as they are: files would not be found again under another name."""
_GIT_SECONDS = 5.0
_DECIMALS = 6
"""Of millimetres in a manifest: a nanometre, well below what any scanner resolves."""

Entry = dict[str, Any]
"""What one command did, as JSON holds it."""


def now() -> str:
    """Return the time in UTC as ISO 8601, to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Clock:
    """Measures what a command takes, from when it is made."""

    def __init__(self) -> None:
        self._start, self._start_time = now(), time.monotonic()

    def entry(self) -> Entry:
        """Return start, end (now), and the seconds between."""
        return {
            "started": self._start,
            "ended": now(),
            "seconds": round(time.monotonic() - self._start_time, 3),
        }


def software() -> Entry:
    """Return the package, its commit where it runs from a checkout, and what it computes with."""
    try:
        torch_version = version("torch")
    except PackageNotFoundError:
        torch_version = None
    return {
        "package": "medseg",
        "version": __version__,
        "git": git_commit(),
        "python": platform.python_version(),
        "torch": torch_version,
        "system": f"{platform.system()} {platform.machine()}",
    }


@lru_cache(maxsize=1)
def git_commit() -> str | None:
    """Return the commit of the checkout that medseg runs from, with `-dirty` if files were changed; else None."""
    folder = Path(__file__).parents[3]
    if not ((folder / ".git").exists() and (folder / "pyproject.toml").exists()):
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--match", ""]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def describe_grid(image: Image) -> Entry:
    """Return where the voxels of a scan lie.

    The entry has shape and spacing along z, y, x, and the affine from (x, y, z) indices to RAS+ mm.
    """
    return {
        "shape_zyx": list(image.shape_zyx),
        "spacing_mm" if image.spacing_known else "spacing_pixels": _rounded(image.spacing_mm),
        "orientation": image.axes,
        "affine": [_rounded(row) for row in image.affine.tolist()],
    }


def describe_resampling(geometry: Geometry) -> Entry:
    """Return the entry on the grid of a scan that the network saw, after cropping and resampling.

    The entry has the cropped box (in the network's axis order, as [first, last + 1] voxel), and spacing and shape of
    the grid that it was resampled to.
    """
    return {
        "box": [[part.start, part.stop] for part in geometry.box],
        "spacing": _rounded(geometry.network_spacing_mm),
        "shape": list(geometry.network_shape),
        "resampled": _rounded(geometry.spacing_mm) != _rounded(geometry.network_spacing_mm),
    }


def listed(folder: Path, files: Iterable[Path]) -> list[Entry]:
    """Return entries with name and hash of files, relative to a folder; files that do not exist are left out."""
    return [{"file": relative(path, folder), "sha256": content_hash(path)} for path in files if path.is_file()]


def files_below(folder: Path) -> list[Path]:
    """Return every file in a folder and those below it, except manifests, README.txt and temporary files (`.name`)."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name not in (NAME, README))
    return sorted(path for path in paths if not path.name.startswith("."))


def relative(path: Path, folder: Path) -> str:
    """Return a file's path relative to a folder; only its name if it lies elsewhere, as folders may name people."""
    try:
        return path.absolute().relative_to(folder.absolute()).as_posix()
    except ValueError:
        return path.name


def without_uids(value: Any, folders: Iterable[Path] = ()) -> Any:
    """Return a value as JSON holds it, with the UIDs of DICOM and the paths of some folders taken out of every text.

    Names of cases and of their files stay as they are, because the files would not be found again.

    Args:
        value: texts, paths, sections of a plan and plain values, and lists and mappings of these.
        folders: a path below one of them becomes relative to it; the path of a folder itself becomes its name.
    """
    folders = tuple(folders)
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, str):
        name_of = {text: folder.name for folder in folders for text in (str(folder.absolute()), str(folder))}
        # the longest first: "in" is part of "/data/in"
        for text in sorted(name_of.keys() - {".", "/", ""}, key=len, reverse=True):
            path = rf"(?<![\w./-]){re.escape(text)}"  # not in the middle of another path
            value = re.sub(f"{path}/", "", value)
            value = re.sub(rf"{path}(?![\w-])", name_of[text].replace("\\", r"\\"), value)
        return hide_uids(value)
    if isinstance(value, Mapping):
        return {key: item if key in _NAME_KEYS else without_uids(item, folders) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_uids(item, folders) for item in value]
    return value.name if isinstance(value, Path) else value


def write_entry(folder: Path, command: str, entry: Entry) -> Path:
    """Write what a command did into a folder's manifest, beside the entries of other commands.

    Args:
        folder: the folder that the command wrote into.
        command: its name; an earlier entry of the same command is replaced.
        entry: the entry of the command.

    Returns:
        The path of the manifest.
    """
    try:
        others = read_entries(folder)
    except DataError:  # damaged, or somebody else's: what this command did should be known all the same
        others = {}
        os.replace(folder / NAME, earlier_path(folder, "manifest.", ".json"))
    return _write(folder, {**others, command: entry})


def is_listed(path: Path) -> bool:
    """Return whether a command that wrote a file noted it as it is now, in a manifest beside it or one folder above.

    Args:
        path: the file.
    """
    for folder in (path.parent, path.parent.parent):
        try:
            entries = read_entries(folder)
        except DataError:
            continue
        lists = [entry.get("files") for entry in entries.values()]
        files = [file for files in lists if isinstance(files, list) for file in files if isinstance(file, dict)]
        hashes = [file.get("sha256") for file in files if file.get("file") == relative(path, folder)]
        if hashes and content_hash(path) in hashes:
            return True
    return False


def move_entry(folder: Path, target: Path, command: str) -> None:
    """Move the entry of a command to the manifest of another folder, where there is one.

    Args:
        folder: the folder of the manifest.
        target: the folder that the files of the command were moved to.
        command: its name.
    """
    try:
        entries = read_entries(folder)
    except DataError:
        return  # damaged, or of another version: the next command replaces it
    entry = entries.pop(command, None)
    if entry is not None:
        write_entry(target, command, entry)
        _write(folder, entries)


def list_again(folder: Path, file: Path, beside: Path) -> None:
    """Update the hashes of files that were written again, where the folder's manifest lists the first of them.

    Args:
        folder: the folder of the manifest.
        file: a file in it.
        beside: a folder of files that go with it, and of which there may be others than before.
    """
    entries = read_entries(folder)
    name, start = relative(file, folder), f"{relative(beside, folder)}/"
    changed = [entry for entry in entries.values() if name in {known["file"] for known in entry.get("files", ())}]
    for entry in changed:
        others = [known for known in entry["files"] if known["file"] != name and not known["file"].startswith(start)]
        now = listed(folder, [file, *files_below(beside)])
        entry["files"] = sorted([*others, *now], key=lambda known: known["file"])
    if changed:
        _write(folder, entries)


def _write(folder: Path, commands: Mapping[str, Entry]) -> Path:
    content = {"schema_version": SCHEMA_VERSION, "statement": STATEMENT, "commands": dict(commands)}
    text = json.dumps(content, indent=2, ensure_ascii=False)
    one_line = _FLAT_LIST.sub(lambda match: "[" + re.sub(r",\n\s+", ", ", match[1]) + "]", text)
    write_text(folder / NAME, one_line + "\n")
    return folder / NAME


def read_entries(folder: Path) -> dict[str, Entry]:
    """Return {command: what it did in a folder}; empty where there is no manifest.

    Raises:
        DataError: it is damaged, or was written by a later version.
    """
    path = folder / NAME
    if not path.is_file():
        return {}
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        schema_version, commands = content["schema_version"], content["commands"]
        valid = isinstance(commands, dict) and all(isinstance(entry, dict) for entry in commands.values())
    except (OSError, ValueError, KeyError, TypeError):
        schema_version, valid, commands = None, False, {}
    if schema_version != SCHEMA_VERSION or not valid:
        raise DataError(
            f"{path} is not a manifest of version {SCHEMA_VERSION}"
            + (f"; it says {schema_version}." if isinstance(schema_version, int) else "."),
            "Expected what medseg writes beside its answers; restore it from a copy, or make the answers again.",
        )
    return dict(commands)


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(float(value), _DECIMALS) + 0.0 for value in values]  # + 0.0 turns -0.0 into 0.0
