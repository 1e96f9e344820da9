"""Names of structures in RTSTRUCT and DICOM SEG, for the pairs of an evaluation: one table for both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from medseg.core.case import Case
from medseg.core.labels import Labels
from medseg.datasets.data_options import DataOptions
from medseg.datasets.segment_names import settle_segments
from medseg.evaluation.label_files import Pair
from medseg.io.formats.table import is_dicom


def name_segments(
    pairs: Sequence[Pair], declared: Labels | None, segments: Sequence[str], overlaps: str | None
) -> tuple[list[Pair], Labels | None]:
    """Pairs that know which name is which value, and the structures; as they are where no file has names.

    Args:
        pairs: to be scored.
        declared: the structures, where something declares them; else every name is one.
        segments, overlaps: as in `DataOptions`.

    Raises:
        MedsegError: the options do not fit what the files hold.
    """
    references = [pair for pair in pairs if is_dicom(pair.reference)]
    predictions = [pair for pair in pairs if is_dicom(pair.prediction)]
    known = any(pair.reading.segments for pair in pairs) and not segments
    alone = declared is None and len(references) < len(pairs)  # values of the other files are not names
    if known or alone or not (references or predictions or segments):
        return [*pairs], declared
    files = [(pair, pair.reference) for pair in references] + [(pair, pair.prediction) for pair in predictions]
    cases = [Case(pair.case, pair.case, pair.about.channels, label=file) for pair, file in files]
    found = settle_segments(cases, DataOptions(segments=segments, overlaps=overlaps), declared, pairs[0].reading)
    if found is None:
        return [*pairs], declared
    named = {"segments": dict(found.table), "overlaps": found.overlaps}
    return [replace(pair, reading=pair.reading.model_copy(update=named)) for pair in pairs], found.labels
