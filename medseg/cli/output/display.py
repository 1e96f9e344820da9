"""What every verb prints in one way: progress, durations, notes, and what failed.

Progress is live bars with an ETA on a terminal, and a plain line now and then elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from medseg.cli.output.records import emit
from medseg.cli.parsing.hints import with_owners
from medseg.core.progress import Callback, Progress
from medseg.core.wording import counted

_PLAIN_SECONDS = 15.0
"""Time between two plain lines: a log of an hour stays readable."""
_TITLES = {
    "fingerprint": "Reading scans",
    "preprocess": "Preprocessing",
    "train": "Training",
    "validate": "Validating",
    "predict": "Segmenting",
    "evaluate": "Scoring",
    "phantom": "Making scans",
    "labelme": "Drawing masks",
    "pictures": "Drawing cases",
    "headers": "Reading headers",
    "folds": "Folds",
    "networks": "Making networks",
    "workers": "Workers",
}

console = Console(highlight=False, emoji=False)


@contextmanager
def progress_display() -> Iterator[Callback]:
    """Yield a callback that shows the progress of long work while the block lasts."""
    if not console.is_terminal:
        yield _PlainLines()
        return
    columns = (
        TextColumn("{task.description:<14}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
    )
    with Bars(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}
        notes: set[str] = set()

        def show(event: Progress) -> None:
            _show_note_once(event, notes)
            _show_validation(event)
            title = _title(event)
            if title not in tasks:
                tasks[title] = bars.add_task(title, total=event.total, figures="")
            figures, done = _figures(event.info), _units_done(event)
            bars.update(tasks[title], completed=done, total=event.total, figures=figures)

        yield show


class _PlainLines:
    """A callback that prints a line for each stage, and one every `_PLAIN_SECONDS` within it."""

    def __init__(self) -> None:
        self.title = ""
        self.stage_start = self.last_line = 0.0  # seconds
        self.first_done = 0.0  # units that were done when the stage began: a resumed run begins with some
        self.notes: set[str] = set()

    def __call__(self, event: Progress) -> None:
        _show_note_once(event, self.notes)
        _show_validation(event)
        now, done, title = time.monotonic(), _units_done(event), _title(event)
        if title != self.title:
            self.title, self.stage_start, self.last_line, self.first_done = title, now, now, done
        finished = event.done == event.total
        if not finished and (done <= self.first_done or now - self.last_line < _PLAIN_SECONDS):
            return
        self.last_line = now
        elapsed = now - self.stage_start
        remaining = 0.0 if finished else elapsed / (done - self.first_done) * (event.total - done)
        time_left = "" if finished else f", {duration(remaining)} left"
        figures = _figures(event.info)
        console.print(
            f"{title}: {event.done}/{event.total} in {duration(elapsed)}{time_left}{'  ' + figures if figures else ''}",
            markup=False,
        )


def _title(event: Progress) -> str:
    """Return the name of a stage, with the part of a verb that does it several times."""
    title, part = _TITLES.get(event.stage, event.stage), event.info.get("part")
    return title if part is None else f"{title} {part}"


def _units_done(event: Progress) -> float:
    """Return the units that are done, with the share of the one that is under way."""
    return event.done + float(event.info.get("share", 0.0))


def _show_note_once(event: Progress, shown: set[str]) -> None:
    """Print the note of an event unless it was shown before."""
    note = event.info.get("note")
    if note is not None and note not in shown:
        shown.add(note)
        show_note(note)


def _show_validation(event: Progress) -> None:
    """Print the scores of a validation, if the event has them."""
    if "validation" in event.info:
        from medseg.cli.output.validation import validation_lines

        for line in validation_lines(event.done, event.total, event.info["validation"]):
            console.print(line, markup=False, soft_wrap=True)


def _figures(info: dict[str, Any]) -> str:
    texts = []
    for name, value in info.items():
        if name == "steps_per_second":
            texts.append(f"{value:.1f} steps/s")
        elif isinstance(value, float) and name != "share":
            texts.append(f"{name} {value:.3f}")
    return "  ".join(texts)


def duration(seconds: float) -> str:
    """Return seconds as people write them.

    >>> duration(45), duration(200), duration(7500)
    ('45 s', '3:20', '2:05:00')
    """
    total_seconds = round(seconds)
    if total_seconds < 60:
        return f"{total_seconds} s"
    minutes, rest = divmod(total_seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def show_note(message: str) -> None:
    """Print what is worth knowing, and write it as a record."""
    emit("note", message=message)
    console.print(f"note: {message}", markup=False)


def report_failures(failed: dict[str, str], what: str = "case", outcome: str = "failed", state: str = "failed") -> None:
    """Print the name and the reason of everything that failed, and write them as records.

    Args:
        failed: {name: reason}.
        what: What these are names of.
        outcome: What became of them, in the heading.
        state: The same in the records of --json.
    """
    failed = {name: with_owners(reason) for name, reason in failed.items()}
    for name, reason in failed.items():
        emit("case", case=name, state=state, problem=reason)
    if failed:
        console.print(f"\n[bold red]{counted(len(failed), what)} {outcome}:[/]")
        for name, reason in failed.items():
            console.print(f"  {name}: {reason}", markup=False)
