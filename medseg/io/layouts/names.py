"""File names to cases and channels: `case_0000.nii.gz` is channel 0 of `case`, `case.png` holds all channels."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.wording import counted
from medseg.io.formats.table import is_image, split_suffix
from medseg.io.images import AS_STORED, read_stack
from medseg.io.load import first_look
from medseg.plans.sections import Reading

Group = dict[int | None, Path]
"""The files of a case by channel number; None for a file without one."""

_CHANNEL = re.compile(r"(.+)_(\d{4})", re.DOTALL)


def images_by_stem(folder: Path, suffix: str | None = None) -> tuple[dict[str, Path], dict[str, str]]:
    """The images of a folder by name without suffix, and the names left out, because two files share them."""
    stems: dict[str, list[Path]] = {}
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if is_image(path) and suffix in (None, split_suffix(path)[1]) and path.is_file():
                stems.setdefault(split_suffix(path)[0], []).append(path)
    problems = {
        stem: f"{' and '.join(path.name for path in paths)} in {folder} would give one answer; keep one of them"
        for stem, paths in stems.items()
        if len(paths) > 1
    }
    return {stem: paths[0] for stem, paths in stems.items() if len(paths) == 1}, problems


def channel_names(cases: Sequence[Case], single: str, reading: Reading = AS_STORED) -> tuple[str, ...]:
    """Names of the channels in the one file of a case, after the first that can be read; `single` for one channel."""
    for case in cases:
        try:
            image = first_look(case, reading)
        except DataError:
            continue  # named when the fingerprint is taken
        count = image.array.shape[0]
        if count == 3 and read_stack(case.channels[0]).array.shape[1] == 3:  # components, which are colours
            return ("red", "green", "blue")
        return tuple(f"channel_{number}" for number in range(count)) if count > 1 else (single,)
    return (single,)


def channel_numbers(cases: Sequence[Case]) -> tuple[str, ...]:
    """Names of the files of a case by their number; `image` for a single one."""
    count = max((len(case.channels) for case in cases), default=1)
    return tuple(f"channel_{number}" for number in range(count)) if count > 1 else ("image",)


def split_channel(stem: str) -> tuple[str, int | None]:
    """`case_0001` to (`case`, 1); (the name itself, None) where it does not end in four digits."""
    match = _CHANNEL.fullmatch(stem)
    return (match[1], int(match[2])) if match else (stem, None)


def group_by_case(files: Mapping[str, Path], known: Collection[str] = ()) -> dict[str, Group]:
    """Files by case; a name in `known` (the names of the labels) is a case of its own, whatever it ends in."""
    groups: dict[str, Group] = {}
    for stem, path in files.items():
        case, channel = (stem, None) if stem in known else split_channel(stem)
        groups.setdefault(case, {})[channel] = path
    return groups


def channel_files(groups: Mapping[str, Group], channels: int) -> tuple[dict[str, tuple[Path, ...]], dict[str, str]]:
    """The files of each case in the order of the channels, and the cases left out and why.

    Where no case has more than a channel 0, each file holds all the channels in itself.
    """
    numbers = {number for group in groups.values() for number in group if number is not None}
    expected = list(range(channels if numbers - {0} else 1))
    complete: dict[str, tuple[Path, ...]] = {}
    problems: dict[str, str] = {}
    for case, group in groups.items():
        missing = [f"{case}_{number:04d}" for number in expected if number not in group]
        extra = [path.name for number, path in group.items() if number not in expected]
        if list(group) == [None]:
            complete[case] = (group[None],)
        elif None in group:
            problems[case] = f"{' and '.join(path.name for path in group.values())} claim to be one case; keep one"
        elif missing:
            problems[case] = (
                f"there is no {' and no '.join(missing)}; every case needs {counted(len(expected), 'channel')}"
            )
        elif extra:
            problems[case] = f"{' and '.join(extra)} is beyond what was expected: {counted(len(expected), 'channel')}"
        else:
            complete[case] = tuple(group[number] for number in expected)
    return complete, problems
