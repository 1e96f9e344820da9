"""The folder in which a user works: where plans, runs and cache lie, and which one is meant if none is named."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.core.case import Case, read_cases
from medseg.core.errors import DataError, ModelError, PlanError
from medseg.core.files import check_folder
from medseg.core.replacing import finish_replacing
from medseg.models.run_files import WEIGHTS, runs_below
from medseg.plans.schema import Plan
from medseg.selection.file import read_selection, selection_path

if TYPE_CHECKING:
    from medseg.planning.splits import Fold


class Workspace:
    """A folder with `plans/`, `runs/` and `cache/`.

    Args:
        folder: its path.

    Attributes:
        folder: its path.
        plans: folder of the plans.
        runs: folder of the trained models.
        cache: folder of preprocessed cases; it may be deleted at any time.

    Raises:
        DataError: it is a file, or would lie in one.
    """

    def __init__(self, folder: Path) -> None:
        check_folder(folder)
        self.folder = folder
        self.plans = folder / "plans"
        self.runs = folder / "runs"
        self.cache = folder / "cache"

    def plan_path(self, choice: str | Path | None, option: str = "--plan") -> Path:
        """Return the path of a plan: a file, a name, or None for the only one there is.

        Args:
            choice: the name or path that the user gave.
            option: how the command line calls it, for messages; empty where it has no name there.

        Raises:
            PlanError: none is there, or several are and none was chosen.
        """
        if choice is not None:
            path = Path(choice)
            path = path if path.suffix in {".yaml", ".yml"} else self.plans / f"{choice}.yaml"
            finish_replacing(path.parent)
            return path
        finish_replacing(self.plans)
        paths = sorted(self.plans.glob("*.yaml"))
        if len(paths) == 1:
            return paths[0]
        if not paths:
            raise PlanError(f"There is no plan in {self.plans}.", "`medseg plan DATASET` makes one.")
        names = ", ".join(path.stem for path in paths)
        chosen = f"{option} {paths[0].stem}".strip()
        raise PlanError(f"There are {len(paths)} plans in {self.plans}: {names}.", f"Choose one: {chosen}")

    def model_path(
        self,
        choice: str | Path | None,
        configuration: str | None = None,
        option: str = "--model",
        selection: bool = False,
    ) -> Path:
        """Return the path of a model.

        Args:
            choice: a folder or file, `<plan>` or `<plan>/<configuration>`; None for the only trained model.
            configuration: which configuration, where several of a plan are trained.
            option: how the command line calls `choice`, for messages; empty where it has no name there.
            selection: whether a plan that has a `selection.yaml` means that; else a plan means its only trained model.

        Returns:
            The folder of a run, a file, or the folder `runs/PLAN` of a plan's selection.

        Raises:
            ModelError: no model is trained, or several fit.
        """
        models = [run.path for run in runs_below(self.runs, 2, WEIGHTS)]
        named = None if choice is None else self._name_of_model(str(choice))
        if selection and configuration is None:
            plans = {path.parent for path in models if named in (None, path.parent.name)}
            if len(plans) == 1 and selection_path(only := plans.pop()).is_file():
                return only
        fitting = [
            path
            for path in models
            if named in (None, path.parent.name, f"{path.parent.name}/{path.name}")
            and (configuration is None or path.name == configuration)
        ]
        if choice is not None and not fitting and Path(choice).exists():
            return Path(choice)
        if len(fitting) == 1:
            return fitting[0]
        names = ", ".join(f"{path.parent.name}/{path.name}" for path in (fitting or models))
        if not models:
            also = "" if choice is None else f", and no file or folder {choice}"
            raise ModelError(
                f"There is no trained model in {self.runs}{also}.",
                f"`medseg train` trains one, {option or 'a path'} names one elsewhere.",
            )
        if not fitting:
            a_path = f", and there is no file or folder {choice}" if choice is not None else ""
            raise ModelError(f"No trained model fits {str(choice or configuration)!r}; there are {names}{a_path}.")
        first = next(filter(_is_selected, fitting), fitting[0])
        raise ModelError(
            f"There are {len(fitting)} trained models: {names}.",
            "Choose one (a wrong model gives wrong results): " + f"{option} {first.parent.name}/{first.name}".strip(),
        )

    def _name_of_model(self, choice: str) -> str:
        """Return `<plan>` or `<plan>/<configuration>` of what a user named; `runs/` may stand before it.

        What begins with a dot or a slash is a path, also where a model has its name.
        """
        path, runs = Path(choice).absolute(), self.runs.absolute()
        if path.is_relative_to(runs):
            return path.relative_to(runs).as_posix()
        return "" if choice.startswith((".", "/", "\\")) else Path(choice).as_posix()

    def data_folder(self, plan: Plan, override: Path | None = None) -> Path:
        """Return the folder of the plan's data set, or `override` in its place.

        Raises:
            DataError: the folder does not exist.
        """
        folder = Path(override) if override is not None else self.folder / plan.data.folder
        if not folder.is_dir():
            raise DataError(
                f"The data folder {folder} of the plan {plan.name!r} is not there.", "Name it: --data FOLDER"
            )
        return folder.absolute()

    def relative(self, folder: Path) -> str:
        """Return a folder as plans name it: relative to the workspace, unless it lies on another drive."""
        try:
            return Path(os.path.relpath(folder.absolute(), self.folder.absolute())).as_posix()
        except ValueError:
            return folder.absolute().as_posix()


def _is_selected(run: Path) -> bool:
    """Return whether the selection of a run's plan names its configuration."""
    try:
        selection = read_selection(selection_path(run.parent))
    except ModelError:  # the hint names another run, and what uses the selection says what is wrong with it
        return False
    return selection is not None and run.name in [member.configuration for member in selection.members]


def cases_path(plan_path: Path) -> Path:
    """Return the path of the table of cases that belongs to a plan."""
    return plan_path.with_suffix(".cases.csv")


def splits_path(plan_path: Path) -> Path:
    """Return the path of the folds that belong to a plan."""
    return plan_path.with_suffix(".splits.json")


def plan_cases(plan_path: Path, data_folder: Path, plan: Plan) -> list[Case]:
    """Return the cases of a plan, as the table beside it lists them.

    If there is no table beside the plan, the cases are searched for in the data folder again.

    Args:
        plan_path: the path of the plan file.
        data_folder: the folder of the data set.
        plan: says which files the user named as images and labels.
    """
    finish_replacing(plan_path.parent)
    table = cases_path(plan_path)
    if table.exists():
        return read_cases(table, data_folder)
    # imported here: predicting needs the workspace, but neither layouts of data sets nor ways to divide them
    from medseg.io.layouts.dataset import Naming
    from medseg.io.layouts.find import find_cases

    options = plan.request.options
    listing = options.get("cases")
    naming = Naming(
        tuple(options.get("images", ())), options.get("labels"), None if listing is None else data_folder / listing
    )
    return find_cases(data_folder, plan.data.patient_pattern, naming, plan.data.reading.frame).cases


def plan_folds(plan_path: Path, labelled: Sequence[Case]) -> tuple[list[Fold], list[str]]:
    """Return the folds of a plan, as the file beside it lists them, and notes on them.

    If there is no file beside the plan, the folds are made again.

    Args:
        plan_path: the path of the plan file.
        labelled: its cases with labels.

    Raises:
        DataError: the file does not hold folds of these cases.
    """
    from medseg.planning.splits import make_splits, read_splits

    path = splits_path(plan_path)
    if path.exists():
        return read_splits(path, labelled), []
    folds, why = make_splits(labelled, {})
    return folds, [why]
