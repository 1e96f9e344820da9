"""Find out which file of a case is a channel and which is the label, by their names: `flair`, `t1`, `seg`.

The role of a file is the part of its name that does not say the case.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.io.layouts.dataset import Naming, Why, united_label
from medseg.io.layouts.file_names.words import further_mask, names_labels

Files = dict[str, dict[str, Path]]
"""The files of each case by their role."""

Further = dict[tuple[str, str], list[Path]]
"""(case, role) -> files of which the name says the same as of one in `Files`."""

_MOST_SHOWN = 12
_NUMBERED = re.compile(r"\d{4}")


@dataclass(frozen=True)
class Roles:
    """The roles of the files that are used.

    Attributes:
        channels: roles of the channels, in order.
        label: role of the label file.
    """

    channels: tuple[str, ...]
    label: str

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels in a plan: `channel_0` for `0000`, `image` for a file without a role."""
        return tuple(f"channel_{int(name)}" if _NUMBERED.fullmatch(name) else name or "image" for name in self.channels)


def settle_roles(files: Files, naming: Naming, folder: Path) -> Roles | None:
    """Return the roles of a data set: the label has a word such as seg or mask, channels are what most cases have.

    Args:
        files: {case: {role: file}}.
        naming: what the user says about which files are meant.
        folder: the data set, for messages.

    Returns:
        The roles; None where no role is shared by most of the cases, so that these are not cases at all.

    Raises:
        DataError: several roles or none may be the label, or a role that the user named does not occur.
    """
    counts = Counter(role for roles in files.values() for role in roles)
    common = {role for role, count in counts.items() if 2 * count > len(files)}
    if not common:
        return None
    chosen_roles = [*naming.images, *([naming.labels] if naming.labels is not None else [])]
    absent = [role for role in chosen_roles if role not in counts]
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
    """Return the cases that have every file, and {case: why it is left out}.

    Args:
        files: {case: {role: file}}.
        roles: the roles that a case needs.
    """
    cases, problems = [], {}
    for id, by_role in files.items():
        missing = [role or "image" for role in (*roles.channels, roles.label) if role not in by_role]
        masks = [role for role in by_role if role == roles.label or further_mask(role, roles.label)]
        label = by_role.get(roles.label)
        if len(masks) > 1:
            masks = sorted(masks, key=lambda role: (role != roles.label, role))
            united = united_label([by_role[role] for role in masks])
            if isinstance(united, str):
                problems[id] = united
                continue
            label = united
            missing = [role for role in missing if role != roles.label]
        if missing:
            present = ", ".join(sorted(by_role)) or "nothing"
            kind = "missing label" if missing == [roles.label] else "missing channel"
            if len(roles.channels) == 1 and roles.label not in missing:
                kind = "missing image"
            problems[id] = Why(f"there is no {' and no '.join(missing)}; there is {present}", kind)
        else:
            cases.append(Case(id, id, tuple(by_role[role] for role in roles.channels), label))
    return cases, problems


def unclear_cases(files: Files, further: Further, roles: Roles) -> dict[str, Why]:
    """Return {case: why} of the cases with two files for a role that is used; of others, any may be the one not used.

    Args:
        files: {case: {role: file}}.
        further: the files beyond the one of each case and role.
        roles: the roles that are used.
    """
    used = {*roles.channels, roles.label}
    return {
        case: two_files(role, [files[case][role], *paths]) for (case, role), paths in further.items() if role in used
    }


def two_files(what: str, paths: Sequence[Path]) -> Why:
    """Return why a case is left out of which several files claim to be the same.

    Args:
        what: the channel, or the role; empty for a file that is called as the case.
        paths: the files.
    """
    alike = len({path.name for path in paths}) < len(paths)
    names = " and ".join(str(path) if alike else path.name for path in paths)
    return Why(f"{names} claim to be the {what or 'image'} of this one case; keep one")


def left_aside(files: Files, roles: Roles) -> list[str]:
    """Return a sentence about files that are neither channel nor label; nothing where there are none.

    Args:
        files: {case: {role: file}}.
        roles: the roles that are used.
    """
    used = {*roles.channels, roles.label}
    counts = Counter(
        role
        for by_role in files.values()
        for role in by_role
        if role not in used and not further_mask(role, roles.label)  # `cases_of` names these
    )
    if not counts:
        return []
    return [f"not used: {shown_roles(counts)}; --images and --labels choose others than {', '.join(sorted(used))}"]


def shown_roles(counts: Mapping[str, int]) -> str:
    """Return the roles with how many cases have each, in words."""
    ordered = sorted(counts, key=lambda role: (-counts[role], role))
    some = ", ".join(f"{role or 'no name of their own'} ({counts[role]})" for role in ordered[:_MOST_SHOWN])
    return some + f" and {len(ordered) - _MOST_SHOWN} more" * (len(ordered) > _MOST_SHOWN)


def _label_role(common: set[str], counts: Mapping[str, int], folder: Path) -> str:
    """Return the one role with a word for labels among those that most cases have, else among those that any has.

    Raises:
        DataError: there are several, or none.
    """
    # where fewer than half of the cases are annotated, a label that only they have
    named = {role for role in common if names_labels(role)}
    candidates = sorted(role for role in named if not any(further_mask(role, other) for other in named)) or sorted(
        role
        for role in counts
        if names_labels(role) and not any(other != role and further_mask(role, other) for other in counts)
    )
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise DataError(
            f"In {folder}, each of {', '.join(candidates)} may be the label.",
            f"Choose one: --labels {candidates[0]}",
        )
    raise DataError(
        f"In {folder}, no file name contains a word for labels (seg, mask, label, gt, manual, annotation); the cases "
        f"have {shown_roles({role: counts[role] for role in common})}.",
        "Name it: --labels NAME.",
    )
