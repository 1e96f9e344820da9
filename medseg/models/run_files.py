"""The files and folders of trained runs, each name spelled once.

runs/<plan>/<configuration>/    RunFolder
    .fold_0.lock                held while fold 0 is in training
    fold_0/                     FoldFolder
        plan.yaml  split.json  run.json  log.jsonl  checkpoint.pt  weights.safetensors
        validation/  report.html  manifest.json
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PLAN = "plan.yaml"
WEIGHTS = "weights.safetensors"
CHECKPOINT = "checkpoint.pt"
METRICS = "metrics.json"
REPORT = "report.html"
MANIFEST = "manifest.json"
_FOLD = "fold_"


def fold_folder_name(fold: str) -> str:
    """Return the name of a fold's folder; nnU-Net has the same.

    >>> fold_folder_name("0"), fold_folder_name("all")
    ('fold_0', 'fold_all')
    """
    return _FOLD + fold


@dataclass(frozen=True)
class FoldFolder:
    """The folder of one fold.

    Attributes:
        path: of the folder.
    """

    path: Path

    @property
    def fold(self) -> str:
        """Name of the fold: a number, or `all`."""
        return self.path.name.removeprefix(_FOLD)

    @property
    def run(self) -> RunFolder:
        """The folder of all folds."""
        return RunFolder(self.path.parent)

    @property
    def lock(self) -> Path:
        """Held by the command that trains the fold."""
        return self.path.with_name(f".{self.path.name}.lock")

    @property
    def plan(self) -> Path:
        """The run's own copy of its plan."""
        return self.path / PLAN

    @property
    def split(self) -> Path:
        """Ids of the training and validation cases, so that the run goes on with them whatever becomes of the folds."""
        return self.path / "split.json"

    @property
    def request(self) -> Path:
        """What was asked of a cascade's later stage, while the stages before it are trained."""
        return self.path / "asked.json"

    @property
    def record(self) -> Path:
        """How the run came about (`RunRecord`)."""
        return self.path / "run.json"

    @property
    def log(self) -> Path:
        """Losses, learning rates and validations, one JSON record a line."""
        return self.path / "log.jsonl"

    @property
    def checkpoint(self) -> Path:
        """The state of the training."""
        return self.path / CHECKPOINT

    @property
    def weights(self) -> Path:
        """The trained model."""
        return self.path / WEIGHTS

    @property
    def validation(self) -> Path:
        """Folder with answers and scores of the validation cases."""
        return self.path / "validation"

    @property
    def metrics(self) -> Path:
        """Scores of the validation cases."""
        return self.validation / METRICS

    @property
    def report(self) -> Path:
        """The page of the run."""
        return self.path / REPORT

    @property
    def manifest(self) -> Path:
        """Hashes of what the run was made from and of its files; the last file to be written."""
        return self.path / MANIFEST

    def next_stage_answers(self, configuration: str) -> Path:
        """Return the folder with a cascade's first-stage answers to the training cases of a later configuration."""
        return self.path / "predicted_next_stage" / configuration


@dataclass(frozen=True)
class RunFolder:
    """The folder of a plan's configuration, with its folds.

    Attributes:
        path: of the folder.
    """

    path: Path

    def fold(self, name: str) -> FoldFolder:
        """Return the folder of a fold, which may not exist yet."""
        return FoldFolder(self.path / fold_folder_name(name))

    def folds_with(self, file: str) -> list[FoldFolder]:
        """Return the folds whose folder holds a file of this name, sorted by folder name."""
        return [FoldFolder(path.parent) for path in sorted(self.path.glob(f"{_FOLD}*/{file}"))]


def runs_below(folder: Path, depth: int, file: str) -> list[RunFolder]:
    """Return every run of which a fold's folder holds a file of this name, sorted.

    Args:
        folder: to look in.
        depth: of the runs below it: 2 for `runs/`, 1 for the folder of a plan.
        file: `WEIGHTS` for trained runs, `PLAN` for begun ones.
    """
    pattern = "/".join(["*"] * depth + [f"{_FOLD}*", file])
    return [RunFolder(path) for path in sorted({path.parent.parent for path in folder.glob(pattern)})]
