"""Find the fold of a configuration that has not seen a case, neither in its own network nor in a stage before it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from medseg.models.run_files import FoldFolder, RunFolder
from medseg.plans.file import load_plan


@dataclass
class Unseen:
    """The cases that the folds of a configuration left out of their training.

    Attributes:
        fold_of: {case: the first fold that has not seen it}.
        seen: {case: why no fold can answer it, although one left it out}.
    """

    fold_of: dict[str, str] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)

    def knows(self, case: str) -> bool:
        """Return whether a fold left a case out of its own training."""
        return case in self.fold_of or case in self.seen


def unseen_cases(folds: Sequence[FoldFolder]) -> Unseen:
    """Return which fold answers which case out of fold.

    The fold of a stage before may have been trained on another split than the fold of the same name that comes after
    it; a case that it was trained on is not answered out of fold.

    Args:
        folds: trained folds of a configuration, in the order in which they are taken.
    """
    unseen = Unseen()
    for files in folds:
        if not files.split.is_file():
            continue
        earlier = _earlier_folds(files)
        for case in _split(files)["val"]:
            if case in unseen.fold_of:
                continue
            why = _why_seen(case, files, earlier)
            if why is None:
                unseen.fold_of[case] = files.fold
                unseen.seen.pop(case, None)
            else:
                unseen.seen.setdefault(case, why)
    return unseen


def _why_seen(case: str, files: FoldFolder, earlier: dict[str, set[str] | None]) -> str | None:
    """Return why a fold of a stage before may have seen a case; None if it has not."""
    for stage, trained in earlier.items():
        of_stage = f"fold {files.fold} of {stage}, which answers before fold {files.fold} of {files.run.path.name},"
        if trained is None:
            return f"{of_stage} does not say on which cases it was trained"
        if case in trained:
            return f"{of_stage} was trained on it: train both again on one split"
    return None


def _earlier_folds(files: FoldFolder) -> dict[str, set[str] | None]:
    """Return {stage before: cases that its fold of the same name was trained on, None where it does not say}."""
    earlier: dict[str, set[str] | None] = {}
    while True:
        plan, name = load_plan(files.plan), files.run.path.name
        stage = plan.configuration(name).previous_stage if name in plan.configurations else None
        if stage is None or stage in earlier:
            return earlier
        files = RunFolder(files.run.path.with_name(stage)).fold(files.fold)
        if not files.weights.is_file():  # which is refused where the model is loaded, with what to do
            return earlier
        earlier[stage] = {*_split(files)["train"]} if files.split.is_file() else None


def _split(files: FoldFolder) -> dict[str, list[str]]:
    """Return the cases that a fold was trained on ("train") and kept apart ("val"), as its folder says."""
    split: dict[str, list[str]] = json.loads(files.split.read_text(encoding="utf-8"))
    return split
