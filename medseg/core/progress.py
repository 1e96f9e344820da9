"""Progress of long work, as events that a callback receives.

A callback is any function that takes one `Progress`. It may raise `medseg.Cancelled` to stop the call: finished results
stay on disk, and nothing half-written is left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """One event of long work.

    Attributes:
        stage: name of the work, such as `train` or `predict`.
        done: how many of its units (cases, steps) are finished.
        total: how many units there are.
        info: further figures to show, by name, and texts: `note`, which is worth knowing, and `warning`, what speaks
            against the answer to `case`.
    """

    stage: str
    done: int
    total: int
    info: dict[str, Any] = field(default_factory=dict)


Callback = Callable[[Progress], None]


def silent(event: Progress) -> None:
    """Show nothing; the default callback."""


def track(items: Iterable[T], stage: str, total: int, callback: Callback) -> Iterator[T]:
    """Yield items, and report the number of finished ones to a callback.

    Args:
        items: the units of the work.
        stage: name of the work.
        total: how many items there are.
        callback: called once before the first item, and whenever the caller has finished with one.
    """
    callback(Progress(stage, 0, total))
    for done, item in enumerate(items, start=1):
        yield item
        callback(Progress(stage, done, total))
