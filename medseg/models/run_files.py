"""The files and folders of trained runs, each name spelled once.

runs/<plan>/<configuration>/    RunFolder
    .fold_0.lock                held while fold 0 is in training
    crossval/                   scores of the out-of-fold answers of all folds
    fold_0/                     FoldFolder
        plan.yaml  split.json  run.json  log.jsonl  checkpoint.pt  weights.safetensors  int8.json
        live.html  pictures/  validation/  report.html  manifest.json
        tensorboard/  mlflow/   where `--log` asks for them
"""

from __future__ import annotations

import json
import re
import shlex
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from medseg.core.names import check_name

PLAN = "plan.yaml"
WEIGHTS = "weights.safetensors"
INT8 = "int8.json"
CHECKPOINT = "checkpoint.pt"
METRICS = "metrics.json"
METRICS_CSV = "metrics.csv"
POOLED_CSV = "pooled.csv"
REPORT = "report.html"
REPORT_CASES = "report_cases"
"""Folder beside a report: pages of the viewer, which its pictures lead to."""
RANKING = "ranking.csv"
MANIFEST = "manifest.json"
README = "README.txt"
_FOLD = "fold_"
_FOLD_FOLDER = re.compile(rf"{_FOLD}(\d{{1,4}}|all)")
"""Folders of folds; not copies that somebody put aside, such as `fold_0.old`, which would answer as one fold more."""


def fold_folder_name(fold: str) -> str:
    """Return the name of a fold's folder; nnU-Net has the same.

    Raises:
        ValueError: it cannot be the name of a folder.

    >>> fold_folder_name("0"), fold_folder_name("all")
    ('fold_0', 'fold_all')
    """
    return check_name(_FOLD + fold, "fold")


class FoldFolder:
    """The folder of one fold.

    Args:
        path: the path of the folder, which may not exist yet.

    Attributes:
        path: the path of the folder.
        fold: name of the fold: a number, or `all`.
        lock: held by the command that trains the fold.
        plan: the run's own copy of its plan.
        split: ids of the training and validation cases, so that the run goes on with them whatever becomes of the
            folds of the data set.
        request: what was asked of a cascade's later stage, while the stages before it are trained.
        record: how the run came about (`RunRecord`).
        log: losses, learning rates and validations, one JSON record per line.
        checkpoint: the state of the training.
        weights: the trained model.
        int8: how it is computed in 8 bits, where `medseg quantize` has tried that.
        validation: folder with answers and scores of the validation cases.
        metrics: scores of the validation cases.
        report: the page of the run.
        live: the page that is written again and again while the run trains.
        pictures: folder with a picture of the same slices after each validation.
        manifest: hashes of what the run was made from and of its files; the last file to be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fold = path.name.removeprefix(_FOLD)
        self.lock = path.with_name(f".{path.name}.lock") if path.name else path / ".lock"
        self.plan = path / PLAN
        self.split = path / "split.json"
        self.request = path / "asked.json"
        self.record = path / "run.json"
        self.log = path / "log.jsonl"
        self.checkpoint = path / CHECKPOINT
        self.weights = path / WEIGHTS
        self.int8 = path / INT8
        self.validation = path / "validation"
        self.metrics = path / "validation" / METRICS
        self.report = path / REPORT
        self.live = path / "live.html"
        self.pictures = path / "pictures"
        self.manifest = path / MANIFEST

    @property
    def run(self) -> RunFolder:
        """The folder of all folds."""
        return RunFolder(self.path.parent)

    def kept_apart(self) -> list[str] | None:
        """Return the ids of the cases that the fold was not trained on; None if it does not say, as an imported one."""
        if not self.split.is_file():
            return None
        kept: list[str] = json.loads(self.split.read_text(encoding="utf-8"))["val"]
        return kept

    def picture(self, step: int) -> Path:
        """Return the file of the picture that is drawn after the validation at a step."""
        return self.pictures / f"step_{step:07d}.png"

    def log_folder(self, name: str) -> Path:
        """Return the folder of a log for another program, such as `tensorboard`."""
        return self.path / name

    def drawn_pictures(self) -> list[tuple[int, Path]]:
        """Return the pictures that there are, as (step, file), in the order of the steps."""
        drawn = [(re.fullmatch(r"step_(\d+)\.png", path.name), path) for path in self.pictures.glob("step_*.png")]
        return sorted((int(match[1]), path) for match, path in drawn if match)

    @property
    def begun(self) -> bool:
        """Whether there is a run that `resume_command` continues: its record, or what was asked of a cascade."""
        return self.record.exists() or self.request.exists()

    @property
    def resume_command(self) -> str:
        """The command that continues the run of this fold, for hints: it has every option that names the run."""
        if len(self.path.parents) < 4:  # not a run in a workspace
            return "medseg train --resume"
        configuration, plan, _, workspace = self.path.parents[:4]
        places = self._places()
        lies_elsewhere, data = places.get("plan_file"), places.get("data")
        if lies_elsewhere and Path(lies_elsewhere).exists():
            plan_name = lies_elsewhere
        else:  # a plan file that lay elsewhere has a copy here
            planned = (workspace / "plans" / f"{plan.name}.yaml").exists()
            plan_name = plan.name if planned else str(self.path / PLAN)
        names = ["--plan", plan_name, "--fold", self.fold, "--config", configuration.name]
        elsewhere = [] if workspace == Path() else ["--workspace", str(workspace)]
        moved = ["--data", data] if data else []
        return shlex.join(["medseg", "train", *names, *elsewhere, *moved, "--resume"])

    def _places(self) -> dict[str, str | None]:
        """Return what the record of the run says on where its plan and its data set lie; empty where there is none."""
        with suppress(OSError, ValueError):
            content = json.loads(self.record.read_text(encoding="utf-8"))
            if isinstance(content, dict):
                return {key: str(value) for key in ("plan_file", "data") if (value := content.get(key))}
        return {}

    def next_stage_answers(self, configuration: str) -> Path:
        """Return the folder with a cascade's first-stage answers to the training cases of a later configuration."""
        return self.path / "predicted_next_stage" / configuration


@dataclass(frozen=True)
class RunFolder:
    """The folder of a plan's configuration, with its folds.

    Attributes:
        path: the path of the folder.
    """

    path: Path

    def fold(self, name: str) -> FoldFolder:
        """Return the folder of a fold, which may not exist yet."""
        return FoldFolder(self.path / fold_folder_name(name))

    @property
    def crossval(self) -> Path:
        """Folder with the scores of the out-of-fold answers of all folds."""
        return self.path / "crossval"

    def folds_with(self, file: str) -> list[FoldFolder]:
        """Return the folds whose folder holds a file of this name, sorted by folder name."""
        return [FoldFolder(folder) for folder in _fold_folders(self.path, f"{_FOLD}*/{file}")]


def runs_below(folder: Path, depth: int, file: str) -> list[RunFolder]:
    """Return every run of which a fold's folder holds a file of this name, sorted.

    Args:
        folder: the folder to look in.
        depth: how many levels below the folder the runs lie: 2 for `runs/`, 1 for the folder of a plan.
        file: `WEIGHTS` for trained runs, `PLAN` also for those that are not finished.
    """
    pattern = "/".join(["*"] * depth + [f"{_FOLD}*", file])
    runs = {fold.parent for fold in _fold_folders(folder, pattern)}
    # the name of one that is being imported starts with a dot
    return [RunFolder(path) for path in sorted(runs) if not path.name.startswith(".")]


def _fold_folders(folder: Path, pattern: str) -> list[Path]:
    """Return the folders of folds that hold a file which fits a pattern, sorted."""
    folders = (path.parent for path in sorted(folder.glob(pattern)))
    return [path for path in folders if _FOLD_FOLDER.fullmatch(path.name)]
