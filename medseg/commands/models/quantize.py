"""`medseg quantize`: find how trained folds are computed in 8 bits, and keep it where validation cases lose little."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch

from medseg.commands.models.options import QuantizeOptions
from medseg.commands.models.quantize_fold import FoldCases, quantized_fold
from medseg.core.case import Case
from medseg.core.errors import DataError, ModelError, PlanError
from medseg.core.installing import pip_install
from medseg.core.machine.locking import locked
from medseg.core.progress import Callback, silent
from medseg.core.wording import first_few, summary_line
from medseg.delivery.provenance import manifest
from medseg.delivery.provenance.manifest import Clock
from medseg.inference.backends.int8 import check_computes_int8
from medseg.models.quantization import Quantization, write_quantization
from medseg.models.run_files import WEIGHTS, FoldFolder, RunFolder
from medseg.models.workspace import Workspace, plan_cases
from medseg.plans.file import load_plan


@dataclass(frozen=True)
class QuantizeResult:
    """The result of `quantize`.

    Attributes:
        folder: the folder of the run.
        folds: {fold: how it is computed in 8 bits, and what that costs}.
        failed: {case: why it could not be used}.
    """

    folder: Path
    folds: dict[str, Quantization]
    failed: dict[str, str]

    def __repr__(self) -> str:
        kept = sum(quantization.kept for quantization in self.folds.values())
        return summary_line(self, self.folder, f"{kept} of {len(self.folds)} folds kept", failed=self.failed)


def quantize(
    model: str | Path | None = None,
    workspace: str | Path = ".",
    options: QuantizeOptions | None = None,
    callback: Callback = silent,
) -> QuantizeResult:
    """Find, for each fold of a run, how it is computed in 8 bits, and what that costs on its validation cases.

    `int8.json` beside the weights holds both. Prediction uses it with `inference.precision=int8`, if a fold lost at
    most 0.001 of its mean Dice, and `package` packs it.

    Args:
        model: a run's folder, `<plan>` or `<plan>/<configuration>`; None if the workspace has one trained model.
        workspace: folder with `plans/` and `runs/`.
        options: which folds, where the data set is, and for which processors.
        callback: receives progress; may raise `Cancelled`.

    Returns:
        What was found for each fold, whether it is kept or not.

    Raises:
        MedsegError: NNCF is missing, the processor was not tried, there is no such run, or a network cannot be
            quantized.
    """
    options, space = options or QuantizeOptions(), Workspace(Path(workspace))
    of_processor = check_computes_int8(torch.device("cpu"), "openvino")
    if find_spec("nncf") is None:
        raise PlanError("Quantizing needs NNCF, which is not installed.", pip_install("int8"))
    weight_bits = 7 if options.any_processor else of_processor
    path = space.model_path(model, options.configuration, option="")
    folds: dict[str, Quantization] = {}
    failed: dict[str, str] = {}
    for files in _folds(path, options.folds):
        clock = Clock()
        cases, gone = _cases(files, space, options)
        with locked(files.lock, f"The run in {files.path}"):
            made, problems = quantized_fold(files, cases, weight_bits, callback)
            write_quantization(made, files.int8)
            _write_manifest(files, clock)
        folds[files.fold] = made
        failed |= gone | problems
    return QuantizeResult(path, folds, failed)


def _folds(path: Path, names: Sequence[str]) -> list[FoldFolder]:
    """Return the trained folds of a run that are to be quantized.

    Raises:
        ModelError: it is no run, or has no such fold.
    """
    one = FoldFolder(path)
    trained = [one] if one.weights.exists() else RunFolder(path).folds_with(WEIGHTS)
    if not trained:
        raise ModelError(
            f"{path} is no run of medseg; only such a run says which cases it was trained on.",
            "Name a run: PLAN/CONFIGURATION. Packages are made again from a run that is quantized.",
        )
    missing = [name for name in names if name not in {files.fold for files in trained}]
    if missing:
        there = ", ".join(files.fold for files in trained)
        raise ModelError(f"{path} has no trained fold {', '.join(missing)}; trained there: {there}.")
    return [files for files in trained if not names or files.fold in names]


def _cases(files: FoldFolder, space: Workspace, options: QuantizeOptions) -> tuple[FoldCases, dict[str, str]]:
    """Return the cases that a fold was trained on and those that it never saw, and {case: why it cannot be used}.

    Raises:
        ModelError: the fold does not say which these are, or keeps none apart.
        DataError: none of either kind is left in the data set.
    """
    if not files.split.is_file():
        raise ModelError(
            f"{files.path} does not say on which cases it was trained: it was imported, or has lost split.json.",
            "Train it here to quantize it: `medseg train`.",
        )
    plan = load_plan(files.plan)
    folder = space.data_folder(plan, options.data)
    known = {case.id: case for case in plan_cases(space.plan_path(plan.name), folder, plan) if case.label is not None}
    split: dict[str, list[str]] = json.loads(files.split.read_text(encoding="utf-8"))
    if not split["val"]:
        raise ModelError(
            f"Fold {files.fold} keeps no case apart: nothing would show what 8 bits cost.",
            "Quantize a fold with validation cases: --folds 0",
        )
    parts: list[list[Case]] = [[known[id] for id in split[part] if id in known] for part in ("train", "val")]
    gone = [id for part in ("train", "val") for id in split[part] if id not in known]
    if not all(parts):
        raise DataError(f"Cases of fold {files.fold} are no longer in {folder}: {first_few(gone)}.")
    return FoldCases(*parts), dict.fromkeys(gone, "it is no longer in the data set, or has no label there")


def _write_manifest(files: FoldFolder, clock: Clock) -> None:
    """Write what was done into the manifest of the fold."""
    entry = {
        "complete": True,
        **clock.entry(),
        "software": {**manifest.software(), "nncf": version("nncf"), "openvino": version("openvino")},
        "options": {"fold": files.fold},
        "cases": [],
        "files": manifest.listed(files.path, [files.int8]),
    }
    manifest.write_entry(files.path, "quantize", entry)
