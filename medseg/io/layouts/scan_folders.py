"""Scans to segment that lie in a folder per case, or as in BIDS: their files are told by the model's channels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.io.layouts.bids import scans_of_bids
from medseg.io.layouts.case_folders import files_of_folders
from medseg.io.layouts.roles import Files as RoleFiles
from medseg.io.layouts.words import names_labels

Files = dict[str, tuple[Path, ...]]
"""The files of each case in the order of the model's channels; one file may hold them all."""


def scans_in_folders(folder: Path, channels: Sequence[str]) -> tuple[Files, dict[str, str]]:
    """The files of each case in a BIDS folder or a folder of case folders, and why cases are left out."""
    roles = scans_of_bids(folder)
    if roles:
        return scans_by_role(roles, channels)
    roles, problems = files_of_folders(folder)
    files, incomplete = scans_by_role(roles, channels)
    return files, problems | incomplete


def scans_by_role(roles: RoleFiles, channels: Sequence[str]) -> tuple[Files, dict[str, str]]:
    """Of each case the files called as the model's channels are, or its only file that is no label; and the rest, why.

    Letters may be large or small, and `channel_0` is also called `0000`.
    """
    files: Files = {}
    problems: dict[str, str] = {}
    for case, own in roles.items():
        known = {role.lower(): path for role, path in own.items()}
        found = [known.get(channel.lower(), known.get(_numbered(channel))) for channel in channels]
        missing = [channel for channel, path in zip(channels, found, strict=True) if path is None]
        scans = [path for role, path in own.items() if not names_labels(role)]
        if not missing:
            files[case] = tuple(path for path in found if path is not None)
        elif len(scans) == 1 and len(missing) == len(channels):
            files[case] = (scans[0],)
        else:
            problems[case] = f"there is no {' and no '.join(missing)}; there is {', '.join(sorted(own))}"
    return files, problems


def _numbered(channel: str) -> str:
    number = channel.removeprefix("channel_")
    return f"{int(number):04d}" if number.isdecimal() else channel
