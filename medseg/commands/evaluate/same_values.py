"""Keep names and values together where several files declare the structures: predictions, others, and references.

Each of them may give a structure another value. Scores of one structure against another would look like bad answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.commands.evaluate.options import EvaluateOptions
from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.labels import Labels
from medseg.core.wording import first_few
from medseg.datasets.data_options import DataOptions
from medseg.datasets.option_values import reading_from_options
from medseg.delivery.answers.labels_file import NAME, Answers, read_labels_file
from medseg.delivery.answers.prediction_ledger import LEDGER_NAME
from medseg.evaluation.label_files import Pair
from medseg.io.images import AS_STORED
from medseg.io.values.segments import named_labels
from medseg.plans.sections.reading import Reading

_OF_VALUES = ("threshold", "map", "colours")
"""Keys of a reading that say what values mean: an option on one of them replaces what all of them said before."""


def reading_of_references(answers: Answers | None, options: EvaluateOptions) -> tuple[Reading, list[str]]:
    """Return how references are read, and a note where the options replace what `labels.json` says of their values.

    Args:
        answers: what `labels.json` beside the predictions says; None for none.
        options: what the user says; it replaces the keys that it is about, and leaves the others.

    Raises:
        PlanError: an option is not valid.
    """
    base = answers.reading if answers else AS_STORED
    if options.reading is not None:
        return options.reading, []
    if options.resample_labels:
        base = base.model_copy(update={"resample_labels": True})
    said = reading_from_options(DataOptions(threshold=options.threshold, map=options.map))
    if said == AS_STORED:
        return base, []
    shown = [
        f"{key} {_key_shown(getattr(base, key))}" for key in _OF_VALUES if getattr(base, key) != getattr(AS_STORED, key)
    ]
    note = f"--map or --threshold is used in place of what {NAME} says of the values in references: {', '.join(shown)}"
    return base.model_copy(update={key: getattr(said, key) for key in _OF_VALUES}), [note] * bool(shown)


def _key_shown(value: object) -> str:
    """Return a value of a reading for messages.

    >>> _key_shown({1: 2, "3-9": 0}), _key_shown(0.5)
    ('1=2 3-9=0', '0.5')
    """
    return " ".join(f"{old}={new}" for old, new in value.items()) if isinstance(value, dict) else str(value)


def check_references(
    pairs: Sequence[Pair], answers: Answers, declared: Labels | None, folder: Path, options: EvaluateOptions
) -> tuple[str, ...]:
    """Refuse references whose declaration gives a structure of the answers other values, unless options say of values.

    Names are the same whatever their capitals, and with blanks, `-` or `_`. References that name their structures in
    the files are read by these names, whatever their values are.

    Args:
        pairs: the files to be scored.
        answers: what `labels.json` beside the predictions says.
        declared: the structures that the data set of the references declares.
        folder: of the references; as answers of `predict` they have a `labels.json`, too.
        options: may say what values mean.

    Returns:
        A note where the two sides have no name in common, but values.

    Raises:
        DataError: a structure has other values.
    """
    if declared is None and (folder / LEDGER_NAME).is_file():
        other = read_labels_file(folder)
        declared = None if other is None else other.labels
    reading = options.reading or answers.reading
    said = (
        options.map or options.prediction_map or options.threshold is not None or options.segments or options.overlaps
    )
    if declared is None or said or reading.threshold is not None or reading.colours or reading.segments:
        return ()
    ours, theirs = answers.labels.members, declared.members
    spelled = {_spelling(name): name for name in ours}
    theirs = {spelled.get(_spelling(name), name): values for name, values in theirs.items()}
    common = [name for name in ours if name in theirs]
    differing = [name for name in common if {*ours[name]} != {_mapped(value, reading) for value in theirs[name]}]
    called = [] if common else _called_otherwise(ours, theirs, reading)
    if not (differing or called) or _named_files(pairs, [pair.reference for pair in pairs]):  # opens them: comes last
        return ()
    if called:
        return (f"the references in {folder} have other names for the values of the answers: {first_few(called)}",)
    shown = first_few([f"{name} is {_shown(theirs[name])} there and {_shown(ours[name])} here" for name in differing])
    kept = {str(source): value for source, value in reading.map.items()}
    moved = {str(theirs[name][0]): ours[name][0] for name in differing if len(theirs[name]) == len(ours[name]) == 1}
    value, more = ours[differing[0]][0], " --resample-labels" if reading.resample_labels else ""
    hints = [f"If labels.json is right about both: {_options(kept or {str(value): value})}{more}"]
    if len(moved) == len(differing) and not _others_in_the_way(ours, theirs):
        hints.insert(0, f"If both are right: {_options(kept | moved)}{more}")
    raise DataError(
        f"The references in {folder} give structures other values than {NAME} beside the predictions: {shown}.",
        "; ".join(hints),
    )


def _spelling(name: str) -> str:
    """Return a name without regard to capitals, and to what stands between its words.

    >>> _spelling("Left_Kidney") == _spelling("left kidney")
    True
    """
    return " ".join(re.split(r"[\s_-]+", name)).casefold()


def _called_otherwise(
    ours: Mapping[str, Sequence[int]], theirs: Mapping[str, Sequence[int]], reading: Reading
) -> list[str]:
    """Return phrases on the structures of the references that have another name here, by value."""
    names = {frozenset(values): name for name, values in ours.items()}
    pairs = [(names.get(frozenset(_mapped(value, reading) for value in theirs[name])), name) for name in theirs]
    return [f"{name} there is {own} here" for own, name in pairs if own is not None]


def with_values_of(
    pairs: Sequence[Pair], labels: Labels, other: Answers | None, folder: Path
) -> tuple[list[Pair], tuple[str, ...]]:
    """Return pairs whose predictions are read with the values that the structures have in the evaluation, and a note.

    Files that name their structures are read by these names and left as they are.

    Args:
        pairs: of the answers that are compared.
        labels: the structures of the evaluation.
        other: what `labels.json` beside these answers says.
        folder: of these answers, for messages.

    Raises:
        DataError: values cannot be changed one by one.
    """
    if other is None or any(pair.prediction_reading != Reading() for pair in pairs):
        return [*pairs], ()
    ours, theirs = labels.written_values, other.labels.written_values
    moved = {theirs[name]: ours[name] for name in ours if name in theirs and theirs[name] != ours[name]}
    in_the_way = _others_in_the_way(labels.members, other.labels.members)
    if not moved:
        note = f"values in {folder}: {first_few(in_the_way)}; if these are two structures, evaluate each folder alone"
        return [*pairs], (note,) * bool(in_the_way)
    if other.labels.background != labels.background and other.labels.background in ours.values():
        in_the_way.append("the background is a structure")
    shown = first_few([f"{name} ({theirs[name]})" for name in ours if theirs.get(name) in moved])
    if in_the_way or "sigmoid" in (labels.activation, other.labels.activation):
        why = first_few(in_the_way) or "regions overlap"
        raise DataError(
            f"{NAME} in {folder} gives structures other values than the predictions have: {shown}; they cannot be "
            f"changed one by one: {why}.",
            "Evaluate both alone, without --compare.",
        )
    named = _named_files(pairs, [pair.prediction for pair in pairs])
    reading = Reading(map=dict(moved.items()))
    changed = [pair if pair.prediction in named else replace(pair, prediction_reading=reading) for pair in pairs]
    return changed, (f"in {folder} structures have other values, and are matched by name: {shown}",)


def used_for_others(options: EvaluateOptions, path: Path, answers: Answers | None) -> list[str]:
    """Return a note on what options on the values in predictions mean for other answers; [] without such options.

    Args:
        options: of the command.
        path: file or folder of the other answers.
        answers: what `labels.json` beside them says; None where there is none.
    """
    names = [("--prediction-map", options.prediction_map), ("--prediction-threshold", options.prediction_threshold)]
    given = " and ".join(name for name, value in names if value)
    if not given:
        return []
    if answers is None:
        return [f"{given} also used for {path}, beside which there is no {NAME}"]
    return [f"{given} not used for {path}: {NAME} beside these answers says what their values mean"]


def _named_files(pairs: Sequence[Pair], files: Sequence[Path]) -> set[Path | None]:
    """Return those of the files of one side of pairs that name their structures."""
    cases = [Case(str(file), pair.case, (), label=file) for pair, file in zip(pairs, files, strict=True)]
    return {case.label for case in named_labels(cases, any(pair.reading.segments for pair in pairs) or None)}


def _others_in_the_way(ours: Mapping[str, Sequence[int]], theirs: Mapping[str, Sequence[int]]) -> list[str]:
    """Return which structures that only the other side has use values that mean another structure on this side.

    >>> _others_in_the_way({"liver": (2,)}, {"liver": (1,), "cyst": (2,)})
    ['2 is cyst there and liver here']
    """
    name_of = {value: name for name, values in ours.items() for value in values}
    return [
        f"{value} is {name} there and {name_of[value]} here"
        for name, values in theirs.items()
        for value in values
        if name not in ours and value in name_of
    ]


def _mapped(value: int, reading: Reading) -> int:
    """Return the value that a value in label files stands for."""
    for source, target in reading.map.items():
        low, high = Reading.bounds(source)
        if low <= value <= high:
            return target
    return value


def _shown(values: Sequence[int]) -> str:
    """Return values for messages.

    >>> _shown((1,)), _shown((1, 2))
    ('1', '1+2')
    """
    return "+".join(map(str, values))


def _options(table: dict[str, int]) -> str:
    """Return the options that say a table of values.

    >>> _options({"1": 2, "2": 1})
    '--map 1=2 --map 2=1'
    """
    return " ".join(f"--map {source}={value}" for source, value in table.items())
