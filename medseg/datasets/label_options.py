"""Apply the options on labels to a data set: structures, ignore value, activation, and what values in files mean."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from medseg.core.errors import DataError, PlanError
from medseg.core.labels import Labels
from medseg.datasets.data_options import DataOptions
from medseg.datasets.header_labels import labels_by_headers, naming_differences, naming_hint, survey_values
from medseg.datasets.option_values import parse_colours, parse_structures, reading_from_options
from medseg.datasets.segment_names import segments_from_options
from medseg.io.layouts.dataset import DataSet
from medseg.io.layouts.find import infer_labels
from medseg.io.several_files import united_files
from medseg.io.values.class_names import BACKGROUND, IGNORED, check_spellings
from medseg.io.values.colours import (
    BLACK,
    TABLES,
    meaning,
    name_colours,
    read_colour_table,
    survey_colours,
    survey_palettes,
)
from medseg.io.values.header_names import structures_in_headers
from medseg.planning.fingerprint import Fingerprint
from medseg.plans.problems import validation_message
from medseg.plans.sections.reading import Reading

_MOST_COLOURS_SHOWN = 6


def labels_of(data: DataSet, values: Iterable[int], options: DataOptions) -> Labels:
    """Return the structures of a data set: those that are declared, else one for every value that occurs.

    Args:
        data: the data set.
        values: all values that occur in its label files.
        options: the user's options.

    Raises:
        DataError: the values cannot be structures.
    """
    if data.labels is not None:
        return data.labels
    return _with_ignore_and_activation(
        infer_labels(values, data.ignore, not data.no_background), None, options.activation
    )


def notes_on_values(data: DataSet, labels: Labels, values: Collection[int]) -> list[str]:
    """Return notes on the structures that unnamed label values are taken for, and on a background that never occurs.

    Args:
        data: the data set.
        labels: its structures, as `labels_of` has them.
        values: all values that occur in its label files.
    """
    notes = []
    if labels.background is not None and labels.background not in values:
        notes.append(
            f"no label file holds {labels.background}, the background: if every pixel is of a structure, say so by "
            "--no-background; if one of the values is the background, such as 1, by --map 1=0"
        )
    if data.labels is not None or len(labels.names) == 1:
        return notes
    shown = ", ".join(str(value) for members in labels.members.values() for value in members)
    zero = ", and 0 for the background" if labels.background is not None else ""
    also = " (also 0, where it is a structure)" if zero else ""
    return [
        f"nothing names the values {shown}: each is taken for a structure{zero}; --structures NAME=VALUE,NAME=VALUE "
        f"names them{also}, --ignore VALUE is for what has no class",
        *notes,
    ]


def annotated_from_values(data: DataSet, fingerprint: Fingerprint, labels: Labels) -> DataSet:
    """Return a data set in which the structures that a label file holds count as those annotated in its case.

    What a table says was annotated stays. Label files that hold no structure are errors of the check
    (`checking.check_labels.unannotated`).

    Args:
        data: the data set.
        fingerprint: its fingerprint, which knows the values in each label file.
        labels: the structures.
    """
    present = fingerprint.structures_of(labels)
    names = {*labels.names}
    cases = []
    for case in data.cases:
        structures = present.get(case.id, names)
        if case.annotated is None and structures != names:
            case = replace(case, annotated=tuple(name for name in labels.names if name in structures))
        cases.append(case)
    return replace(data, cases=cases)


def _with_map_of_layout(reading: Reading, of_layout: Reading, declared: Labels | None) -> Reading:
    """Return the reading of the options, with the layout's value map for values that neither they nor structures name.

    Args:
        reading: as options say it.
        of_layout: as the layout says it; its map has whole values.
        declared: the structures, if something declares them.
    """
    settled = [Reading.bounds(source) for source in reading.map]
    values = declared.values[1:] if declared else ()
    remaining = {
        source: value
        for source, value in of_layout.map.items()
        if source not in values and not any(low <= int(source) <= high for low, high in settled)
    }
    return reading.model_copy(update={"map": {**remaining, **reading.map}}) if remaining else reading


def _without_background(declared: Labels) -> Labels:
    """Return the labels without a background.

    Raises:
        PlanError: the structures may overlap.
    """
    try:
        return Labels.model_validate({**declared.model_dump(), "background": None})
    except ValueError as error:
        raise PlanError(f"--no-background does not fit the structures: {validation_message(error)}") from None


def _with_ignore_and_activation(labels: Labels, ignore: int | None, activation: str | None) -> Labels:
    """Return labels with another ignore value or activation, if one is given.

    Raises:
        PlanError: they do not fit the structures.
    """
    values = labels.model_dump()
    if ignore is not None:
        values["ignore"] = ignore
    if activation is not None:
        values["activation"] = activation
    try:
        return Labels.model_validate(values)
    except ValueError as error:
        given = {"--ignore": ignore, "--activation": activation}
        named = " ".join(f"{option} {value}" for option, value in given.items() if value is not None)
        raise PlanError(f"{named} does not fit the structures: {validation_message(error)}") from None


def apply_label_options(data_set: DataSet, options: DataOptions) -> DataSet:
    """Return a data set with the structures, ignore value and reading that options, colours and layout give it.

    Args:
        data_set: the data set as its layout describes it.
        options: the user's options, which override the layout.

    Raises:
        MedsegError: the options contradict each other, or the files.
    """
    if options.activation not in (None, "softmax", "sigmoid"):
        raise PlanError(f"activation is {options.activation!r}; valid are softmax and sigmoid.")
    declared = parse_structures(options.structures) if options.structures else data_set.labels
    ignore = options.ignore
    if ignore is None and data_set.ignore not in (declared.values if declared else ()):
        ignore = data_set.ignore
    names, notes = _colour_names(data_set, options, declared)
    if not names and declared is None and options.threshold is None and not options.map:
        declared, notes = _palette_names(data_set, ignore)
    colours: dict[str, int] = {}
    if names:
        meanings = {name: meaning(name, declared) for name in names if name not in (*BACKGROUND, *IGNORED)}
        words = {"ignore": "what has no loss and no score", "background": "the background"}
        notes += [
            f"{name} ({names[name]}) is taken for {words[kind]}" for name, kind in meanings.items() if kind in words
        ]
        declared, colours = name_colours(names, declared, ignore)
    by_value = not names and not options.structures and options.threshold is None and not options.map
    no_background = options.no_background or (data_set.no_background and not options.structures)
    if no_background and declared is not None:
        declared = _without_background(declared)
    reading = _with_map_of_layout(reading_from_options(options, colours), data_set.reading, declared)
    segments = segments_from_options(data_set.cases, options, declared, reading)
    if by_value and segments is None:
        header_set = replace(data_set, no_background=no_background)
        declared, notes = _header_names(header_set, declared, notes, ignore, reading)
    if segments is not None:
        declared, notes = segments.labels, [*notes, *segments.notes]
        reading = reading.model_copy(update={"segments": dict(segments.table), "overlaps": segments.overlaps})
    if declared is not None:
        check_spellings(declared.names, f"the labels of {data_set.folder}")
        declared = _with_ignore_and_activation(
            declared, declared.ignore if ignore is None else ignore, options.activation
        )
    if options.boundaries:
        declared, boundaries = _with_boundaries(declared, ignore)
        reading = reading.model_copy(update={"boundaries": boundaries})
    return replace(
        data_set,
        labels=declared,
        ignore=ignore,
        ignore_assumed=data_set.ignore_assumed and options.ignore is None and ignore is not None and not colours,
        no_background=no_background,
        reading=reading,
        problems=[*data_set.problems, *notes],
    )


BOUNDARY = " boundary"
"""How the name of the boundary of a structure ends."""


def _with_boundaries(declared: Labels | None, ignore: int | None) -> tuple[Labels, dict[int, int]]:
    """Return the structures with a boundary for each, and {value of a structure: value of its boundary}.

    Raises:
        PlanError: the structures are not known, may overlap, or have no background of 0.
    """
    if declared is None or declared.activation != "softmax" or declared.background != 0:
        why = "are not declared" if declared is None else "may overlap, or 0 is no background"
        raise PlanError(
            f"--boundaries needs structures that exclude each other beside a background of 0; here they {why}.",
            "Name them: --structures nucleus=255, for example.",
        )
    used = {*declared.values, *([] if ignore is None else [ignore])}
    free = iter(value for value in range(1, len(used) + len(declared.structures) + 2) if value not in used)
    boundaries = {value: next(free) for value in declared.written_values.values()}
    names = {f"{name}{BOUNDARY}": boundaries[value] for name, value in declared.written_values.items()}
    # made anew, and no copy: a copy would keep what `Labels` has worked out from the structures
    values = {**declared.model_dump(), "structures": {**declared.structures, **names}}
    return Labels.model_validate(values), boundaries


def _colour_names(data_set: DataSet, options: DataOptions, declared: Labels | None) -> tuple[dict[str, str], list[str]]:
    """Return structure -> colour, and a note on where they come from; empty if the masks are not in colours.

    They come from the options, else from a table in the folder, else from the masks themselves.
    """
    if options.colours:
        return parse_colours(options.colours), []
    if options.threshold is not None or options.map:  # these are about values
        return {}, []
    colours = survey_colours(_label_files(data_set))
    if not colours:
        return {}, []
    table = _colour_table(data_set.folder)
    if table is not None:
        return read_colour_table(table), [f"the masks are in colours, named by {table.name}"]
    if declared is not None:
        raise DataError(
            f"The masks are in colours ({', '.join([*colours.values()][:6])}), and which of them is which of the "
            f"structures {', '.join(declared.names)} is not known.",
            f"Name them: --colours '{declared.names[0]}={next(iter(colours.values()))}', repeated, or a colours.csv "
            "with the columns name and colour in the data set's folder.",
        )
    options_shown = " ".join(f"--colours 'NAME={colour}'" for colour in [*colours.values()][:_MOST_COLOURS_SHOWN])
    more = ", and so on," if len(colours) > _MOST_COLOURS_SHOWN else ""
    return colours, [f"the masks are in colours, each taken for a structure; {options_shown}{more} names them"]


def _header_names(
    data_set: DataSet, declared: Labels | None, notes: list[str], ignore: int | None, reading: Reading
) -> tuple[Labels | None, list[str]]:
    """Return the structures, named by the headers of label files where nothing else declares any, and the notes.

    Args:
        data_set: the data set.
        declared: the structures, if something declares them.
        notes: those that there are already.
        ignore: the value of voxels without annotation, if there is one.
        reading: how label files are read.

    Raises:
        DataError: the headers contradict each other.
    """
    names = structures_in_headers(_label_files(data_set))
    if not names:
        return declared, notes
    if declared is not None:
        return declared, [*notes, *naming_differences(names.items(), declared)]
    counts = survey_values([case.label for case in data_set.cases if case.label is not None], reading)
    try:
        named, of_names = labels_by_headers(counts, names, ignore, not data_set.no_background)
    except DataError:
        return None, notes  # `plan` refuses such values, and `check` names them, as those of a set without names
    if named is not None and {*named.names} - {*names}:
        of_names = [*of_names[:-1], f"{of_names[-1]}; {naming_hint(named)} names all structures"]
    return named, [*notes, *of_names]


def _palette_names(data_set: DataSet, ignore: int | None) -> tuple[Labels | None, list[str]]:
    """Return the structures of masks whose palette has the colours of the table in the folder, and a note on them.

    Such masks hold values (the indices of the palette); the table, such as CVAT's labelmap.txt, names their colours.

    Args:
        data_set: the data set.
        ignore: the value of voxels without annotation, if there is one.

    Returns:
        None where there is no table, or no mask has a palette.

    Raises:
        DataError: the masks use a colour that the table does not name.
    """
    table = _colour_table(data_set.folder)
    values = survey_palettes(_label_files(data_set)) if table else {}
    if table is None or not values.keys() - {BLACK}:
        return None, []
    names = {colour: name for name, colour in read_colour_table(table).items()}
    unnamed = [colour for colour, value in values.items() if colour not in names and value not in (0, ignore)]
    if unnamed:
        raise DataError(
            f"The palettes of the masks have the colours {', '.join(unnamed[:6])}, which {table.name} does not name; "
            f"it names {', '.join(list(names)[:6])}.",
            f"Correct {table.name}, or take it away and name the values: --structures NAME=VALUE.",
        )
    structures = {
        names[colour]: value
        for colour, value in sorted(values.items(), key=lambda item: item[1])
        if value not in (0, ignore) and meaning(names[colour]) == "structure"
    }
    absent = [name for name in names.values() if name not in structures and meaning(name) == "structure"]
    notes = [f"the values of the masks are named by the colours of their palettes in {table.name}"]
    notes += [f"{table.name} also names {', '.join(absent)}, which no mask holds"] * bool(absent)
    ignored = next(
        (value for colour, value in values.items() if value and meaning(names.get(colour, "")) == "ignore"), ignore
    )
    return Labels(structures=dict(structures), ignore=ignored) if structures else None, notes


def _label_files(data_set: DataSet) -> list[Path]:
    """Return the label files of a data set; a label of several masks is all of them."""
    labels = [case.label for case in data_set.cases if case.label is not None]
    return [file for label in labels for file in united_files(label) or [label]]


def _colour_table(folder: Path) -> Path | None:
    """Return the file in a data set's folder that is taken for its table of colours; None where there is none."""
    return next((folder / name for name in TABLES if (folder / name).is_file()), None)
