"""The command line: verbs, exit codes, and errors as one clear message.

Exit codes: 0 all well, 1 some cases failed, 2 nothing could be done.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from medseg import __version__
from medseg.cli import check, demo, evaluate, import_nnunet, labelme, package, plan, predict, report, train
from medseg.errors import MedsegError

app = typer.Typer(
    name="medseg",
    help="Segment medical images: look at a folder of scans, plan, train, predict, evaluate.",
    epilog="Start with: medseg demo. Then: medseg plan dataset/ && medseg train && medseg predict scans/ out/",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("check")(check.command)
app.command("labelme")(labelme.command)
app.command("plan")(plan.command)
app.command("train")(train.command)
app.command("predict", cls=predict.Command)(predict.command)
app.command("evaluate")(evaluate.command)
app.command("report")(report.command)
app.command("package")(package.command)
app.command("import-nnunet")(import_nnunet.command)
app.command("demo")(demo.command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"medseg {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Segment medical images: look at a folder of scans, plan, train, predict, evaluate."""


def main() -> None:
    """Run the command line; every error that a user can cause ends in a message and an exit code."""
    try:
        sys.exit(app(standalone_mode=False))
    except MedsegError as error:
        _complain(error.message, error.hint)
    except (KeyboardInterrupt, typer.Abort):
        _complain("Stopped.", "What was finished is on disk; a training run goes on with `medseg train --resume`.")
    except OSError as error:
        _complain(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), None)
    except Exception as error:
        show = getattr(error, "show", None)  # what click raises for wrong arguments shows itself
        if show is None:
            raise
        show()
    sys.exit(2)


def _complain(message: str, hint: str | None) -> None:
    from rich.console import Console

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print("error: ", style="bold red", end="")
    console.print(message, markup=False)
    if hint:
        console.print("hint:  ", style="bold cyan", end="")
        console.print(hint, markup=False)
