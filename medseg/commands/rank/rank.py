"""Segment scans without labels, and say in which order to annotate them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from medseg.commands.predict.predict import load_predictors, predict_with
from medseg.commands.predict.result import PredictResult
from medseg.commands.rank.options import RankOptions
from medseg.confidence.assessment import Assessment
from medseg.confidence.ranking import Ranked, rank
from medseg.core.csv_text import csv_text
from medseg.core.errors import ModelError
from medseg.core.files import write_text
from medseg.core.progress import Callback, silent
from medseg.core.wording import counted, summary_line
from medseg.delivery.provenance.folder_files import write_readme
from medseg.delivery.provenance.manifest import Clock
from medseg.models.run_files import RANKING


@dataclass(frozen=True)
class RankResult:
    """Scans in the order in which they should be annotated.

    Attributes:
        order: the scans.
        prediction: their answers, which annotation can start from.
        file: the table.
    """

    order: tuple[Ranked, ...]
    prediction: PredictResult
    file: Path

    @property
    def not_judged(self) -> dict[str, str]:
        """{case: why}, of answers of which nothing is known: they come first, since their doubt may be the largest."""
        warnings, judged = self.prediction.warnings, self.prediction.quality
        return {case: " ".join(warnings.get(case, ())) for case in self.prediction.files if case not in judged}

    @property
    def failed(self) -> dict[str, str]:
        """{case: why}, of scans without an answer, and of those whose answers could not be judged."""
        return {**self.prediction.failed, **self.not_judged}

    def __repr__(self) -> str:
        first = [f"first {self.order[0].case}"] if self.order else []
        return summary_line(self, counted(len(self.order), "scan"), *first, failed=self.failed)


def rank_scans(
    source: str | Path,
    output: str | Path,
    model: str | Path | None = None,
    workspace: str | Path = ".",
    options: RankOptions | None = None,
    callback: Callback = silent,
) -> RankResult:
    """Segment scans, and write in which order to annotate them: doubtful answers first, and no two scans alike.

    The answers are what annotation starts from.

    Args:
        source: a folder of scans.
        output: folder for the answers and `ranking.csv`.
        model: as in `predict`; it needs a selection that can judge answers.
        workspace: folder with `plans/` and `runs/`.
        options: how scans are segmented.
        callback: receives progress; may raise `Cancelled`.

    Returns:
        The scans in the order in which to annotate them, their answers, and the table.

    Raises:
        ModelError: the model cannot judge its answers.
        MedsegError: there is nothing to segment.
    """
    clock, prediction = Clock(), replace((options or RankOptions()).prediction, page=False)
    predictors = load_predictors(model, workspace, prediction)
    selection = predictors[0].model.selection
    if selection is None or selection.quality is None:
        raise ModelError(
            "The model cannot say which of its answers are doubtful.",
            "`medseg crossval` trains folds, then `medseg select` learns it from their answers to cases that they did "
            "not see; name the model by its plan: --model PLAN",
        )
    result = predict_with(predictors, source, output, prediction, callback, clock)
    nothing_known = Assessment({}, ())  # memory was short, which a warning says: its doubt counts as the largest
    assessments = {case: result.quality.get(case, nothing_known) for case in result.files}
    order, folder = rank(assessments), Path(output)
    rows = [[number, *_cells(scan, result)] for number, scan in enumerate(order, start=1)]
    write_text(folder / RANKING, csv_text(["rank", "case", "predicted_dice", "novelty", "flags"], rows))
    write_readme(folder, "answers")
    return RankResult(tuple(order), result, folder / RANKING)


def _cells(scan: Ranked, result: PredictResult) -> list[str]:
    """Return the cells case, predicted Dice, novelty and flags; without a judgement, Dice and flags are empty."""
    judged = result.quality.get(scan.case)
    flags = [] if judged is None else dict.fromkeys(flag.kind for flag in judged.flags)
    return [scan.case, "" if judged is None else f"{1 - scan.doubt:.4f}", f"{scan.novelty:.4f}", " ".join(flags)]
