"""The command line: verbs, exit codes, and errors as one clear message.

Exit codes: 0 all well, 1 some cases failed, 2 nothing could be done.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from medseg import __version__
from medseg.cli import (
    check,
    demo,
    dicom,
    evaluate,
    import_nnunet,
    labelme,
    package,
    plan,
    predict,
    report,
    series,
    train,
    verify,
    watch,
)
from medseg.cli.records import refusal, with_records
from medseg.cli.signature import PlainHelp, VerbCommand, typer_function
from medseg.core.errors import MedsegError
from medseg.core.stopping import stoppable


class _Verbs(PlainHelp, TyperGroup):
    """All verbs; typer ends an interrupted one without a word."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb that was given."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise MedsegError(*_STOPPED) from None


_STOPPED = (
    "Stopped.",
    "What was finished is on disk. Give the same command again or, if training had begun, `medseg train --resume`.",
)
app = typer.Typer(
    name="medseg",
    cls=_Verbs,
    help="Segment medical images: look at a folder of scans, plan, train, predict, evaluate.",
    epilog="Start with: medseg demo. Then: medseg plan dataset/ && medseg train && medseg predict scans/ out/",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
VERBS: dict[str, Callable[..., None]] = {
    "check": check.command,
    "series": series.command,
    "labelme": labelme.command,
    "plan": plan.command,
    "train": train.command,
    "predict": predict.command,
    "watch": watch.command,
    "evaluate": evaluate.command,
    "dicom": dicom.command,
    "report": report.command,
    "package": package.command,
    "import-nnunet": import_nnunet.command,
    "verify": verify.command,
    "demo": demo.command,
}
_COMMAND_CLASSES: dict[str, type[VerbCommand]] = {"predict": predict.Command, "watch": predict.Command}
for _name, _verb in VERBS.items():
    app.command(_name, cls=_COMMAND_CLASSES.get(_name, VerbCommand))(with_records(_name, typer_function(_verb)))


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
