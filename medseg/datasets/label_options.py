"""What the options say about labels: structures, ignore value, activation, and what the values in files mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.core.errors import DataError, PlanError
from medseg.core.labels import Labels
from medseg.datasets.data_options import DataOptions, split_pair
from medseg.datasets.segment_names import settle_segments
from medseg.io.layouts.dataset import DataSet
from medseg.io.layouts.find import infer_labels
from medseg.io.values.colours import TABLES, name_colours, parse_colour, read_colour_table, survey_colours
from medseg.planning.fingerprint import Fingerprint
from medseg.plans.problems import validation_message
from medseg.plans.sections import Reading


def settle_labels(data: DataSet, values: Iterable[int], options: DataOptions) -> Labels:
    """The structures: as declared, else one for every value that occurs.

    Raises:
        DataError: the values cannot be taken for structures.
    """
    if data.labels is not None:
        return data.labels
    return adjust(infer_labels(values, data.ignore), None, options.activation)


def annotated_from_values(data: DataSet, fingerprint: Fingerprint, labels: Labels) -> DataSet:
    """The data set with the structures that a label file holds as those annotated in its case.

    What a table says was annotated stands. Label files that hold none are left to `planning.check_labels.unannotated`.
    """
    present = fingerprint.structures_of(labels)
    names = {*labels.names}
    cases = []
    for case in data.cases:
        held = present.get(case.id, names)
        if case.annotated is None and held != names:
            case = replace(case, annotated=tuple(name for name in labels.names if name in held))
        cases.append(case)
    return replace(data, cases=cases)


def read_reading(options: DataOptions, colours: dict[str, int] | None = None) -> Reading:
    """How files are read, as the options say.

    Raises:
        PlanError: a value or range is not valid.
    """
    try:
        return Reading(
            frame=options.frame,
            threshold=options.threshold,
            map=_value_map(options.map),
            colours=colours or {},
            resample_labels=options.resample_labels,
            resample_tilt=options.resample_tilt,
            allow_gaps=options.allow_gaps,
        )
    except ValueError as error:  # pydantic's ValidationError is a ValueError
        raise PlanError(
            validation_message(error), "Examples: --map 3=0, --map 128-255=1, --threshold 0.5, --frame 0"
        ) from None


def adjust(labels: Labels, ignore: int | None, activation: str | None) -> Labels:
    """The labels with another ignore value or activation, where one is given.

    Raises:
        PlanError: they do not go together.
    """
    values = labels.model_dump()
    if ignore is not None:
        values["ignore"] = ignore
    if activation is not None:
        values["activation"] = activation
    try:
        return Labels.model_validate(values)
    except ValueError as error:
        asked = {"--ignore": ignore, "--activation": activation}
        shown = " ".join(f"{option} {value}" for option, value in asked.items() if value is not None)
        raise PlanError(f"{shown} does not go with the structures: {validation_message(error)}") from None


def settle_reading(found: DataSet, options: DataOptions) -> DataSet:
    """The data set with structures, ignore value and reading as the options, its colours and its layout say.

    Raises:
        MedsegError: what was said contradicts itself, or what the files show.
    """
    if options.activation not in (None, "softmax", "sigmoid"):
        raise PlanError(f"activation is {options.activation!r}; valid are softmax and sigmoid.")
    declared = declared_structures(options.structures) if options.structures else found.labels
    ignore = options.ignore
    if ignore is None and found.ignore not in (declared.values if declared else ()):
        ignore = found.ignore
    names, notes = _colour_names(found, options, declared)
    colours: dict[str, int] = {}
    if names:
        declared, colours = name_colours(names, declared, ignore)
    reading = read_reading(options, colours)
    segments = settle_segments(found.cases, options, declared, reading)
    if segments is not None:
        declared, notes = segments.labels, [*notes, *segments.notes]
        reading = reading.model_copy(update={"segments": dict(segments.table), "overlaps": segments.overlaps})
    if declared is not None:
        declared = adjust(declared, declared.ignore if ignore is None else ignore, options.activation)
    return replace(
        found,
        labels=declared,
        ignore=ignore,
        ignore_assumed=found.ignore_assumed and options.ignore is None and ignore is not None and not colours,
        reading=reading,
        problems=[*found.problems, *notes],
    )


def _colour_names(found: DataSet, options: DataOptions, declared: Labels | None) -> tuple[dict[str, str], list[str]]:
    """{structure: colour} as given, as a table in the folder has them, or as the masks themselves show; and a note."""
    if options.colours:
        return _given_colours(options.colours), []
    if options.threshold is not None or options.map:
        return {}, []
    seen = survey_colours(case.label for case in found.cases if case.label is not None)
    if not seen:
        return {}, []
    table = next((found.folder / name for name in TABLES if (found.folder / name).is_file()), None)
    if table is not None:
        return read_colour_table(table), [f"the masks are in colours, named by {table.name}"]
    if declared is not None:
        raise DataError(
            f"The masks are in colours ({', '.join([*seen.values()][:6])}), and which of them is which of the "
            f"structures {', '.join(declared.names)} is not known.",
            f"Name them: --colours '{declared.names[0]}={next(iter(seen.values()))}', repeated, or a colours.csv with "
            "the columns name and colour in the data set's folder.",
        )
    return seen, ["the masks are in colours, each taken for a structure; --colours 'liver=#ff0000' names them"]


def _given_colours(given: Sequence[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for text in given:
        if "=" not in text:
            names |= read_colour_table(Path(text))
            continue
        name, value = split_pair(text, "--colours 'liver=#ff0000'")
        colour = parse_colour(value)
        if colour is None or colour in names.values():
            what = "is the colour of two structures" if colour else "is no colour"
            raise PlanError(f"{value!r} {what}.", "Expected #rrggbb or r,g,b: --colours 'liver=#ff0000'")
        names[name] = colour
    return names


def declared_structures(structures: Sequence[str]) -> Labels:
    """`name=value` strings to labels.

    Raises:
        PlanError: not of this form, a name or value twice, or a value that is not whole.
    """
    pairs = [split_pair(text, "--structures liver=1") for text in structures]
    wrong = [f"{name}={value}" for name, value in pairs if not re.fullmatch(r"-?[0-9]+", value)]
    if wrong or len({name for name, _ in pairs}) < len(pairs):
        raise PlanError(
            f"structures are {', '.join(structures)}; expected NAME=VALUE with whole values, each name once.",
            "Example: --structures liver=1 --structures spleen=3",
        )
    try:
        return Labels(structures={name: int(value) for name, value in pairs})
    except ValueError as error:  # pydantic's ValidationError is a ValueError
        raise PlanError(f"structures are {', '.join(structures)}: {validation_message(error)}") from None


def _value_map(given: Sequence[str]) -> dict[int | str, int]:
    table: dict[int | str, int] = {}
    for text in given:
        source, target = split_pair(text, "--map 3=0")
        if not re.fullmatch(r"-?\d+(--?\d+|-\d+)?", source) or not re.fullmatch(r"-?\d+", target):
            raise PlanError(
                f"--map {text} is not valid; expected a whole value, or a range of them, and the value meant.",
                "Examples: --map 3=0, --map 128-255=1",
            )
        key: int | str = int(source) if re.fullmatch(r"-?\d+", source) else source
        if key in table:
            raise PlanError(f"--map says twice what {source} means.")
        table[key] = int(target)
    return table
