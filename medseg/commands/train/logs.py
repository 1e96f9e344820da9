"""The logs of a run for other programs (`--log`), written by a thread of their own behind the training."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.core.errors import PlanError
from medseg.delivery.logs.table import LOGS, check_logs
from medseg.models.run_files import FoldFolder
from medseg.networks.device import first_line

if TYPE_CHECKING:
    from medseg.delivery.logs.protocol import RunLog


def logs_of_run(files: FoldFolder, wanted: Sequence[str], continues: bool) -> tuple[list[str], list[str]]:
    """Return the logs to write, and notes: those that are asked for, and those that a run that goes on already has.

    Args:
        files: the files of the fold.
        wanted: what `--log` says; its packages are installed.
        continues: whether the run goes on.
    """
    names, notes = list(wanted), []
    for name in LOGS:
        if not continues or name in names or not files.log_folder(name).is_dir():
            continue
        try:
            check_logs([name])
        except PlanError as error:
            notes.append(f"the log in {files.log_folder(name)} does not go on: {error.message} {error.hint}")
        else:
            names.append(name)
    return names, notes


class RunLogs:
    """Writes the figures and pictures of a run into logs for other programs.

    Libraries are imported and files written in a thread. What goes wrong there ends that log, and not the training.

    Args:
        files: the files of the fold.
        names: names of the logs.
        note: receives a sentence if a log can no longer be written.
    """

    def __init__(self, files: FoldFolder, names: Sequence[str], note: Callable[[str], None]) -> None:
        self._files, self._names, self._note = files, names, note
        self._open: dict[str, RunLog] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="logs")

    def begin(self, done: int, records: Sequence[Mapping[str, Any]]) -> None:
        """Open the logs, and write what they lack of earlier sessions.

        Args:
            done: number of steps that are done.
            records: the records of earlier sessions, as `read_log` returns them.
        """
        for name in set(LOGS) - {*self._names} if done == 0 else ():  # of a run that was begun here and given up
            shutil.rmtree(self._files.log_folder(name), ignore_errors=True)
        pictures, now = self._files.drawn_pictures(), time.time()
        for name in self._names:
            self._thread.submit(self._guarded, name, partial(self._begin, name, done, records, pictures, now))

    def _begin(
        self,
        name: str,
        done: int,
        records: Sequence[Mapping[str, Any]],
        pictures: Sequence[tuple[int, Path]],
        now: float,
    ) -> None:
        from medseg.delivery.logs.protocol import figures_of

        title = "/".join((self._files.run.path.parent.name, self._files.run.path.name, self._files.path.name))
        log = self._open[name] = LOGS[name].open(self._files.log_folder(name), title, done)
        # records know the seconds since the run began; pauses between sessions are not in them
        used_seconds = max((float(record.get("seconds") or 0) for record in records), default=0.0)
        times = {int(record["step"]): now - used_seconds + float(record.get("seconds") or 0) for record in records}
        for record in records:
            if record["step"] > log.last_step:
                log.add(int(record["step"]), figures_of(record), times[int(record["step"])])
        for step, path in pictures:
            if step > log.last_step:
                log.add_picture(step, path.read_bytes(), times.get(step, now))

    def add(self, record: Mapping[str, Any]) -> None:
        """Write the figures of a record.

        Args:
            record: as it stands in the log of the run.
        """
        from medseg.delivery.logs.protocol import figures_of

        step, figures, now = int(record["step"]), figures_of(record), time.time()
        self._submit_to_all(lambda log: log.add(step, figures, now))

    def add_picture(self, step: int, png: bytes) -> None:
        """Write a picture.

        Args:
            step: number of steps that are done.
            png: the content of a PNG file.
        """
        now = time.time()
        self._submit_to_all(lambda log: log.add_picture(step, png, now))

    def end(self, finished: bool) -> None:
        """Close the logs, and wait until they are written.

        Args:
            finished: whether all steps are done.
        """
        self._submit_to_all(lambda log: log.close(finished))
        self._thread.shutdown()

    def _submit_to_all(self, write: Callable[[RunLog], None]) -> None:
        """Queue a write to every log, done in the thread if the log is open by then."""
        for name in self._names:
            self._thread.submit(self._guarded, name, partial(self._write, name, write))

    def _write(self, name: str, write: Callable[[RunLog], None]) -> None:
        if name in self._open:
            write(self._open[name])

    def _guarded(self, name: str, write: Callable[[], object]) -> None:
        try:
            write()
        except Exception as error:  # whatever it is, a log is not worth the hours of training
            self._open.pop(name, None)
            self._note(
                f"the log in {self._files.log_folder(name)} is no longer written ({type(error).__name__}: "
                f"{first_line(error)}); training goes on"
            )
