"""`medseg watch`."""

from __future__ import annotations

import inspect
from collections import Counter
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medseg.cli import predict
from medseg.cli.display import console, duration, parse_duration, show_note
from medseg.cli.records import emit, record_result

if TYPE_CHECKING:
    from medseg.commands.watch.watch import StudyEvent

_WHEN = "When"
_NOT_SHARED = ("source", "output", "keep")


def command(
    source: Annotated[
        Path, typer.Argument(help="Folder into which studies are copied: a folder, zip or scan each.", metavar="IN")
    ],
    output: Annotated[Path, typer.Argument(help="Folder for the answers: a folder a study.", metavar="OUT")],
    settle: Annotated[
        str,
        typer.Option(help="For how long nothing of a study must have changed: 10s, 2m.", rich_help_panel=_WHEN),
    ] = "10s",
    patience: Annotated[
        str,
        typer.Option(
            help="For how long a study may stay without its missing slices or files until it has failed.",
            rich_help_panel=_WHEN,
        ),
    ] = "5m",
    once: Annotated[
        bool, typer.Option("--once", help="Answer what is there and end: for cron.", rich_help_panel=_WHEN)
    ] = False,
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="Answer anew what changed since it was answered, what another model answered, and what failed.",
            rich_help_panel=_WHEN,
        ),
    ] = False,
    **shared: Any,
) -> None:
    """Answer studies as they arrive in a folder, each once, and none half-copied; the model stays loaded.

    OUT/watch.jsonl says what became of each study, and a new watch goes on from there. Ctrl-C or SIGTERM ends it.

    [bold]Examples[/]

    medseg watch incoming/ answers/ --model liver.medseg

    medseg watch incoming/ answers/ --write seg --settle 1m

    medseg watch incoming/ answers/ --once --json

    [bold]Exit code[/]: 0 ended as asked, 1 with --once some studies failed, 2 nothing could be done.
    """
    from medseg.commands.watch.options import WatchOptions
    from medseg.commands.watch.watch import watch

    options = WatchOptions(
        predict=predict.options_of(shared),
        settle_seconds=parse_duration(settle) or 0.0,
        patience_seconds=parse_duration(patience) or 0.0,
        once=once,
        again=again,
    )
    states: Counter[str] = Counter()
    try:
        with closing(watch(source, output, shared["model"], shared["workspace"], options)) as events:
            if not once:
                console.print(f"Watching {source}; the answers go to {output}. Ctrl-C ends.", markup=False)
            for event in events:
                states[event.state] += 1
                _tell(event)
    except KeyboardInterrupt:
        console.print("Stopped.")
    counts = {state: states[state] for state in ("done", "failed", "changed", "waiting")}
    record_result(folder=output, **counts)
    if once:
        told = ", ".join(f"{count} {state}" for state, count in counts.items() if count or state == "done")
        console.print(f"{told}; {output / 'watch.jsonl'} says what became of each", markup=False)
    raise typer.Exit(1 if once and states["failed"] else 0)


def _signature() -> inspect.Signature:
    """The arguments above and those that are the same for `medseg predict`, which describes them."""
    own = [one for one in inspect.signature(command, eval_str=True).parameters.values() if one.name != "shared"]
    of_predict = inspect.signature(predict.command, eval_str=True).parameters.values()
    shared = [one for one in of_predict if one.name not in _NOT_SHARED]
    return inspect.Signature([one.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD) for one in (*own, *shared)])


command.__signature__ = _signature()  # type: ignore[attr-defined]


def _tell(event: StudyEvent) -> None:
    """A line for people, a record for programs."""
    if event.state == "note":
        show_note(str(event.message))
        return
    result = event.result
    about: dict[str, Any] = {"folder": event.folder, "problem": event.message}
    if result is not None:
        cases = [
            {"case": case, "file": file, "volumes": result.volumes[case], "unit": result.units[case]}
            for case, file in result.files.items()
        ]
        about |= {"cases": cases, "seconds": round(event.seconds, 3)}
        for note in result.notes:
            show_note(f"{event.study}: {note}")
    emit("study", study=event.study, state=event.state, **about)
    clock, told = datetime.now().strftime("%H:%M:%S"), f": {event.message}" if event.message else ""
    made = f" in {duration(event.seconds)}, {event.folder}" if result is not None else ""
    console.print(f"{clock} {event.study}: {event.state}{made}{told}", markup=False, soft_wrap=True)
