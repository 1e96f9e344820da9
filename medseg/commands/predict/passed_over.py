"""Scans of a folder that are passed over although they could be read: who gave the folder may believe them answered."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.core.errors import MedsegError
from medseg.core.wording import counted, printable
from medseg.io.layouts.scans import find_scans
from medseg.io.layouts.studies import SeriesRules
from medseg.io.layouts.used_paths import absolute

if TYPE_CHECKING:
    from medseg.io.layouts.unread_entries import Unread

_MOST_TRIED = 20
"""Entries that are searched for scans: each takes as long as finding those of the command itself."""
_DEEPEST = 20


@dataclass(frozen=True)
class PassedOver:
    """Scans that were not answered, as they do not lie where those of the other cases do.

    Attributes:
        path: what `medseg predict` answers them by: the folder that holds them, or the file.
        scans: how many it finds there.
    """

    path: Path
    scans: int

    def told(self, command: str = "") -> str:
        """Return a sentence on them, with what to do.

        Args:
            command: answers them; empty where none is known.
        """
        path = printable(str(self.path))
        one = self.scans == 1
        why = "was passed over, as its name or place is" if one else "were passed over, as their names or places are"
        why += " unlike those of the answered scans"
        return f"{counted(self.scans, 'scan')} in {path} {why}: {command or f'give {path} by itself'}"


def find_passed_over(
    unread: Unread, channels: Sequence[str], rules: SeriesRules
) -> tuple[tuple[PassedOver, ...], Unread]:
    """Return the entries of a folder whose scans would be answered if they were given by themselves, and the others.

    Args:
        unread: what looks like a scan in the folder and is not used.
        channels: names of the model's channels.
        rules: which series of DICOM studies are the channels.
    """
    found: dict[Path, PassedOver] = {}
    root = absolute(unread.folder)
    for entry in unread.readable[:_MOST_TRIED]:
        for path in _places(entry):
            try:
                cases, _ = find_scans(path, channels, None, rules)
            except (MedsegError, OSError):
                continue  # its scans lie deeper, or are none for this model, or the folder is closed
            found[entry] = PassedOver(unread.folder / path.relative_to(root), len(cases))
            break
    return tuple(found.values()), unread.without(found)


def _places(entry: Path) -> list[Path]:
    """Return an entry and, as long as there is nothing but one folder in it, the folders below."""
    places = [entry]
    while places[-1].is_dir() and len(places) < _DEEPEST:
        inside: list[Path] = []
        with suppress(OSError):  # folders of others are closed
            inside = [Path(item.path) for item in os.scandir(places[-1]) if not item.name.startswith(".")]
        if len(inside) != 1 or not inside[0].is_dir():
            break
        places.append(inside[0])
    return places
