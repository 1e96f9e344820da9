"""Print what all verbs have to print: progress, durations, notes and failures.

Progress is live bars with an ETA on a terminal, and a plain line now and then elsewhere.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from medseg.cli.output.records import emit
from medseg.cli.parsing.hints import with_owners
from medseg.core.progress import Callback, Progress
from medseg.core.wording import counted, duration, fold_repeated

if TYPE_CHECKING:
    from rich.table import Column

_MOST_WARNINGS = 40
"""Warnings on answers that are printed while the work goes on."""
_PLAIN_SECONDS = 15.0
"""Time between two plain lines: a log of an hour stays readable."""
_TITLES = {
    "fingerprint": "Reading scans",
    "preprocess": "Preprocessing",
    "train": "Training",
    "calibrate": "Calibrating",
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

_COMMAND = re.compile(r"(?<![\w./-])medseg [a-z]")
"""The beginning of a command in a text."""
_RECORD_SECONDS = 1.0
"""Time between two records of progress in a stage."""
_FIGURES = {"loss": "loss {:.3f}", "steps_per_second": "{:.1f} steps/s"}
"""Figures of an event that are no scores of structures, and how they are written."""
_TITLE_WIDTH, _NARROW_BAR, _WIDE_BAR, _WIDE_TERMINAL = 14, 10, 28, 110
"""Letters of the columns of a progress bar, and the width of a terminal from which on the bar is wide."""
_TIMES_WIDTH = 26
"""Letters of the times gone and left, of the word between them, and of the gaps between all columns."""

console = Console(highlight=False, emoji=False)


@contextmanager
def progress_display() -> Iterator[Callback]:
    """Yield a callback that shows the progress of long work while the block lasts, and writes records of it."""
    if not console.is_terminal:
        yield recorded(_PlainLines())
        return
    columns = (
        TextColumn(f"{{task.description:<{_TITLE_WIDTH}}}", table_column=_whole()),
        BarColumn(bar_width=_WIDE_BAR if console.width >= _WIDE_TERMINAL else _NARROW_BAR, table_column=_whole()),
        MofNCompleteColumn(table_column=_whole()),
        TimeElapsedColumn(table_column=_whole()),
        TextColumn("left", table_column=_whole()),
        TimeRemainingColumn(table_column=_whole()),
        TextColumn("{task.fields[figures]}", markup=False, table_column=_whole()),
    )
    with Bars(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}
        texts = _Texts()

        def show(event: Progress) -> None:
            texts.show(event)
            _show_validation(event)
            title = _title(event)
            if title not in tasks:
                tasks[title] = bars.add_task(title, total=event.total, figures="")
            done = _units_done(event)
            figures = _figures(event.info, _room_for_figures(title, event.total))
            bars.update(tasks[title], completed=done, total=event.total, figures=figures)

        yield recorded(show)


def recorded(show: Callback, clock: Callable[[], float] = time.monotonic) -> Callback:
    """Return a callback that also writes records of progress: begin and end of each stage, one a second, each warning.

    Args:
        show: shows each event.
        clock: returns seconds.
    """
    written: dict[tuple[str, Any], tuple[float, int]] = {}

    def callback(event: Progress) -> None:
        part = event.info.get("part")
        stage, now = (event.stage, part), clock()
        before, done = written.get(stage, (-_RECORD_SECONDS, -1))
        ends = event.done == event.total != done
        doubted = {name: event.info[name] for name in ("case", "warning") if "warning" in event.info}
        if ends or done < 0 or doubted or now - before >= _RECORD_SECONDS:
            written[stage] = now, event.done
            figures = {name: value for name, value in event.info.items() if isinstance(value, float)}
            counts = {"stage": event.stage, "part": part, "done": event.done, "total": event.total}
            emit("progress", **counts, figures=figures, **doubted)
        show(event)

    return callback


def _whole() -> Column:
    """Return a column that rich does not shrink: figures that do not fit are left out whole (`_room_for_figures`)."""
    from rich.table import Column

    return Column(no_wrap=True, overflow="ignore")


def _room_for_figures(title: str, total: int) -> int:
    """Return how many letters of a line are left beside name, bar, count and times."""
    bar = _WIDE_BAR if console.width >= _WIDE_TERMINAL else _NARROW_BAR
    count = 2 * len(str(total)) + 1
    return console.width - max(_TITLE_WIDTH, len(title)) - bar - count - _TIMES_WIDTH


@dataclass
class _Stage:
    """A stage that is under way.

    Attributes:
        title: its name.
        start: when it began, in seconds.
        last_line: when it was last printed, in seconds.
        first_done: units that were done when it began: a resumed run begins with some.
    """

    title: str
    start: float
    last_line: float
    first_done: float


class _Texts:
    """Prints what events say beside their figures: each note once, and the first warnings on answers."""

    def __init__(self) -> None:
        self.notes: set[str] = set()
        self.warnings = 0

    def show(self, event: Progress) -> None:
        """Print the note and the warning of an event, if it has any."""
        note, warning = event.info.get("note"), event.info.get("warning")
        if note is not None and note not in self.notes:
            self.notes.add(note)
            show_note(note)
        if warning is not None:
            self.warnings += 1
            if self.warnings <= _MOST_WARNINGS:
                console.print(f"warning: {event.info['case']}: {warning}", markup=False, soft_wrap=True)
            elif self.warnings == _MOST_WARNINGS + 1:
                console.print("warning: there are more; volumes.csv will have them all")


class _PlainLines:
    """A callback that prints a line for each stage, and one every `_PLAIN_SECONDS` within it.

    The parts of a verb, such as the folds that a cluster trains, may be under way side by side.
    """

    def __init__(self) -> None:
        self.stages: dict[str | None, _Stage] = {}  # of each part
        self.texts = _Texts()

    def __call__(self, event: Progress) -> None:
        self.texts.show(event)
        _show_validation(event)
        now, done, title, part = time.monotonic(), _units_done(event), _title(event), event.info.get("part")
        if part not in self.stages or self.stages[part].title != title:
            self.stages[part] = _Stage(title, now, now, done)
        stage, finished = self.stages[part], event.done == event.total
        if not finished and (done <= stage.first_done or now - stage.last_line < _PLAIN_SECONDS):
            return
        stage.last_line = now
        elapsed = now - stage.start
        remaining = 0.0 if finished else elapsed / (done - stage.first_done) * (event.total - done)
        time_left = "" if finished else f", {duration(remaining)} left"
        figures = _figures(event.info)
        console.print(
            f"{title}: {event.done}/{event.total} in {duration(elapsed)}{time_left}{'  ' + figures if figures else ''}",
            markup=False,
        )


def _title(event: Progress) -> str:
    """Return the name of a stage and, if a verb repeats it, the part of the work that it belongs to, such as a fold."""
    title, part = _TITLES.get(event.stage, event.stage), event.info.get("part")
    return title if part is None else f"{title} {part}"


def _units_done(event: Progress) -> float:
    """Return the number of finished units plus the finished share of the current one."""
    return event.done + float(event.info.get("share", 0.0))


def _show_validation(event: Progress) -> None:
    """Print the scores of a validation, if the event has them."""
    if "validation" in event.info:
        from medseg.cli.output.validation import validation_lines

        for line in validation_lines(event.done, event.total, event.info["validation"]):
            console.print(line, markup=False, soft_wrap=True)


def _figures(info: dict[str, Any], room: int | None = None) -> str:
    """Return the figures of an event, the mean Dice first; as many as there is room for.

    >>> _figures({"loss": 0.5, "steps_per_second": 2.0, "Anterior": 0.75, "Posterior": 0.85}, 40)
    'mean Dice 0.800  loss 0.500  2.0 steps/s'
    """
    scores = {
        name: value for name, value in info.items() if isinstance(value, float) and name not in ("share", *_FIGURES)
    }
    texts = [f"mean Dice {sum(scores.values()) / len(scores):.3f}"] if len(scores) > 1 else []
    texts += [form.format(info[name]) for name, form in _FIGURES.items() if isinstance(info.get(name), float)]
    texts += [f"{name} {value:.3f}" for name, value in scores.items()]
    line = ""
    for text in texts:
        longer = f"{line}  {text}" if line else text
        if room is not None and len(longer) > room:
            break
        line = longer
    return line


def show_note(message: str) -> None:
    """Print what is worth knowing, and write it as a record."""
    emit("note", message=message)
    console.print(f"note: {message}", markup=False)


def show_notes(notes: Sequence[str], total: int | None = None, word: str = "note") -> None:
    """Print notes, repeated ones as one, and write each of them as a record.

    Args:
        notes: sentences; those on a case begin with its name and a colon.
        total: the number of all cases, if it is known.
        word: before each of them in the terminal; the records are notes whatever it is.
    """
    for note in notes:
        emit("note", message=note)
    for note in fold_repeated(notes, total=total):
        # a command stays in one piece, so that it can be copied: the terminal folds it without a line break
        console.print(f"{word}: {note}", markup=False, soft_wrap=_COMMAND.search(note) is not None)


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
        for line in fold_repeated([f"{name}: {reason}" for name, reason in failed.items()], name_all=True):
            console.print(f"  {line}", markup=False)
