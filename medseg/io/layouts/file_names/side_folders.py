"""Know by their names the folders and pictures that lie beside scans, and show, describe or answer them."""

from __future__ import annotations

import json
from pathlib import Path

from medseg.io.layouts.file_names.words import words

_PREVIEWS = frozenset(
    (
        *("preview", "previews", "thumb", "thumbs", "thumbnail", "thumbnails", "overlay", "overlays", "qc", "icon"),
        *("screenshot", "screenshots", "snapshot", "snapshots", "picture", "pictures", "figures", "report", "logo"),
    )
)
"""Words of pictures that show a scan, and are none."""
_OTHER_FOLDERS = frozenset(("derivatives", "sourcedata", "code", "stimuli", "phenotype", "plans", "runs", "cache"))
"""Folders that BIDS and medseg itself keep beside the scans."""
_MANIFEST, _MANIFEST_KEYS = "manifest.json", {"schema_version", "commands"}


def shows_scans(name: str) -> bool:
    """Return whether a name has a word for pictures that show a scan.

    >>> shows_scans("p7_thumb"), shows_scans("overview")
    (True, False)
    """
    return not _PREVIEWS.isdisjoint(words(name))


def is_side_folder(path: Path) -> bool:
    """Return whether a folder beside those of the cases is none of them: of BIDS, of previews, or written by medseg."""
    if path.name.lower() in _OTHER_FOLDERS or path.name.lower() in _PREVIEWS:
        return True
    return _holds_answers(path) or _is_workspace(path)


def _holds_answers(folder: Path) -> bool:
    """Return whether medseg wrote into a folder, by the keys of its manifest; many programs write one of this name."""
    try:
        content = json.loads((folder / _MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.keys() >= _MANIFEST_KEYS


def _is_workspace(folder: Path) -> bool:
    """Return whether a folder holds plans of medseg's; `plans/` may be of radiotherapy as well."""
    plans = folder / "plans"
    return plans.is_dir() and any(_is_plan(path) for path in sorted(plans.glob("*.yaml")) if path.is_file())


def _is_plan(path: Path) -> bool:
    from medseg.plans.file import SCHEMA_LINE  # loads a library for YAML: only where there may be a plan

    try:
        with path.open("rb") as stream:
            return stream.readline(len(SCHEMA_LINE) + 2).rstrip() == SCHEMA_LINE.rstrip().encode()
    except OSError:
        return False
