"""Turn file names into cases and channels: `case_0000.nii.gz` is channel 0 of `case`; `case.png` holds all channels."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.wording import counted
from medseg.io.formats.table import is_image, split_suffix
from medseg.io.images import AS_STORED, read_stack
from medseg.io.layouts.dataset import Why
from medseg.io.load import first_look
from medseg.plans.sections.reading import Reading

Group = dict[int | None, Path]
"""The files of a case by channel number; None for a file without one."""

_CHANNEL = re.compile(r"(.+)_(\d{4})", re.DOTALL)


def images_by_stem(folder: Path, suffix: str | None = None) -> tuple[dict[str, Path], dict[str, str]]:
    """Return the images of a folder by their names without suffix.

    Args:
        folder: where to look; it need not exist.
        suffix: only files with this suffix; None for all formats. Links that lead nowhere are returned as well, so that
            their case is named when it is read, and not lost without a word.

    Returns:
        {name: file}, and {name: why it is left out} of the names that two files share. Of the files of an OME image the
        first one is returned, with which the others are read.
    """
    stems: dict[str, list[Path]] = {}
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.name.startswith("._"):
                continue  # macOS keeps attributes of a file in another one of this name, as in the archive of the pets
            if is_image(path) and suffix in (None, split_suffix(path)[1]) and not path.is_dir():
                stems.setdefault(split_suffix(path)[0], []).append(path)
        _drop_parts_of_sets(stems)
    problems = {
        stem: f"{' and '.join(path.name for path in paths)} in {folder} would be the same case; keep one of them"
        for stem, paths in stems.items()
        if len(paths) > 1
    }
    return {stem: paths[0] for stem, paths in stems.items() if len(paths) == 1}, problems


def _drop_parts_of_sets(stems: dict[str, list[Path]]) -> None:
    """Take out the files that are read with another one here, as planes of its OME image."""
    named = {stem: paths[0] for stem, paths in stems.items() if len(paths) == 1 and ".ome." in paths[0].name.lower()}
    if len(named) < 2:
        return
    from medseg.io.formats.tiff import read_with

    for stem, path in named.items():
        first = read_with(path)
        if first is not None and first in named.values():
            del stems[stem]


def channel_names(cases: Sequence[Case], single: str, reading: Reading = AS_STORED) -> tuple[str, ...]:
    """Return names for the channels that are stored together in one file.

    Args:
        cases: cases of one file each; the first that can be read decides.
        single: the name where there is one channel.
        reading: how the files are read.

    Returns:
        red, green and blue for colours; else channel_0, channel_1, ...; else `single`.
    """
    for case in cases:
        try:
            image = first_look(case, reading)
        except DataError:
            continue  # it is named when the fingerprint is taken
        count = image.array.shape[0]
        if count == 3 and read_stack(case.channels[0]).array.shape[1] == 3:  # components, which are colours
            return ("red", "green", "blue")
        return tuple(f"channel_{number}" for number in range(count)) if count > 1 else (single,)
    return (single,)


def channel_numbers(cases: Sequence[Case]) -> tuple[str, ...]:
    """Return channel_0, channel_1, ... for cases of several files; `image` for cases of one."""
    count = max((len(case.channels) for case in cases), default=1)
    return tuple(f"channel_{number}" for number in range(count)) if count > 1 else ("image",)


def split_channel(stem: str) -> tuple[str, int | None]:
    """Split a name into case and channel number; None is the number where the name does not end in four digits.

    Returns:
        The case, and the number of its channel or None.

    >>> split_channel("case_0001"), split_channel("case_01")
    (('case', 1), ('case_01', None))
    """
    match = _CHANNEL.fullmatch(stem)
    return (match[1], int(match[2])) if match else (stem, None)


def group_by_case(files: Mapping[str, Path], known: Collection[str] = ()) -> dict[str, Group]:
    """Group files by case.

    Args:
        files: {name without suffix: file}.
        known: names that are cases of their own, whatever they end in: those of the labels. Where such a name of a
            file ends in four digits, these are no channels in names of other files either, unless the name without
            them is known.

    Returns:
        {case: its files}.
    """
    groups: dict[str, Group] = {}
    digits_are_cases = any(stem in known and split_channel(stem)[1] is not None for stem in files)
    for stem, path in files.items():
        case, channel = split_channel(stem)
        if stem in known or (digits_are_cases and case not in known):
            case, channel = stem, None
        groups.setdefault(case, {})[channel] = path
    return groups


def channel_files(groups: Mapping[str, Group], channels: int) -> tuple[dict[str, tuple[Path, ...]], dict[str, str]]:
    """Return the files of each case in the order of the channels, and {case: why it is left out}.

    Where no case has more than a channel 0, each file holds all the channels in itself.

    Args:
        groups: {case: {channel number: file}}.
        channels: how many channels a case has.
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
            text = f"there is no {' and no '.join(missing)}; every case needs {counted(len(expected), 'channel')}"
            problems[case] = Why(text, "missing channel")
        elif extra:
            text = f"{' and '.join(extra)} is beyond what was expected: {counted(len(expected), 'channel')}"
            problems[case] = Why(text, "other channels")
        else:
            complete[case] = tuple(group[number] for number in expected)
    return complete, problems
