"""Know by their names the folders and pictures that lie beside scans, and show, describe or answer them."""

from __future__ import annotations

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
_ANSWERS = "manifest.json"


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
    return (path / _ANSWERS).is_file() or (path / "plans").is_dir()
