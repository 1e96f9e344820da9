"""Which of a case's files is a channel and which is the label, where their names say it: `flair`, `t1`, `seg`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.io.layouts.dataset import Naming
from medseg.io.layouts.words import names_labels

Files = dict[str, dict[str, Path]]
"""The files of each case by their role."""

_MOST_SHOWN = 12
_NUMBERED = re.compile(r"\d{4}")


@dataclass(frozen=True)
class Roles:
    """The roles that count: channels in their order, and the label file's."""

    channels: tuple[str, ...]
    label: str

    @property
    def channel_names(self) -> tuple[str, ...]:
        """The channels as a plan calls them."""
        return tuple(f"channel_{int(name)}" if _NUMBERED.fullmatch(name) else name or "image" for name in self.channels)


def settle_roles(files: Files, naming: Naming, folder: Path) -> Roles | None:
    """The roles of a set: the label's is known by a word such as seg or mask, channels are what most cases have.

    Args:
        files: of each case, by role.
        naming: what a user says about them.
        folder: for messages.

    Returns:
        None where no role is shared by most of the cases, so that these are no cases at all.

    Raises:
        DataError: it is open which role is the label, or one that a user named does not occur.
    """
    counts = Counter(role for roles in files.values() for role in roles)
    common = {role for role, count in counts.items() if 2 * count > len(files)}
    if not common:
        return None
    wanted = [*naming.images, *([naming.labels] if naming.labels is not None else [])]
    absent = [role for role in wanted if role not in counts]
    if absent:
        raise DataError(
            f"The cases of {folder} have no file called {absent[0]!r}; they have {shown_roles(counts)}.",
            "Choose among these, or give patterns in which * is the case: --labels '*/*_seg.nii.gz'.",
        )
    label = naming.labels if naming.labels is not None else _label_role(common - {*naming.images}, counts, folder)
    channels = naming.images or tuple(sorted(role for role in common - {label} if not names_labels(role)))
    if not channels:
        raise DataError(
            f"The cases of {folder} have no image beside the label {label!r}; they have {shown_roles(counts)}.",
            "Name the images: --images NAME, repeated for several channels.",
        )
    return Roles(tuple(channels), label)


def cases_of(files: Files, roles: Roles) -> tuple[list[Case], dict[str, str]]:
    """The cases that have every file, and why the others are left out."""
    cases, problems = [], {}
    for id, own in files.items():
        missing = [role or "image" for role in (*roles.channels, roles.label) if role not in own]
        if missing:
            problems[id] = f"there is no {' and no '.join(missing)}; there is {', '.join(sorted(own)) or 'nothing'}"
        else:
            cases.append(Case(id, id, tuple(own[role] for role in roles.channels), own[roles.label]))
    return cases, problems


def left_aside(files: Files, roles: Roles) -> list[str]:
    """A sentence about files that are neither channel nor label."""
    used = {*roles.channels, roles.label}
    counts = Counter(role for own in files.values() for role in own if role not in used)
    if not counts:
        return []
    return [f"left aside: {shown_roles(counts)}; --images and --labels choose others than {', '.join(sorted(used))}"]


def shown_roles(counts: Mapping[str, int]) -> str:
    """Roles with how many cases have them, in words."""
    ordered = sorted(counts, key=lambda role: (-counts[role], role))
    some = ", ".join(f"{role or 'no name of their own'} ({counts[role]})" for role in ordered[:_MOST_SHOWN])
    return some + f" and {len(ordered) - _MOST_SHOWN} more" * (len(ordered) > _MOST_SHOWN)


def _label_role(common: set[str], counts: Mapping[str, int], folder: Path) -> str:
    candidates = sorted(role for role in common if names_labels(role))
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise DataError(
            f"In {folder}, each of {', '.join(candidates)} may be the label.",
            f"Choose one: --labels {candidates[0]}",
        )
    raise DataError(
        f"In {folder}, no file is called by a word for labels (seg, mask, label, gt, manual, annotation); the cases "
        f"have {shown_roles({role: counts[role] for role in common})}.",
        "Name it: --labels NAME.",
    )
