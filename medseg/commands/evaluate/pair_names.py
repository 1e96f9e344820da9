"""Give structures that label files name the same values in prediction and reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medseg.core.case import Case
from medseg.core.labels import Labels
from medseg.datasets.data_options import DataOptions
from medseg.datasets.segment_names import segments_from_options
from medseg.evaluation.label_files import Pair
from medseg.io.values.segments import named_labels


def name_segments(
    pairs: Sequence[Pair], declared: Labels | None, segments: Sequence[str], overlaps: str | None
) -> tuple[list[Pair], Labels | None]:
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
    sides = [Case(pair.case, pair.case, pair.about.channels, label=file) for pair in pairs for file in _files(pair)]
    named = {case.label for case in named_labels(sides, bool(segments or overlaps) or None)}
    references = [pair for pair in pairs if pair.reference in named]
    predictions = [pair for pair in pairs if pair.prediction in named]
    settled = any(pair.reading.segments for pair in pairs) and not segments
    mixed = declared is None and len(references) < len(pairs)  # values in the other files have no names
    if settled or mixed or not (references or predictions or segments):
        return [*pairs], declared
    files = [(pair, pair.reference) for pair in references] + [(pair, pair.prediction) for pair in predictions]
    cases = [Case(pair.case, pair.case, pair.about.channels, label=file) for pair, file in files]
    names = segments_from_options(cases, DataOptions(segments=segments, overlaps=overlaps), declared, pairs[0].reading)
    if names is None:
        return [*pairs], declared
    update = {"segments": dict(names.table), "overlaps": names.overlaps}
    return [replace(pair, reading=pair.reading.model_copy(update=update)) for pair in pairs], names.labels


def _files(pair: Pair) -> tuple[Path, Path]:
    return pair.reference, pair.prediction
