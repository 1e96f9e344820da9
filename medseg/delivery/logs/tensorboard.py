"""Log a run for TensorBoard: event files in the folder `tensorboard/` of the run. Optional: the extra `tensorboard`."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from medseg.delivery.logs.protocol import PICTURE, RunLog

_EVENTS = "events.out.tfevents.*"
_FLUSH_SECONDS = 10


class TensorBoardLog(RunLog):
    """Event files, begun anew in each session: the run's own log has all figures of the sessions before.

    Going on in an old file would need a look at what a kill left in it. A TensorBoard that is open drops what it has
    read from there, as the first event asks for it (`purge_step`).

    Args:
        folder: folder of the event files.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        for path in folder.glob(_EVENTS):
            with suppress(OSError):  # on Windows while TensorBoard reads it: its events are dropped all the same
                path.unlink()
        self._writer = SummaryWriter(str(folder), purge_step=0, flush_secs=_FLUSH_SECONDS)

    def add(self, step: int, figures: Mapping[str, float], time_seconds: float) -> None:
        """Write figures.

        Args:
            step: number of steps that were done.
            figures: {name: value}.
            time_seconds: seconds since 1970.
        """
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step, time_seconds)

    def add_picture(self, step: int, png: bytes, time_seconds: float) -> None:
        """Write a picture.

        Args:
            step: number of steps that were done.
            png: the content of a PNG file.
            time_seconds: seconds since 1970.
        """
        import numpy as np
        from PIL import Image as pillow

        pixels = np.asarray(pillow.open(io.BytesIO(png)).convert("RGB"))
        self._writer.add_image(PICTURE, pixels, step, time_seconds, dataformats="HWC")
        self._writer.flush()

    def close(self, finished: bool) -> None:
        """Write what has not been written yet, and close the file.

        Args:
            finished: whether all steps of the run are done.
        """
        self._writer.close()
