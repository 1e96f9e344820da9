"""What a prediction tells beside its answers: of the model, how it was applied, and which series were chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.commands.predict.judged import judged_notes
from medseg.commands.predict.options import PredictOptions
from medseg.core.case import Case
from medseg.delivery.answers.answer import Forms
from medseg.inference.predictor import Predictor
from medseg.io.formats.table import answer_suffix
from medseg.io.layouts.studies import chosen_series
from medseg.plans.sections.data import Data

_MOST_STUDIES_NAMED = 20


def run_notes(
    predictors: Sequence[Predictor], options: PredictOptions, cases: Sequence[Case], forms: Forms
) -> list[str]:
    """Return notes on the model, on how it was applied, and on the scans that were chosen.

    Args:
        predictors: the model, once per device.
        options: how it was applied.
        cases: the scans.
        forms: in which forms answers were written.
    """
    model = predictors[0].model
    return [
        *judged_notes(model, options),
        *model.notes,
        *_unknown_scans(model.plan.data),
        *_chosen_series(cases),
        *forms.writer.notes,
        *_no_palette(cases, forms),
        *(note for predictor in predictors for note in predictor.notes),
    ]


def _unknown_scans(data: Data) -> list[str]:
    """Return a note on checks of scans that are impossible, as the model has no record of its training scans."""
    if data.scans is None:
        return [
            "the model does not say which spacings, sizes and intensities its training scans had: scans are compared "
            "with the medians of spacing and size alone"
        ]
    if not data.scans.channels:
        return ["the model does not say which intensities its training scans had: scans are not compared by them"]
    return []


def _no_palette(cases: Sequence[Case], forms: Forms) -> list[str]:
    """Return a note where a palette was asked for, and no answer has the format that holds one."""
    own = {answer_suffix(case.channels[0]) for case in cases} if forms.format is None else {forms.format.suffix}
    if not forms.pictures.palette or any(forms.pictures.has_palette(Path(f"answer{suffix}")) for suffix in own):
        return []
    answers = " and ".join(sorted(own))
    return [f"--palette had no effect: only PNG files have one, and the answers are {answers}; --overlay draws them"]


def _chosen_series(cases: Sequence[Case]) -> list[str]:
    """Return sentences on the series of DICOM studies that were chosen: which, why, and what is odd about them."""
    chosen = [case for case in cases if chosen_series(case)]
    if not chosen:
        return []
    from medseg.io.dicom.listing.locate import series_at  # loaded only for DICOM

    notes = []
    for case in chosen[:_MOST_STUDIES_NAMED]:
        series = [series_at(path) for path in case.channels]
        notes.append(f"{case.id}: {' and '.join(taken.title for taken in series)}; {chosen_series(case)}")
        notes += [f"{case.id}: {taken.title}: {remark}" for taken in series for remark in taken.notes]
    more = len(chosen) - _MOST_STUDIES_NAMED
    return notes + ([f"and {more} more studies, see manifest.json"] if more > 0 else [])
