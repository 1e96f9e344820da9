"""What the options say about RTSTRUCT and DICOM SEG labels: which names are which structure, what overlaps mean.

The answer is the same table for every case, and is kept in the plan as `data.reading.segments` and `overlaps`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medseg.core.case import Case
from medseg.core.errors import DataError, PlanError
from medseg.core.labels import Labels
from medseg.datasets.data_options import DataOptions, split_pair
from medseg.io.values.overlay import set_key
from medseg.io.values.segments import dicom_labels, survey_names, survey_overlaps
from medseg.plans.sections import Overlaps, Reading

_KINDS = ("refuse", "later", "regions")
_MOST_NAMES = 200
_MOST_SETS = 200
_MOST_SHOWN = 12


@dataclass(frozen=True)
class Segments:
    """How DICOM label objects are read.

    Attributes:
        table: name or pattern -> value.
        overlaps: as in `Reading`.
        labels: the structures.
        notes: what was taken without being told.
    """

    table: Mapping[str, int]
    overlaps: Overlaps
    labels: Labels
    notes: tuple[str, ...] = ()


def settle_segments(
    cases: Sequence[Case], options: DataOptions, declared: Labels | None, reading: Reading
) -> Segments | None:
    """How the DICOM labels of a set are read; None where it has none.

    Args:
        cases: of the set.
        options: what a user says.
        declared: the structures, where something declares them; their names are then looked up.
        reading: what is known of how files are read.

    Raises:
        MedsegError: an option does not fit, or no structure is found.
    """
    if options.overlaps not in (None, *_KINDS):
        raise PlanError(f"overlaps is {options.overlaps!r}; valid are {', '.join(_KINDS)}.")
    of_dicom = dicom_labels(cases)
    given = _given(options.segments)
    if not of_dicom:
        if given or options.overlaps:
            raise PlanError(
                "--segments and --overlaps are about RTSTRUCT and DICOM SEG; no label of this data set is one.",
                "Leave them out; values of other label files are named by --structures.",
            )
        return None
    notes: tuple[str, ...] = ()
    if not given and declared is None:
        given, notes = _every_name(of_dicom)
    values = _values(given, declared)
    table = {pattern: values[name] for name, patterns in given.items() for pattern in (name, *patterns)}
    table |= {name: value for name, value in values.items() if name not in table}
    regions = _of_regions(declared) if declared is not None else {}
    if options.overlaps == "regions" and not regions:
        return _as_regions(of_dicom, table, values, reading, notes)
    overlaps: Overlaps = regions or ("later" if options.overlaps == "later" else "refuse")
    return Segments(table, overlaps, declared or Labels(structures=dict(values)), notes)


def _given(texts: Sequence[str]) -> dict[str, list[str]]:
    """`NAME=PATTERN` texts as {structure: its patterns}; a name alone stands for itself."""
    found: dict[str, list[str]] = {}
    for text in texts:
        name, pattern = split_pair(text, "--segments 'tumour=GTV*'") if "=" in text else (text.strip(), text.strip())
        found.setdefault(name, []).append(pattern)
    return found


def _every_name(cases: Sequence[Case]) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    names = survey_names([case.label for case in cases if case.label is not None])
    if not names or len(names) > _MOST_NAMES:
        shown = ", ".join([*names][:_MOST_SHOWN])
        raise DataError(
            f"The RTSTRUCT and SEG labels hold {len(names)} different names{f' ({shown}, ...)' if names else ''}.",
            "Choose those that are meant: --segments 'tumour=GTV*', repeated.",
        )
    shown = ", ".join(f"{name} ({count} of {len(cases)})" for name, count in [*names.items()][:_MOST_SHOWN])
    more = f" and {len(names) - _MOST_SHOWN} more" * (len(names) > _MOST_SHOWN)
    note = f"every name in the RTSTRUCT and SEG labels is a structure: {shown}{more}; --segments 'tumour=GTV*' chooses"
    return {name: [name] for name in names}, (note,)


def _values(given: Mapping[str, Sequence[str]], declared: Labels | None) -> dict[str, int]:
    """The value of each structure: as declared, else counted from 1."""
    if declared is None:
        return {name: value for value, name in enumerate(given, start=1)}
    unknown = [name for name in given if name not in declared.structures]
    if unknown:
        raise PlanError(f"--segments names {', '.join(unknown)}; the structures are {', '.join(declared.structures)}.")
    return declared.written_values


def _of_regions(labels: Labels) -> dict[str, int]:
    """What each set of overlapping regions is written as, by the values that they are declared to share."""
    written = labels.written_values
    table = {}
    for value in labels.values[1:]:
        together = frozenset(written[name] for name, own in labels.members.items() if value in own)
        if together != {value}:
            table[set_key(together)] = value
    return table


def _as_regions(
    cases: Sequence[Case], table: Mapping[str, int], values: Mapping[str, int], reading: Reading, notes: tuple[str, ...]
) -> Segments:
    """Structures that overlap: each set of them that occurs has a value of its own, and each is decided by itself.

    In written label maps larger structures come first, each as the value that it has most often.
    """
    voxels = survey_overlaps(cases, reading.model_copy(update={"segments": dict(table)}))
    sets = sorted((together for together in voxels if len(together) > 1), key=lambda one: (len(one), sorted(one)))
    if len(sets) > _MOST_SETS:
        raise DataError(
            f"The structures overlap in {len(sets)} different ways; expected at most {_MOST_SETS}.",
            "Choose fewer of them with --segments.",
        )
    next_value = max(values.values()) + 1
    overlaps = {set_key(together): next_value + number for number, together in enumerate(sets)}
    value_of = {frozenset([value]): value for value in values.values()}
    value_of |= {together: overlaps[set_key(together)] for together in sets}
    members = {
        name: [value, *sorted(own for together, own in value_of.items() if value in together and own != value)]
        for name, value in values.items()
    }
    size = {name: sum(count for one, count in voxels.items() if values[name] in one) for name in values}
    order = sorted(values, key=lambda name: (-size[name], values[name]))
    count_of = {value_of[together]: count for together, count in voxels.items()}
    usual = {name: max(members[name], key=lambda own: (count_of.get(own, 0), own == values[name])) for name in order}
    labels = Labels(
        structures={name: members[name] for name in order},
        activation="sigmoid",
        region_values=[usual[name] for name in order],
    )
    return Segments(table, overlaps, labels, notes)
