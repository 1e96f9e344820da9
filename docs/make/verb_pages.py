"""The reference of the command line: a page for each verb, made of the functions and dataclasses that make `--help`."""

from __future__ import annotations

import inspect

from medseg.cli.app import VERBS, verb_function
from medseg.cli.parsing.signature import Field, fields_of_function, flat, help_text

_JSON = "| `--json` | Print records for programs, one JSON object a line, instead of text. | |"


def pages() -> dict[str, str]:
    """Return the pages by their path on the site."""
    verbs = {f"reference/verbs/{verb}.md": _page(verb) for verb in VERBS}
    rows = [f"| [`medseg {verb}`]({verb}.md) | {_first_sentence(verb)} |" for verb in VERBS]
    index = ["# The command line", "", "| verb | what it does |", "|---|---|", *rows, ""]
    return {"reference/verbs/index.md": "\n".join(index), **verbs}


def _paragraphs(verb: str) -> list[str]:
    text = help_text(verb_function(verb)).replace("\\[", "[")
    return text.split("\n\n")


def _first_sentence(verb: str) -> str:
    return _paragraphs(verb)[0].split(". ")[0].rstrip(".") + "."


def _page(verb: str) -> str:
    words, _, examples = "\n\n".join(_paragraphs(verb)).partition("[bold]Examples[/]")
    lines = [f"# medseg {verb}", "", words.strip(), ""]
    if examples:
        lines += ["```sh", *(line for line in examples.strip().split("\n\n")), "```", ""]
    groups: dict[str, list[Field]] = {}
    for field in flat(fields_of_function(verb_function(verb))):
        heading = "Arguments" if field.is_argument else (field.option.group or "Options")
        groups.setdefault(heading, []).append(field)
    groups.setdefault("Options", [])
    for heading, fields in groups.items():
        lines += [f"## {heading}", "", "| name | meaning | default |", "|---|---|---|", *map(_row, fields)]
        lines += [_JSON, ""] if heading == "Options" else [""]
    return "\n".join(lines)


def _row(field: Field) -> str:
    names = field.option.metavar or field.name.upper() if field.is_argument else ", ".join(field.flags)
    default = field._typed_default() if field.default is not inspect.Parameter.empty else "must be given"
    shown = "" if default in (None, False) else default if default == "must be given" else f"`{default}`"
    return f"| `{names}` | {field.help.replace('|', chr(92) + '|')} | {shown} |"
