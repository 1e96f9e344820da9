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
        notes: what is assumed of files that have no names.
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
    mixed = declared is None and len(references) < len(pairs)  # values in the other files have no names
    if settled or mixed or not (references or predictions or segments):
        return Named([*pairs], declared)
    files = [(pair, pair.reference) for pair in references] + [(pair, pair.prediction) for pair in predictions]
    cases = [Case(pair.case, pair.case, pair.about.channels, label=file) for pair, file in files]
    names = segments_from_options(cases, DataOptions(segments=segments, overlaps=overlaps), declared, pairs[0].reading)
    if names is None:
        return Named([*pairs], declared)
    update = {"segments": dict(names.table), "overlaps": names.overlaps}
    named_pairs = [replace(pair, reading=pair.reading.model_copy(update=update)) for pair in pairs]
    assumed = declared is None and not segments and len(predictions) < len(pairs)
    return Named(named_pairs, names.labels, _assumed_values(names.labels.written_values) if assumed else ())


def _assumed_values(values: Mapping[str, int]) -> tuple[str, ...]:
    """Return a note on what values without names are taken for; none where there is one structure alone.

    >>> _assumed_values({"background": 0, "cup": 1, "disc": 2})[0].partition(";")[0]
    'nothing says what the values in the predictions mean: 1 is taken for cup, 2 for disc, in the order of the names'
    """
    structures = [f"{value} for {name}" for name, value in values.items() if value]
    if len(structures) < 2:
        return ()
    first, *others = structures
    taken = ", ".join([first.replace(" for ", " is taken for ", 1), *others])
    return (
        f"nothing says what the values in the predictions mean: {taken}, in the order of the names; if that is "
        "another one: --segments NAME for each structure in the order of the values, or --prediction-map OLD=NEW",
    )


def _files(pair: Pair) -> tuple[Path, Path]:
    return pair.reference, pair.prediction
