"""Progress of long work, as events that a callback receives.

A callback is any function of one `Progress`. It may raise `medseg.Cancelled` to stop the call: what was
finished stays on disk, and nothing half-written is left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """One event: `done` of `total` units of `stage` are finished; `info` holds figures worth showing."""

    stage: str
    done: int
    total: int
    info: dict[str, Any] = field(default_factory=dict)


Callback = Callable[[Progress], None]


def silent(event: Progress) -> None:
    """The default callback: show nothing."""


def track(items: Iterable[T], stage: str, total: int, callback: Callback) -> Iterator[T]:
    """Yield `items`, reporting after each that one more unit of `stage` is done."""
    callback(Progress(stage, 0, total))
    for done, item in enumerate(items, start=1):
        yield item
        callback(Progress(stage, done, total))
