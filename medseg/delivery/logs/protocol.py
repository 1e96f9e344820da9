"""The protocol of logs for other programs, and the names that figures of a run's records have in them."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

PICTURE = "slices"
"""Name of the pictures of the same slices after each validation."""
_SCORES = {"dice": "dice", "iou": "iou", "train_dice": "train_dice", "train_iou": "train_iou"}
"""Key of a validation's record -> group of its figures."""
_MEAN = "mean of structures"


class RunLog(ABC):
    """A log of one run, open for writing. Its methods may raise whatever their library raises.

    Attributes:
        last_step: figures up to this step are in it; -1 where it is empty.
    """

    last_step: int = -1

    @abstractmethod
    def add(self, step: int, figures: Mapping[str, float], time_seconds: float) -> None:
        """Write figures.

        Args:
            step: number of steps that were done.
            figures: {name: value}, the name with its group before a slash.
            time_seconds: seconds since 1970.
        """

    @abstractmethod
    def add_picture(self, step: int, png: bytes, time_seconds: float) -> None:
        """Write a picture.

        Args:
            step: number of steps that were done.
            png: the content of a PNG file.
            time_seconds: seconds since 1970.
        """

    @abstractmethod
    def close(self, finished: bool) -> None:
        """Write what has not been written yet, and close the files.

        Args:
            finished: whether all steps of the run are done.
        """


def figures_of(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of a record of the run's log by their names in other programs.

    Losses that are not numbers stay, as they are what one looks for; a score that is not defined is left out.

    >>> figures_of({"kind": "train", "step": 10, "loss": 0.5, "learning_rate": 0.01, "seconds": 3.0})
    {'loss/train': 0.5, 'learning_rate': 0.01}
    >>> figures_of({"kind": "validation", "step": 10, "dice": {"liver": 0.5, "left/lung": None}, "loss": 0.75})
    {'loss/validation': 0.75, 'dice/liver': 0.5, 'dice/mean of structures': 0.5}
    """
    if record["kind"] == "train":
        names = {"loss": "loss/train", "learning_rate": "learning_rate", "skipped": "skipped_steps"}
        return {name: float(record[key]) for key, name in names.items() if record.get(key) is not None}
    figures: dict[str, float] = {} if record.get("loss") is None else {"loss/validation": float(record["loss"])}
    for key, group in _SCORES.items():
        scores = record.get(key) or {}
        known = [value for value in scores.values() if value is not None and math.isfinite(value)]
        for name, value in zip(file_names([*scores]), scores.values(), strict=True):
            if value is not None:
                figures[f"{group}/{name}"] = float(value)
        figures |= {f"{group}/{_MEAN}": sum(known) / len(known)} if known else {}
    return figures


def file_names(structures: Sequence[str]) -> list[str]:
    """Return names of structures as MLflow takes them, which makes them names of files; different ones stay different.

    >>> file_names(["liver", "Liver", "lung (left)", "lung [left]", "肝臓", "../x"])
    ['liver', 'Liver 2', 'lung _left_', 'lung _left_ 2', '肝臓', '___x']
    """
    names: list[str] = []
    used = {_MEAN}
    for structure in structures:
        plain = re.sub(r"[^\w -]", "_", structure).strip() or "_"
        name, number = plain, 1
        while name.casefold() in used:  # some file systems do not tell capitals from small letters
            number += 1
            name = f"{plain} {number}"
        used.add(name.casefold())
        names.append(name)
    return names
