"""The command line: the table of verbs, exit codes, and errors as one message each.

A verb is a function in this folder (`VERBS`), which calls that of the Python API and prints the result. Its parameters,
its options dataclass and its docstring make the command line (`medseg.cli.parsing.signature`).

Exit codes: 0 all well, 1 some cases failed, 2 nothing could be done or SIGTERM came, 3 a limit of `evaluate
--fail-below` was missed, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from medseg import __version__
from medseg.cli.output.records import record_error
from medseg.cli.parsing.hints import with_owners
from medseg.cli.parsing.other_tools import OTHER_OPTIONS, OtherToolsHints, explain_verb
from medseg.cli.parsing.short_help import HELP_ALL_TYPE
from medseg.cli.parsing.signature import PlainHelp, VerbCommand, typer_function
from medseg.core.errors import MedsegError, Stopped
from medseg.core.machine.host_memory import MEMORY_ADVICE
from medseg.core.machine.stopping import exit_code_stopped, stoppable

VERBS = {
    "check": "check:command",
    "series": "series:command",
    "info": "look:info_command",
    "labelme": "labelme:command",
    "plan": "plan:command",
    "networks": "networks:command",
    "train": "train:command",
    "crossval": "crossval:command",
    "select": "select:command",
    "predict": "predict:command",
    "rank": "rank:command",
    "view": "look:view_command",
    "watch": "watch:command",
    "evaluate": "evaluate:command",
    "dicom": "dicom:command",
    "codes": "codes:command",
    "report": "run_records:report_command",
    "quantize": "models:quantize_command",
    "package": "models:package_command",
    "export": "models:export_command",
    "import-nnunet": "models:import_command",
    "verify": "run_records:verify_command",
    "demo": "demo:command",
    "doctor": "doctor:command",
}
"""Every verb with its module in this folder and its function there, in the order of `medseg --help`."""
_STOPPED = (
    "Stopped.",
    "What was finished is on disk. Give the same command again; `medseg train` with --resume, if training had begun.",
)


def verb_function(verb: str) -> Callable[..., None]:
    """Return the function of a verb, whose parameters and docstring make its command line."""
    module, name = VERBS[verb].split(":")
    function: Callable[..., None] = getattr(import_module(f"medseg.cli.{module}"), name)
    return function


def verb_command(verb: str) -> Any:
    """Return the typer command of a verb."""
    alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
    kind = OtherToolsHints if verb in OTHER_OPTIONS else VerbCommand
    alone.command(verb, cls=kind)(typer_function(verb, verb_function(verb)))
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

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the verb that was typed; for a command of another tool, say what to type here.

        Args:
            ctx: The context of click.
            args: What was typed, the verb first.
        """
        if args[0] not in VERBS and (explanation := explain_verb(args[0])) is not None:
            ctx.fail(explanation)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the verb that was typed. On Ctrl-C typer would end it without a message; here it gets one."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Stopped(*_STOPPED) from None


app = typer.Typer(
    name="medseg",
    cls=_Verbs,
    help="Segment medical images: look at a folder of scans, plan, train, predict, evaluate.",
    epilog="Start with: medseg demo. Then: medseg plan dataset/ && medseg train && medseg predict scans/ out/",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_given: bool) -> None:
    if is_given:
        typer.echo(f"medseg {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
    help_all: HELP_ALL_TYPE = False,
) -> None:
    """Segment medical images: look at a folder of scans, plan, train, predict, evaluate."""


def main() -> None:
    """Run the command line, and end the process with an exit code.

    Every error that a user can cause ends in one message; so do Ctrl-C, SIGTERM and SIGHUP, whenever they come.
    """
    with stoppable():
        sys.exit(_run())


def _run() -> int:
    """Run the command line, print what went wrong, and return the exit code."""
    try:
        return int(app(prog_name="medseg", standalone_mode=False) or 0)
    except (Exception, KeyboardInterrupt) as error:
        explanation = _explain(error)
        if explanation is None:
            record_error(f"{type(error).__name__}: {error}", "This is an error in medseg itself; please report it.", 1)
            raise
        stopped = isinstance(error, Stopped | KeyboardInterrupt | typer.Abort)
        code = exit_code_stopped() if stopped else 2
        record_error(*explanation, exit_code=code)
        if hasattr(error, "show"):  # click's errors on arguments print themselves, with the usage
            error.show()
        else:
            _print_error(*explanation)
    return code


def _explain(error: BaseException) -> tuple[str, str | None] | None:
    """Return the message and the hint for an error that a user can cause; None for an error in medseg itself."""
    if isinstance(error, MedsegError):
        return error.message, error.hint and with_owners(error.hint)
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return _STOPPED
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), None
    if _is_out_of_memory(error):
        first_line = (str(error).splitlines() or ["none is left"])[0]
        return f"There is not enough memory: {first_line}", MEMORY_ADVICE
    if hasattr(error, "format_message"):  # an error of click
        return error.format_message(), None
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out."""
    if "torch" not in sys.modules:  # whose errors on memory have types of their own
        return isinstance(error, MemoryError)
    from medseg.networks.device import is_out_of_memory

    return is_out_of_memory(error)


def _print_error(message: str, hint: str | None) -> None:
    from rich.console import Console

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print("error: ", style="bold red", end="")
    console.print(message, markup=False)
    if hint:
        console.print("hint:  ", style="bold cyan", end="")
        console.print(hint, markup=False)
