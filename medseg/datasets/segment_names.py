"""Apply the options on labels that name their structures: which names are which structure, and what overlaps mean.

Such labels are RTSTRUCT, DICOM SEG, masks for each structure, and `.seg.nrrd`.

The result is one table for all cases, and is kept in the plan as `data.reading.segments` and `overlaps`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medseg.core.case import Case
from medseg.core.errors import DataError, PlanError
from medseg.core.labels import Labels
from medseg.core.wording import first_few
from medseg.datasets.data_options import DataOptions, split_pair
from medseg.io.layouts.file_names.words import words
from medseg.io.values.named_masks import structure_names
from medseg.io.values.overlay import set_key
from medseg.io.values.segments import named_labels, survey_names, survey_overlaps
from medseg.plans.sections.reading import Overlaps, Reading

_OVERLAPS = ("refuse", "later", "regions")
_MOST_NAMES = 200
"""More names are rarely structures: they differ from case to case, as free text does."""
_MOST_SETS = 200
"""More sets of structures that overlap are rarely meant; each needs a label value."""
_MOST_NAMED = 12


@dataclass(frozen=True)
class Segments:
    """How labels that name their structures are read.

    Attributes:
        table: name, or pattern of names -> value.
        overlaps: what overlaps mean, as in `Reading`.
        labels: the structures.
        notes: sentences on what was assumed.
    """

    table: Mapping[str, int]
    overlaps: Overlaps
    labels: Labels
    notes: tuple[str, ...] = ()


def segments_from_options(
    cases: Sequence[Case], options: DataOptions, declared: Labels | None, reading: Reading
) -> Segments | None:
    """Return how those labels of a data set are read that name their structures.

    Args:
        cases: the cases of the data set.
        options: the user's options.
        declared: the structures, if something declares them; segments are then found by their names.
        reading: how files are read otherwise.

    Returns:
        None if no label of the data set is read by names.

    Raises:
        MedsegError: an option does not fit, there are no structures, or some labels have names and others not.
    """
    if options.overlaps not in (None, *_OVERLAPS):
        raise PlanError(f"overlaps is {options.overlaps!r}; valid are {', '.join(_OVERLAPS)}.")
    patterns = _patterns_of(options.segments)
    by_value = bool(options.structures or options.map or options.threshold is not None)
    headers = True if patterns or options.overlaps else False if by_value else None
    named_cases = named_labels(cases, headers)
    if not named_cases:
        if patterns or options.overlaps:
            raise PlanError(
                "--segments and --overlaps are for labels that name their structures (RTSTRUCT, DICOM SEG, .seg.nrrd, "
                "folders of masks); no label of this data set is one.",
                "Leave them out; values of other label files are named by --structures.",
            )
        return None
    notes: tuple[str, ...] = ()
    if declared is None:
        _refuse_unnamed(cases, named_cases)
    if not patterns and (declared is None or len(declared.structures) == 1) and (objects := _objects(named_cases)):
        name = "foreground" if declared is None else declared.names[0]
        patterns, notes = {name: ["*"]}, (f"{objects}; --segments NAME=PATTERN tells structures apart",)
    if not patterns and declared is None:
        patterns, notes = _every_name(named_cases)
    elif not patterns and declared is not None:
        notes = _names_left_out(named_cases, declared)
    values = _structure_values(patterns, declared)
    table = {pattern: values[name] for name, of_name in patterns.items() for pattern in (name, *of_name)}
    table |= {name: value for name, value in values.items() if name not in table}
    regions = _declared_overlaps(declared) if declared is not None else {}
    if options.overlaps == "regions" and not regions:
        return _as_regions(named_cases, table, values, reading, notes)
    overlaps: Overlaps = regions or ("later" if options.overlaps == "later" else "refuse")
    return Segments(table, overlaps, declared or Labels(structures=dict(values)), notes)


def _patterns_of(texts: Sequence[str]) -> dict[str, list[str]]:
    """Return structure -> its patterns, from `NAME=PATTERN` texts; a name alone is its own pattern."""
    patterns: dict[str, list[str]] = {}
    for text in texts:
        name, pattern = split_pair(text, "--segments 'tumour=GTV*'") if "=" in text else (text.strip(), text.strip())
        patterns.setdefault(name, []).append(pattern)
    return patterns


def _objects(cases: Sequence[Case]) -> str | None:
    """Return a note if the masks of a set are objects of one structure; None if each is a structure.

    Objects have names that no other case has, or numbers that run up to another one in each case. Only the masks in a
    folder for each image may be objects: a folder that several images share is a structure.

    Args:
        cases: the cases whose labels name their structures.
    """
    labels = [case.label for case in cases if case.label is not None and case.label.is_dir()]
    names = [structure_names(label) for label in labels]
    total = sum(map(len, names))
    if len(labels) < len(cases) or len(labels) < 2 or total == len(labels):
        return None
    unshared = len({name for of_case in names for name in of_case}) == total
    if not unshared and not (all(map(_count_up, names)) and len({*map(len, names)}) > 1):
        return None
    most = max(map(len, names))
    return f"the {total} masks of {len(labels)} images, up to {most} of one image, are objects of one structure, united"


def _count_up(names: Sequence[str]) -> bool:
    """Return whether names end in numbers that follow each other, such as 0, 1, 2 or mask_1, mask_2."""
    numbers = sorted(int(words(name)[-1]) for name in names if words(name)[-1:] and words(name)[-1].isdecimal())
    return len(numbers) == len(names) and numbers == [*range(numbers[0], numbers[0] + len(numbers))]


def _every_name(cases: Sequence[Case]) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Return every name in the labels as a structure, and notes that say so.

    Names in headers of which no label has any voxel are left out: headers may be stale.

    Raises:
        DataError: there are no names, or too many.
    """
    files = [case.label for case in cases if case.label is not None]
    names = survey_names(files, drawn=True)
    if not names or len(names) > _MOST_NAMES:
        first = f" ({', '.join([*names][:_MOST_NAMED])}, ...)" if names else ""
        raise DataError(
            f"The labels hold {len(names)} different names{first}.",
            "Choose those that are meant: --segments 'tumour=GTV*', repeated.",
        )
    named = ", ".join(f"{name} ({count} of {len(cases)})" for name, count in [*names.items()][:_MOST_NAMED])
    more = f" and {len(names) - _MOST_NAMED} more" * (len(names) > _MOST_NAMED)
    note = f"every name in the labels is a structure: {named}{more}; --segments 'tumour=GTV*' chooses"
    known = {name.lower() for name in names}
    stale = [name for name in survey_names(files) if name.lower() not in known]
    left_out = f"the headers of the label files also name {first_few(stale)}, which no label file holds: left out"
    return {name: [name] for name in names}, (note, *[left_out] * bool(stale))


def _names_left_out(cases: Sequence[Case], declared: Labels) -> tuple[str, ...]:
    """Return a note on the names in labels that are none of the declared structures; nothing where all are."""
    known = {name.lower() for name in declared.structures}
    others = [name for name in survey_names([case.label for case in cases if case.label]) if name.lower() not in known]
    if not others:
        return ()
    return (
        f"the labels also name {first_few(others)}, which {'is none' if len(others) == 1 else 'are not'} among the "
        f"structures and left out; --segments '{declared.names[0]}=NAME' says what they are",
    )


def _refuse_unnamed(cases: Sequence[Case], named_cases: Sequence[Case]) -> None:
    """Refuse labels without names beside labels with names, where nothing says which value is which name.

    Raises:
        DataError: there are such labels.
    """
    named = {case.id for case in named_cases}
    others = [str(case.label) for case in cases if case.label is not None and case.id not in named]
    if others:
        raise DataError(
            f"{named_cases[0].label} names its structures, and {first_few(others)} "
            f"{'does' if len(others) == 1 else 'do'} not: which value is which name is not known.",
            "Declare the structures with the values that these files have: --structures liver=1, repeated; names are "
            "then looked up among them.",
        )


def _structure_values(patterns: Mapping[str, Sequence[str]], declared: Labels | None) -> dict[str, int]:
    """Return structure -> its value: as declared, else counted from 1."""
    if declared is None:
        return {name: value for value, name in enumerate(patterns, start=1)}
    unknown = [name for name in patterns if name not in declared.structures]
    if unknown:
        raise PlanError(f"--segments names {', '.join(unknown)}; the structures are {', '.join(declared.structures)}.")
    return declared.written_values


def _declared_overlaps(labels: Labels) -> dict[str, int]:
    """Return set of overlapping regions -> the value that these regions are declared to share."""
    written = labels.written_values
    table = {}
    for value in labels.values[1:]:
        overlapping = frozenset(written[name] for name, members in labels.members.items() if value in members)
        if overlapping != {value}:
            table[set_key(overlapping)] = value
    return table


def _as_regions(
    cases: Sequence[Case], table: Mapping[str, int], values: Mapping[str, int], reading: Reading, notes: tuple[str, ...]
) -> Segments:
    """Return how to read structures that overlap: as regions, each predicted by itself.

    Every set of structures that overlap somewhere gets a value of its own, which is a member of each of them. Predicted
    label maps are painted from the largest structure to the smallest, each with the value that it has most often.
    """
    voxels = survey_overlaps(cases, reading.model_copy(update={"segments": dict(table)}))  # set of values -> voxels
    sets = sorted(
        (members for members in voxels if len(members) > 1), key=lambda members: (len(members), sorted(members))
    )
    if len(sets) > _MOST_SETS:
        raise DataError(
            f"The structures overlap in {len(sets)} different ways; expected at most {_MOST_SETS}.",
            "Choose fewer of them with --segments.",
        )
    next_value = max(values.values()) + 1
    overlaps = {set_key(overlapping): next_value + index for index, overlapping in enumerate(sets)}
    value_of = {frozenset([value]): value for value in values.values()}
    value_of |= {overlapping: overlaps[set_key(overlapping)] for overlapping in sets}
    members = {
        name: [value, *sorted(other for overlap, other in value_of.items() if value in overlap and other != value)]
        for name, value in values.items()
    }
    size = {name: sum(count for overlap, count in voxels.items() if values[name] in overlap) for name in values}
    order = sorted(values, key=lambda name: (-size[name], values[name]))
    count_of = {value_of[overlap]: count for overlap, count in voxels.items()}
    # of equally frequent values the structure's own
    most_frequent = {
        name: max(members[name], key=lambda value: (count_of.get(value, 0), value == values[name])) for name in order
    }
    labels = Labels(
        structures={name: members[name] for name in order},
        activation="sigmoid",
        region_values=[most_frequent[name] for name in order],
    )
    return Segments(table, overlaps, labels, notes)
