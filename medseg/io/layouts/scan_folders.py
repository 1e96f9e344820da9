"""Find scans to segment in a folder per case or in BIDS: files are known by the names of the model's channels."""

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
    """Find the files of each case in a BIDS folder or a folder of case folders.

    Args:
        folder: where to look.
        channels: names of the model's channels, in order.

    Returns:
        {case: files in the order of the channels}, and {case: why it is left out}.
    """
    roles = scans_of_bids(folder)
    if roles:
        return scans_by_role(roles, channels)
    roles, problems = files_of_folders(folder)
    files, incomplete = scans_by_role(roles, channels)
    return files, problems | incomplete


def scans_by_role(roles: RoleFiles, channels: Sequence[str]) -> tuple[Files, dict[str, str]]:
    """Choose the files of each case that are named after the model's channels, or its only file that is not a label.

    Upper and lower case do not matter, and `channel_0` is also called `0000`.

    Args:
        roles: {case: {role: file}}.
        channels: names of the model's channels, in order.

    Returns:
        {case: files in the order of the channels}, and {case: why it is left out}.
    """
    files: Files = {}
    problems: dict[str, str] = {}
    for case, by_role in roles.items():
        by_lower = {role.lower(): path for role, path in by_role.items()}
        paths = [by_lower.get(channel.lower(), by_lower.get(_numbered(channel))) for channel in channels]
        missing = [channel for channel, path in zip(channels, paths, strict=True) if path is None]
        scans = [path for role, path in by_role.items() if not names_labels(role)]
        if not missing:
            files[case] = tuple(path for path in paths if path is not None)
        elif len(scans) == 1 and len(missing) == len(channels):
            files[case] = (scans[0],)
        else:
            problems[case] = f"there is no {' and no '.join(missing)}; there is {', '.join(sorted(by_role))}"
    return files, problems


def _numbered(channel: str) -> str:
    """Return `0000` for `channel_0`."""
    number = channel.removeprefix("channel_")
    return f"{int(number):04d}" if number.isdecimal() else channel
