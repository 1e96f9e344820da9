"""Choose which options `--help` shows of a verb that has many; `--help-all` shows every option."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Sequence
from typing import Annotated, Any

import typer

HELP_ALL = "--help-all"


def first_sentence(text: str) -> str:
    """Return the first sentence of a description, without what follows a semicolon.

    >>> first_sentence("Name: 2d, ...; may be left out."), first_sentence("A list (of a; b). More."), first_sentence("")
    ('Name: 2d, ...', 'A list (of a; b).', '')
    """
    ends = [match.start() for match in re.finditer(r";\s|(?<=[\w)'])\.\s", text)]
    end = next((end for end in ends if text.count("(", 0, end) == text.count(")", 0, end)), len(text))
    return text[:end] if text[:end].endswith(".") or not text else text[:end] + "."


def shorten(params: Sequence[Any], often: Collection[str]) -> None:
    """Hide the rarely used options of a verb, and shorten the descriptions of the others.

    Args:
        params: click's parameters, which are changed.
        often: the options that most need, as they are typed; none for a verb that shows all of its options.
    """
    if not often:
        return
    hidden = 0
    for param in params:
        if param.param_type_name != "option" or {HELP_ALL, "--help"}.intersection(param.opts):
            continue
        if {*often, "--json"}.intersection(param.opts):
            param.help, param.rich_help_panel = first_sentence(param.help or ""), None
        else:
            param.hidden = True
            hidden += 1
    for param in params:
        if HELP_ALL in param.opts:
            param.help = f"Show the other {hidden} options, too, and more about each."


def _show_all(ctx: typer.Context, is_given: bool) -> None:
    """Print the help with every option, and end the command."""
    if is_given and not ctx.resilient_parsing:
        ctx.meta[HELP_ALL] = True
        typer.echo(ctx.get_help())
        raise typer.Exit


HELP_ALL_TYPE = Annotated[
    bool,
    typer.Option(HELP_ALL, help="Show every option, and more about each.", callback=_show_all, is_eager=True),
]
HELP_ALL_PARAMETER = inspect.Parameter(
    "help_all_", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=HELP_ALL_TYPE
)
"""The option, as `medseg.cli.parsing.signature` adds it to every verb."""
