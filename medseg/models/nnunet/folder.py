"""Find nnU-Net's models: folders with plans.json, dataset.json and fold_*/checkpoint_*.pth.

They lie beside each other, one per configuration: Dataset004_X/nnUNetTrainer__nnUNetPlans__3d_fullres.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import Any, TypeVar

from medseg.core.errors import ModelError
from medseg.core.json_text import parse_json

PLANS, DATASET, SUMMARY = "plans.json", "dataset.json", "validation/summary.json"
FOLD = re.compile(r"fold_(\d+|all)")
CHECKPOINTS = {
    "final": "checkpoint_final.pth",
    "best": "checkpoint_best.pth",
    "latest": "checkpoint_latest.pth",
}
"""Names of the checkpoints that nnU-Net writes into a fold's folder, the preferred one first."""
_VERSION_1 = tuple(f"{depth}{name}" for depth in ("", "*/", "*/*/") for name in ("plans.pkl", "fold_*/*.model.pkl"))
_MOST_NAMES = 8
_Folder = TypeVar("_Folder", bound=PurePath)


def model_folders(folder: Path) -> list[Path]:
    """Return nnU-Net's model folders: the folder itself, those in it (a data set's results), or one level deeper.

    Raises:
        ModelError: there are only models of nnU-Net v1.
    """
    if _is_model(folder) or any(folder.glob("fold_*/checkpoint_*.pth")):
        return [folder]
    for pattern in (f"*/{PLANS}", f"*/*/{PLANS}"):
        models = sorted(path.parent for path in folder.glob(pattern) if _is_model(path.parent))
        if models:
            return models
    refuse_version_1(folder, (path for pattern in _VERSION_1 for path in folder.glob(pattern)))
    return []


def refuse_version_1(source: Path, names: Iterable[PurePath]) -> None:
    """Refuse a folder or zip that holds models of nnU-Net v1, by the names of files in it.

    Raises:
        ModelError: a name is that of v1's plan or weights.
    """
    for name in names:
        if name.name == "plans.pkl" or name.name.endswith(".model.pkl"):
            raise ModelError(
                f"{source} is a model of nnU-Net v1 ({name.name}); medseg reads those of v2 (plans.json).",
                "nnU-Net has no conversion either: train again on its data set, medseg plan FOLDER_OF_THE_DATA.",
            )


def _is_model(folder: Path) -> bool:
    return (folder / PLANS).is_file() and any(FOLD.fullmatch(path.name) for path in folder.glob("fold_*"))


def configuration_of(folder: PurePath) -> str:
    """Return the configuration with which a model folder's name ends: TRAINER__PLANS__CONFIGURATION."""
    return folder.name.rpartition("__")[2]


def stage_folder(folder: _Folder, configuration: str) -> _Folder:
    """Return the folder of another configuration with the same trainer and plans."""
    return folder.with_name(f"{folder.name.removesuffix(configuration_of(folder))}{configuration}")


def choose_model(folders: Sequence[_Folder], configuration: str | None, parent: Path) -> _Folder:
    """Return the only model folder, or the only one of a configuration.

    Args:
        folders: the folders of the models.
        configuration: which one; None if there should be only one.
        parent: where they were found, for messages.

    Raises:
        ModelError: none or several fit.
    """
    fitting = [folder for folder in folders if configuration in (None, configuration_of(folder))]
    if len(folders) == 1 and not fitting and "__" not in folders[0].name:
        fitting = list(folders)  # a renamed folder: its checkpoints say what it is
    if len(fitting) == 1:
        return fitting[0]
    names = _names(fitting or folders, parent)
    if not fitting:
        raise ModelError(f"{parent} holds no nnU-Net model of the configuration {configuration!r}; there are {names}.")
    first = fitting[0]
    how = f"its path, {first}" if isinstance(first, Path) else f"--config {configuration_of(first)}"
    raise ModelError(
        f"{parent} holds {len(fitting)} nnU-Net models: {names}.",
        f"Choose one (a wrong model gives wrong results) by {how}.",
    )


def _names(folders: Sequence[PurePath], parent: Path) -> str:
    """Return the names of folders, relative to `parent`."""
    shown = [
        str(folder.relative_to(parent)) if folder.is_relative_to(parent) else str(folder)
        for folder in folders[:_MOST_NAMES]
    ]
    more = len(folders) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def answering(folds: Iterable[str]) -> list[str]:
    """Return the folds of a model that answer together if none is named: the numbered ones, else the fold `all`.

    >>> answering(["0", "1", "all"]), answering(["all"])
    (['0', '1'], ['all'])
    """
    known = list(folds)
    return [fold for fold in known if fold != "all"] or known


def choose_folds(trained: Iterable[str], folds: Sequence[str] | None, folder: PurePath) -> list[str]:
    """Return the named folds, else all numbered ones as in nnU-Net, else the fold `all`.

    Args:
        trained: folds that have a checkpoint.
        folds: the named ones.
        folder: the folder of the model, for messages.

    Raises:
        ModelError: one is missing, or none is trained.
    """
    known = sorted(trained, key=lambda fold: (fold == "all", len(fold), fold))
    chosen = list(folds) if folds else answering(known)
    missing = [fold for fold in chosen if fold not in known]
    if missing or not known:
        raise ModelError(
            f"{folder} has no trained fold{' ' + ', '.join(missing) if missing else ''}; "
            f"trained there: {', '.join(known) or 'none'}.",
            None if known else f"Expected fold_0/{CHECKPOINTS['final']} and so on.",
        )
    return chosen


def choose_checkpoint(files: Iterable[str], checkpoint: str | None, fold: PurePath) -> tuple[str, str | None]:
    """Return the file name of a fold's checkpoint, and a note if it is not the final one, which one would expect.

    Args:
        files: names of the files in the fold's folder.
        checkpoint: `final`, `best`, `latest`, a file name, or None for the final one, else the best.
        fold: the fold's folder, for messages.

    Raises:
        ModelError: there is no such checkpoint.
    """
    names = [name for name in files if name.startswith("checkpoint_") and name.endswith(".pth")]
    if checkpoint is not None:
        name = CHECKPOINTS.get(checkpoint, checkpoint)
        if name in names:
            return name, None
        raise ModelError(f"{fold} has no {name}; it has {', '.join(sorted(names)) or 'no checkpoint'}.")
    if CHECKPOINTS["final"] in names:
        return CHECKPOINTS["final"], None
    if CHECKPOINTS["best"] in names:
        note = f"{fold.name} has no {CHECKPOINTS['final']}, as its training did not end; {CHECKPOINTS['best']} was used"
        return CHECKPOINTS["best"], note
    raise ModelError(
        f"{fold} has neither {CHECKPOINTS['final']} nor {CHECKPOINTS['best']}; it has "
        f"{', '.join(sorted(names)) or 'no checkpoint'}.",
        "Name the one that is meant: --checkpoint latest" if names else None,
    )


def fold_checkpoints(
    folder: Path, folds: Sequence[str] | None, checkpoint: str | None
) -> tuple[dict[str, Path], list[str]]:
    """Return {fold: its checkpoint} of a model folder, and notes.

    Args:
        folder: the folder of the model.
        folds: which folds; None for all numbered ones.
        checkpoint: as in `choose_checkpoint`.

    Raises:
        ModelError: a fold or a checkpoint is missing.
    """
    there = [path for path in sorted(folder.glob("fold_*")) if FOLD.fullmatch(path.name)]
    trained = [path for path in there if any(path.glob("checkpoint_*.pth"))]
    chosen: dict[str, Path] = {}
    empty = [] if folds else [path.name for path in there if path not in trained]
    notes = [f"no checkpoint in {', '.join(empty)}, left out: was the model copied whole?"] if empty else []
    for fold in choose_folds([path.name.removeprefix("fold_") for path in trained], folds, folder):
        fold_folder = folder / f"fold_{fold}"
        name, note = choose_checkpoint([path.name for path in fold_folder.iterdir()], checkpoint, fold_folder)
        chosen[fold] = fold_folder / name
        notes += [] if note is None else [note]
    return chosen, notes


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file of keys and values.

    Raises:
        ModelError: the file is missing or damaged.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ModelError(f"There is no {path}.", "An nnU-Net model needs its plans.json and dataset.json.") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not valid JSON: {error}.") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds a {type(content).__name__}; expected keys and values.")
    return content
