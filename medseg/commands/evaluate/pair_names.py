"""Give structures that label files name the same values in prediction and reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from medseg.core.case import Case
from medseg.core.labels import Labels
from medseg.datasets.data_options import DataOptions
from medseg.datasets.segment_names import segments_from_options
from medseg.evaluation.label_files import Pair
from medseg.io.values.segments import named_labels


class Named(NamedTuple):
    """Pairs of label files, with the structures that they name.

    Attributes:
        pairs: the pairs; where files have names, the reading of each says which value a name has.
        labels: the structures; None where nothing declares or names them.
        notes: what is assumed of files that have no names, and names that are left out.
    """

    pairs: list[Pair]
    labels: Labels | None
    notes: tuple[str, ...] = ()


def name_segments(
    pairs: Sequence[Pair], declared: Labels | None, segments: Sequence[str], overlaps: str | None
) -> Named:
    """Add a table of names and values to each pair whose files name their structures.

    Args:
        pairs: the pairs to be scored.
        declared: the structures, where something declares them; else every name becomes a structure.
        segments: which name is which structure, as in `DataOptions`.
        overlaps: what to do where structures overlap, as in `DataOptions`.

    Returns:
        The pairs, and the structures; both as they were given where no file has names.

    Raises:
        MedsegError: the options do not fit what the files hold.
    """
    # each file under an id of its own: one side may have names, and the other none
    sides = [Case(str(file), pair.case, pair.about.channels, label=file) for pair in pairs for file in _files(pair)]
    named = {case.label for case in named_labels(sides, bool(segments or overlaps) or None)}
    references = [pair for pair in pairs if pair.reference in named]
    predictions = [pair for pair in pairs if pair.prediction in named]
    settled = any(pair.reading.segments for pair in pairs) and not segments
    unnamed = [pair for pair in pairs if named.isdisjoint(_files(pair))]
    mixed = declared is None and unnamed and not (segments or overlaps)
    if settled or mixed or not (references or predictions or segments):
        return Named([*pairs], declared)
    files = [(pair, pair.reference) for pair in references] + [(pair, pair.prediction) for pair in predictions]
    cases = [Case(pair.case, pair.case, pair.about.channels, label=file) for pair, file in files]
    names = segments_from_options(cases, DataOptions(segments=segments, overlaps=overlaps), declared, pairs[0].reading)
    if names is None:
        return Named([*pairs], declared)
    update = {"segments": dict(names.table), "overlaps": names.overlaps}
    named_pairs = [replace(pair, reading=pair.reading.model_copy(update=update)) for pair in pairs]
    values = names.labels.written_values if declared is None and not segments else {}
    bare = [
        ("references", len(references) < len(pairs) and not any(pair.reading.map for pair in pairs)),
        ("predictions", len(predictions) < len(pairs) and not any(pair.prediction_reading.map for pair in pairs)),
    ]
    notes = [_assumed_values(side, values) for side, assumed in bare if assumed and len(values) > 1]
    # without a declaration every name is a structure, which the scores show
    return Named(named_pairs, names.labels, (*(names.notes if declared is not None else ()), *notes))


def _assumed_values(side: str, values: Mapping[str, int]) -> str:
    """Return a note on what values without names are taken for.

    >>> _assumed_values("predictions", {"cup": 1, "disc": 2}).partition(";")[0]
    'nothing says what the values in the predictions mean: 1 is taken for cup, 2 for disc, in alphabetical order'
    """
    (first, value), *others = values.items()
    taken = ", ".join([f"{value} is taken for {first}", *(f"{value} for {name}" for name, value in others)])
    return (
        f"nothing says what the values in the {side} mean: {taken}, in alphabetical order; if they mean something "
        "else, name every structure in the order of its value: --segments NAME --segments NAME"
    )


def _files(pair: Pair) -> tuple[Path, Path]:
    return pair.reference, pair.prediction
