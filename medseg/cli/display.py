"""Progress on a terminal as live bars with an ETA; plain lines now and then where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from medseg.cli.records import emit
from medseg.core.progress import Callback, Progress
from medseg.core.wording import counted

_PLAIN_SECONDS = 15.0
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
}

console = Console(highlight=False, emoji=False)


@contextmanager
def progress_display() -> Iterator[Callback]:
    """A callback that shows the progress of long work while the block lasts."""
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
        TextColumn("{task.fields[figures]}"),
    )
    with Bars(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}
        notes: set[str] = set()

        def show(event: Progress) -> None:
            _show_note(event, notes)
            title = _title(event)
            if title not in tasks:
                tasks[title] = bars.add_task(title, total=event.total, figures="")
            figures, done = _figures(event.info), _done(event)
            bars.update(tasks[title], completed=done, total=event.total, figures=figures)

        yield show


class _PlainLines:
    """One line a stage, and one every quarter of a minute."""

    def __init__(self) -> None:
        self.stage = ""
        self.began = self.shown = self.first = 0.0
        self.notes: set[str] = set()

    def __call__(self, event: Progress) -> None:
        _show_note(event, self.notes)
        now, done, title = time.monotonic(), _done(event), _title(event)
        if title != self.stage:
            self.stage, self.began, self.shown, self.first = title, now, now, done
        finished = event.done == event.total
        if not finished and (done <= self.first or now - self.shown < _PLAIN_SECONDS):
            return
        self.shown = now
        spent = now - self.began
        left = "" if finished else f", {duration(spent / (done - self.first) * (event.total - done))} left"
        figures = _figures(event.info)
        console.print(
            f"{title}: {event.done}/{event.total} in {duration(spent)}{left}{'  ' + figures if figures else ''}"
        )


def _title(event: Progress) -> str:
    """What is done, and of which part of a command that does it several times."""
    title, part = _TITLES.get(event.stage, event.stage), event.info.get("part")
    return title if part is None else f"{title} {part}"


def _done(event: Progress) -> float:
    """Units that are done, with the share of the one that is under way."""
    return event.done + float(event.info.get("share", 0.0))


def _show_note(event: Progress, shown: set[str]) -> None:
    """Print what a user should know now, once."""
    note = event.info.get("note")
    if note is not None and note not in shown:
        shown.add(note)
        show_note(note)


def _figures(info: dict[str, Any]) -> str:
    shown = []
    for name, value in info.items():
        if name == "steps_per_second":
            shown.append(f"{value:.1f} steps/s")
        elif isinstance(value, float) and name != "share":
            shown.append(f"{name} {value:.3f}")
    return "  ".join(shown)


def duration(seconds: float) -> str:
    """Seconds as people say them: 45 s, 3:20, 2:05:00."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def show_note(message: str) -> None:
    """Tell a user, or the program that asked for records, something worth knowing."""
    emit("note", message=message)
    console.print(f"note: {message}", markup=False)


def report_failures(failed: dict[str, str], what: str = "case", became: str = "failed", state: str = "failed") -> None:
    """Name every `what` that failed, and why.

    Args:
        became: what is said of them.
        state: what the records of --json call it.
    """
    for case, why in failed.items():
        emit("case", case=case, state=state, problem=why)
    if failed:
        console.print(f"\n[bold red]{counted(len(failed), what)} {became}:[/]")
        for case, why in failed.items():
            console.print(f"  {case}: {why}", markup=False)
