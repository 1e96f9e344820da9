"""The command line: verbs, exit codes, and errors as one clear message.

Exit codes: 0 all well, 1 some cases failed, 2 nothing could be done.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from medseg import __version__
from medseg.cli.records import refusal, with_records
from medseg.cli.signature import NNUNetHints, PlainHelp, VerbCommand, typer_function
from medseg.core.errors import MedsegError
from medseg.core.stopping import stoppable

VERBS = {
    "check": "check:command",
    "series": "series:command",
    "labelme": "labelme:command",
    "plan": "plan:command",
    "train": "train:command",
    "predict": "predict:command",
    "watch": "watch:command",
    "evaluate": "evaluate:command",
    "dicom": "dicom:command",
    "report": "report:command",
    "package": "models:package_command",
    "import-nnunet": "models:import_command",
    "verify": "verify:command",
    "demo": "demo:command",
}
"""Every verb with its module in this folder and its function there, in the order of `medseg --help`."""
_STOPPED = (
    "Stopped.",
    "What was finished is on disk. Give the same command again or, if training had begun, `medseg train --resume`.",
)


def verb_function(verb: str) -> Callable[..., None]:
    """Return the function of a verb, whose parameters and docstring make its command line."""
    module, name = VERBS[verb].split(":")
    function: Callable[..., None] = getattr(import_module(f"medseg.cli.{module}"), name)
    return function


def verb_command(verb: str) -> Any:
    """Return the typer command of a verb."""
    alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
    kind = NNUNetHints if verb in ("predict", "watch") else VerbCommand
    alone.command(verb, cls=kind)(with_records(verb, typer_function(verb_function(verb))))
    return typer.main.get_command(alone)


class _Verbs(PlainHelp, TyperGroup):
    """All verbs. The module of a verb is imported when the verb is used, so that others cost no time."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        names: Any = dict.fromkeys(VERBS)  # typer suggests these for a mistyped one
        self.commands = names

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the verbs."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of a verb; None if there is no such verb."""
        if cmd_name in self.commands and self.commands[cmd_name] is None:
            self.commands[cmd_name] = verb_command(cmd_name)
        return self.commands.get(cmd_name)

    def invoke(self, ctx: Any) -> Any:
        """Run the verb that was given; where it is interrupted, typer would end it without a word."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise MedsegError(*_STOPPED) from None


app = typer.Typer(
    name="medseg",
    cls=_Verbs,
    help="Segment medical images: look at a folder of scans, plan, train, predict, evaluate.",
    epilog="Start with: medseg demo. Then: medseg plan dataset/ && medseg train && medseg predict scans/ out/",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"medseg {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Segment medical images: look at a folder of scans, plan, train, predict, evaluate."""


def main() -> None:
    """Run the command line; every error that a user can cause ends in a message and an exit code.

    So do Ctrl-C and SIGTERM, whenever they come.
    """
    with stoppable():
        sys.exit(_run())


def _run() -> int:
    """Run the command line and tell what went wrong; the exit code."""
    try:
        return int(app(prog_name="medseg", standalone_mode=False) or 0)
    except (Exception, KeyboardInterrupt) as error:
        told = _explained(error)
        if told is None:
            refusal(f"{type(error).__name__}: {error}", "This is an error in medseg itself; please report it.", 1)
            raise
        refusal(*told, exit_code=2)
        if hasattr(error, "show"):  # what click raises for wrong arguments shows itself, with the usage
            error.show()
        else:
            _complain(*told)
    return 2


def _explained(error: BaseException) -> tuple[str, str | None] | None:
    """What a user is told of an error, and what to do; None if it is medseg's own fault."""
    if isinstance(error, MedsegError):
        return error.message, error.hint
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return _STOPPED
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), None
    if hasattr(error, "format_message"):  # click's
        return error.format_message(), None
    return None


def _complain(message: str, hint: str | None) -> None:
    from rich.console import Console

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print("error: ", style="bold red", end="")
    console.print(message, markup=False)
    if hint:
        console.print("hint:  ", style="bold cyan", end="")
        console.print(hint, markup=False)
