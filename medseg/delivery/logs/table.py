"""The programs that a run can be logged for, by the names that `--log` takes. Nothing of them is imported here."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from medseg.core.errors import PlanError
from medseg.core.installing import pip_install
from medseg.delivery.logs.protocol import RunLog


def _tensorboard(folder: Path, title: str, done: int) -> RunLog:
    from medseg.delivery.logs.tensorboard import TensorBoardLog

    return TensorBoardLog(folder)


def _mlflow(folder: Path, title: str, done: int) -> RunLog:
    from medseg.delivery.logs.mlflow import MlflowLog

    return MlflowLog(folder, title, done)


@dataclass(frozen=True)
class LogRow:
    """A program that runs are logged for.

    Attributes:
        package: the package that has to be installed, which is imported by this name.
        hint: how to install it.
        open: opens the log of a run from (folder of the log, title of the run, number of steps that are done).
    """

    package: str
    hint: str
    open: Callable[[Path, str, int], RunLog]

    @property
    def installed(self) -> bool:
        """Whether the package is there."""
        return find_spec(self.package) is not None


LOGS: dict[str, LogRow] = {
    "tensorboard": LogRow("tensorboard", pip_install("tensorboard"), _tensorboard),
    "mlflow": LogRow("mlflow", pip_install("mlflow"), _mlflow),
}
"""Each has a folder of its name in the folder of the run."""


def check_logs(names: Sequence[str]) -> None:
    """Refuse names of logs that are not known, and those whose package is not installed.

    Raises:
        PlanError: naming the known ones, or how to install the package.
    """
    for name in names:
        if name not in LOGS:
            match = difflib.get_close_matches(name, LOGS, n=1, cutoff=0.5)
            meant = f" Did you mean {match[0]}?" if match else ""
            raise PlanError(f"--log is {name!r}; known are {', '.join(LOGS)}.{meant}", "Example: --log tensorboard")
        row = LOGS[name]
        if not row.installed:
            raise PlanError(f"--log {name} needs the package {row.package}, which is not installed.", row.hint)
