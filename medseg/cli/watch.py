"""`medseg watch`."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medseg.cli.output.display import console, show_note
from medseg.cli.output.records import emit, record_result
from medseg.commands.watch.options import WatchOptions
from medseg.core.options import OFTEN, Option
from medseg.core.wording import duration

if TYPE_CHECKING:
    from medseg.commands.watch.watch import StudyEvent


def command(
    *,
    source: Annotated[Path, Option(metavar="IN")],
    output: Annotated[Path, Option(metavar="OUT")],
    model: Annotated[str | None, Option("--model -m", "Which model", "MODEL"), OFTEN] = None,
    options: WatchOptions,
    workspace: Annotated[Path, Option(group="Where, and what is kept"), OFTEN] = Path("."),
) -> None:
    """Segment studies as they arrive in a folder, each once and when it is copied completely; the model stays loaded.

    OUT/watch.jsonl says what became of each study, and a new watch goes on from there. Ctrl-C or SIGTERM ends it.

    Exit code: 0 ended as asked, 1 with --once some studies failed, 2 nothing could be done.

    Args:
        source: Folder into which studies are copied: a folder, zip or scan each.
        output: Folder for the answers: a folder for each study.
        model: A run's folder, PLAN/CONFIG, a .medseg package, or a model folder or zip of nnU-Net. May be left out if
            the workspace has one trained model.
        options: When a study is answered, and how.
        workspace: Folder with plans/, runs/ and cache/.

    Examples:
        medseg watch incoming/ answers/ --model liver.medseg
        medseg watch incoming/ answers/ --write seg --settle 1m
        medseg watch incoming/ answers/ --once --json
    """
    from medseg.commands.watch.watch import watch

    states: Counter[str] = Counter()
    shown: set[str] = set()
    try:
        with closing(watch(source, output, model, workspace, options)) as events:
            if not options.once:
                console.print(f"Watching {source}; the answers go to {output}. Ctrl-C ends.", markup=False)
            for event in events:
                states[event.state] += 1
                _show(event, shown)
    except KeyboardInterrupt:
        console.print("Stopped.")
    counts = {state: states[state] for state in ("done", "failed", "changed", "waiting")}
    record_result(folder=output, **counts)
    if options.once:
        summary = ", ".join(f"{count} {state}" for state, count in counts.items() if count or state == "done")
        console.print(f"{summary}; {output / 'watch.jsonl'} says what became of each", markup=False)
    raise typer.Exit(1 if options.once and states["failed"] else 0)


def _show(event: StudyEvent, shown: set[str]) -> None:
    """Print what became of a study, and write it as a record; notes that were `shown` before are not repeated."""
    if event.state == "note":
        show_note(str(event.message))
        return
    result = event.result
    values: dict[str, Any] = {"folder": event.folder, "problem": event.message}
    if result is not None:
        cases = [
            {
                "case": case,
                "file": file,
                "volumes": result.volumes[case],
                "unit": result.units[case],
                "warnings": list(result.warnings.get(case, ())),
            }
            for case, file in result.files.items()
        ]
        values |= {"cases": cases, "seconds": round(event.seconds, 3)}
    emit("study", study=event.study, state=event.state, **values)
    clock = datetime.now().strftime("%H:%M:%S")
    answer = f" in {duration(event.seconds)}, {event.folder}" if result is not None else ""
    message = f": {event.message}" if event.message else ""
    console.print(f"{clock} {event.study}: {event.state}{answer}{message}", markup=False, soft_wrap=True)
    if result is not None:
        # most notes are on the model, and the same for every study
        notes = [*result.notes, *(entry.told() for entry in result.passed_over)]
        for note in [note for note in notes if note not in shown]:
            shown.add(note)
            show_note(f"{event.study}: {note}")
        for case, texts in result.warnings.items():
            show_note(f"{event.study}: {case}: {' '.join(texts)}")
