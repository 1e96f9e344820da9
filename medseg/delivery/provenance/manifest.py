"""What manifest.json says beside answers, scores and trained weights: what made them, from what, and their hashes.

One file a folder, with an entry for each command that wrote there. It names files relative to the folder that was read
or written, and nothing that tells a patient: neither folders above these nor the UIDs of DICOM. docs/provenance.md
describes every key.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg import __version__
from medseg.core.errors import DataError
from medseg.core.files import content_hash, write_text
from medseg.io.dicom.elements.uids import hide_uids

if TYPE_CHECKING:
    from medseg.core.image import Image
    from medseg.preprocessing.volume import Geometry

NAME = "manifest.json"
SCHEMA_VERSION = 1
STATEMENT = "For research use only. Not a medical device: not for diagnosis or treatment."
_FLAT_LIST = re.compile(r"\[\n\s+([^\[\]{}]+?)\n\s+\]")
"""A list of plain values as `json.dumps` spreads it over lines, of which texts have none."""
_NAMES = ("case", "file")
_GIT_SECONDS = 5.0
_DECIMALS = 6

Entry = dict[str, Any]
"""What one command did, as JSON holds it."""


def now() -> str:
    """The time, UTC, as ISO 8601 to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def software() -> Entry:
    """The package, its commit where it runs from a checkout, and what it computes with."""
    return {
        "package": "medseg",
        "version": __version__,
        "git": git_commit(),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "system": f"{platform.system()} {platform.machine()}",
    }


@lru_cache(maxsize=1)
def git_commit() -> str | None:
    """The commit of the checkout that the package lies in, with `-dirty` where files differ from it; else None."""
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
    """Where the voxels of a scan lie: shape and spacing along z, y, x; affine from (x, y, z) indices to RAS+ mm."""
    from nibabel.orientations import aff2axcodes

    return {
        "shape_zyx": list(image.shape_zyx),
        "spacing_mm" if image.spacing_known else "spacing_pixels": _rounded(image.spacing_mm),
        "orientation": "".join(code or "?" for code in aff2axcodes(image.affine)),
        "affine": [_rounded(row) for row in image.affine.tolist()],
    }


def describe_resampling(geometry: Geometry) -> Entry:
    """What the network saw of a scan: its box (network's axes, first and last + 1), and the grid it was brought to."""
    return {
        "box": [[part.start, part.stop] for part in geometry.box],
        "spacing": _rounded(geometry.network_spacing_mm),
        "shape": list(geometry.network_shape),
        "resampled": _rounded(geometry.spacing_mm) != _rounded(geometry.network_spacing_mm),
    }


def listed(folder: Path, files: Iterable[Path]) -> list[Entry]:
    """Files below a folder by name and hash; those that are not there are left out."""
    return [{"file": relative(path, folder), "sha256": content_hash(path)} for path in files if path.is_file()]


def files_below(folder: Path) -> list[Path]:
    """Every file in a folder and those below it, but for manifests and what is being written."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != NAME)
    return sorted(path for path in found if not path.name.startswith("."))


def relative(path: Path, folder: Path) -> str:
    """A file's name below a folder; of one that lies elsewhere the bare name, as its folders may name people."""
    try:
        return path.absolute().relative_to(folder.absolute()).as_posix()
    except ValueError:
        return path.name


def without_uids(value: Any, folders: Iterable[Path] = ()) -> Any:
    """A value as JSON holds it with the UIDs of DICOM, and the paths to these folders, taken out of every text.

    Names of cases and of their files stay what they are, as the files would not be found again.
    """
    folders = tuple(folders)
    if isinstance(value, str):
        written = {text: one.name for one in folders for text in (str(one.absolute()), str(one))}
        for text in sorted(written.keys() - {".", "/", ""}, key=len, reverse=True):  # "in" is part of "/data/in"
            path = rf"(?<![\w./-]){re.escape(text)}"
            value = re.sub(f"{path}/", "", value)
            value = re.sub(rf"{path}(?![\w-])", written[text].replace("\\", r"\\"), value)
        return hide_uids(value)
    if isinstance(value, Mapping):
        return {key: one if key in _NAMES else without_uids(one, folders) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_uids(one, folders) for one in value]
    return value.name if isinstance(value, Path) else value


def write_entry(folder: Path, command: str, entry: Entry) -> Path:
    """Write what a command did into a folder's manifest, beside what other commands left there."""
    try:
        others = read_entries(folder)
    except DataError:  # damaged, or of another version: what this command did is to be known all the same
        others = {}
    return _write(folder, {**others, command: entry})


def made_anew(folder: Path, file: Path) -> None:
    """Note the new hash of a file that a command had written, where a manifest names it."""
    entries = read_entries(folder)
    listed = [one for entry in entries.values() for one in entry.get("files", ())]
    own = [one for one in listed if one["file"] == relative(file, folder)]
    for one in own:
        one["sha256"] = content_hash(file)
    if own:
        _write(folder, entries)


def _write(folder: Path, commands: Mapping[str, Entry]) -> Path:
    content = {"schema_version": SCHEMA_VERSION, "statement": STATEMENT, "commands": dict(commands)}
    text = json.dumps(content, indent=2, ensure_ascii=False)
    write_text(folder / NAME, _FLAT_LIST.sub(_on_one_line, text) + "\n")
    return folder / NAME


def read_entries(folder: Path) -> dict[str, Entry]:
    """What each command did in a folder; nothing where there is no manifest.

    Raises:
        DataError: it is damaged, or was written by a later version.
    """
    path = folder / NAME
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found, commands = content["schema_version"], content["commands"]
        valid = isinstance(commands, dict) and all(isinstance(one, dict) for one in commands.values())
    except (OSError, ValueError, KeyError, TypeError):
        found, valid, commands = None, False, {}
    if found != SCHEMA_VERSION or not valid:
        raise DataError(
            f"{path} is not a manifest of version {SCHEMA_VERSION}"
            + (f"; it says {found}." if isinstance(found, int) else "."),
            "Expected what medseg writes beside its answers; restore it from a copy, or make the answers anew.",
        )
    return dict(commands)


def _on_one_line(match: re.Match[str]) -> str:
    return "[" + re.sub(r",\n\s+", ", ", match[1]) + "]"


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(float(value), _DECIMALS) + 0.0 for value in values]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
