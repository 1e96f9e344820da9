"""Log a run for MLflow: a store of files in the folder `mlflow/` of the run. Optional: the extra `mlflow`.

Nothing is sent anywhere: the store is named at every call, whatever `MLFLOW_TRACKING_URI` says, and telemetry is off.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path

from medseg.delivery.logs.protocol import PICTURE, RunLog

_ENVIRONMENT = {"MLFLOW_ALLOW_FILE_STORE": "true"}  # MLflow 3 recommends a database, which needs a server's packages
"""Set before the import, and for good, as MLflow looks at it at every call."""
_EXPERIMENT = "medseg"
_MOST_AT_ONCE = 1000
"""Metrics in a call of `log_batch`: MLflow's own limit."""


class MlflowLog(RunLog):
    """The one run of a store of its own. A run that goes on is the same run in MLflow, too.

    Where a kill left figures of steps that are made again, which MLflow cannot take back, a new run takes its place.

    Args:
        folder: folder of the store.
        title: name of the run.
        done: number of steps that are done.
    """

    def __init__(self, folder: Path, title: str, done: int) -> None:
        os.environ.update(_ENVIRONMENT)
        from mlflow.tracking import MlflowClient

        folder.mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(tracking_uri=folder.resolve().as_uri())
        experiment = self._client.get_experiment_by_name(_EXPERIMENT)
        number = self._client.create_experiment(_EXPERIMENT) if experiment is None else experiment.experiment_id
        for run in self._client.search_runs([number]):
            last_step = self._last_step(run.info.run_id)
            if self.last_step < 0 and 0 <= last_step <= done:
                self._run, self.last_step = run.info.run_id, last_step
                self._client.update_run(self._run, status="RUNNING")
            else:
                self._client.delete_run(run.info.run_id)
        if self.last_step < 0:
            self._run = self._client.create_run(number, run_name=title).info.run_id

    def _last_step(self, run: str) -> int:
        """Return the last step of which a run has a figure; -1 where it has none."""
        names = self._client.get_run(run).data.metrics
        steps = [metric.step for name in names for metric in self._client.get_metric_history(run, name)]
        return max(steps, default=-1)

    def add(self, step: int, figures: Mapping[str, float], time_seconds: float) -> None:
        """Write figures.

        Args:
            step: number of steps that were done.
            figures: {name: value}.
            time_seconds: seconds since 1970.
        """
        from mlflow.entities import Metric

        milliseconds = round(1000 * time_seconds)
        metrics = [Metric(name, value, milliseconds, step) for name, value in figures.items()]
        for first in range(0, len(metrics), _MOST_AT_ONCE):
            self._client.log_batch(self._run, metrics=metrics[first : first + _MOST_AT_ONCE], synchronous=True)

    def add_picture(self, step: int, png: bytes, time_seconds: float) -> None:
        """Write a picture.

        Args:
            step: number of steps that were done.
            png: the content of a PNG file.
            time_seconds: seconds since 1970.
        """
        from PIL import Image as pillow

        picture = pillow.open(io.BytesIO(png)).convert("RGB")
        milliseconds = round(1000 * time_seconds)
        self._client.log_image(self._run, picture, key=PICTURE, step=step, timestamp=milliseconds, synchronous=True)

    def close(self, finished: bool) -> None:
        """Mark the run as finished or as stopped.

        Args:
            finished: whether all steps of the run are done.
        """
        self._client.set_terminated(self._run, status="FINISHED" if finished else "KILLED")
