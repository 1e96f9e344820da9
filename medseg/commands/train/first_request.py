"""Keep the options of a cascade's later stage in its folder while the stages before it are trained.

A command that is stopped has no run of the later stage yet, and `--resume` begins that run as it was first asked for.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace

from medseg.commands.train.options import TrainOptions
from medseg.commands.train.run import Request
from medseg.core.files import write_json
from medseg.models.run_files import FoldFolder

_WRITE_SECONDS = 10.0
"""Between two notes of the time that the command has used."""


def as_first_asked(request: Request, files: FoldFolder) -> Request:
    """Return a request to resume with the options of the first command; settings and logs given now are added.

    Args:
        request: with `--resume`.
        files: folder of the later stage.
    """
    saved_options = json.loads(files.request.read_text(encoding="utf-8"))
    used_seconds = saved_options.pop("seconds")
    saved_options["overrides"] = [*saved_options["overrides"], *request.options.overrides]
    saved_options["log"] = [*dict.fromkeys([*saved_options.get("log", ()), *request.options.log])]
    options = replace(request.options, resume=False, **saved_options)
    return replace(request, options=options, start_time=request.start_time - used_seconds)


class FirstRequest:
    """Writes the options of the later stage, and the time that the command has used, to a file.

    Args:
        files: folder of the later stage.
        request: the request of the command.
    """

    def __init__(self, files: FoldFolder, request: Request) -> None:
        self._path = files.request
        self._options: TrainOptions = request.options
        self._start_time = request.start_time
        self._writes = request.ranks.first
        self._write_time = 0.0

    def write(self) -> None:
        """Write the file, if this process is the one that writes."""
        self._write_time = time.monotonic()
        if not self._writes:
            return
        options = self._options
        saved_options = {
            "steps": options.steps,
            "epochs": options.epochs,
            "budget_seconds": options.budget_seconds,
            "overrides": options.overrides,
            "recipe": options.recipe,
            "log": list(options.log),
            "init": None if options.init is None else str(options.init),
            "seconds": round(self._write_time - self._start_time, 1),
        }
        write_json(self._path, saved_options)

    def write_if_due(self) -> None:
        """Write the file if it was last written more than some seconds ago."""
        if time.monotonic() - self._write_time > _WRITE_SECONDS:
            self.write()
