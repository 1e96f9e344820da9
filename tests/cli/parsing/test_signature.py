"""Every option of every verb: it is declared once, as a field of a dataclass, and the command line follows."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from medseg.cli.app import VERBS, app, verb_function
from medseg.cli.parsing.signature import (
    Field,
    VerbCommand,
    described_names,
    fields_of_class,
    fields_of_function,
    flat,
    typer_function,
)
from medseg.commands.train.options import Extension
from medseg.core.options import PYTHON_ONLY, Option, parse_duration, write_duration

TYPED = {"TIME": "7m", "SIZE": "7GB", "AMOUNT": "7x", str: "7", int: "7", float: "7.5", Path: "seven"}
NAMES = {"nnunet", "softmax", "labelme's", "dataset.json", "nnU-Net's"}
"""Names in lower case, with which a help text may begin."""
OPTIONS = [
    pytest.param(verb, one, id=f"{verb} {one.name}")
    for verb in VERBS
    for one in flat(fields_of_function(verb_function(verb)))
]


def typed_value(field: Field) -> str:
    """A text that fits the type of a field."""
    metavar = field.option.metavar
    if field.option.parse is not None and metavar in TYPED:
        return TYPED[metavar]
    return TYPED.get(field.kind, TYPED[str])


def call(verb: str, *arguments: str, required: bool = True) -> dict[str, Any]:
    """Type a verb with arguments, and return what its function would get."""
    function, seen = verb_function(verb), {}

    def record(**values: Any) -> None:
        seen.update(values)

    record.__signature__ = inspect.signature(function, eval_str=True)  # type: ignore[attr-defined]
    record.__doc__ = function.__doc__
    needed = [one.name for one in fields_of_function(function) if one.default is inspect.Parameter.empty]
    positional = [name for name in needed if name != "options"] if required else []
    alone = typer.Typer()
    alone.command(cls=VerbCommand)(typer_function(verb, record))
    done = CliRunner().invoke(alone, [*positional, *arguments])
    assert done.exit_code == 0, done.output
    return seen


def leaves(values: Any, path: str = "") -> dict[str, Any]:
    """Every value in arguments and nested dataclasses, by its dotted name."""
    parts = values if isinstance(values, dict) else {one.name: getattr(values, one.name) for one in fields(values)}
    options: dict[str, Any] = {}
    for name, value in parts.items():
        nested = is_dataclass(value) and not isinstance(value, Extension)
        options |= leaves(value, f"{path}{name}.") if nested else {path + name: value}
    return options


@pytest.mark.parametrize(("verb", "field"), OPTIONS)
def test_an_option_has_help_and_is_read_into_its_field(verb: str, field: Field) -> None:
    assert re.search(r"\.$", field.help), f"{field.name}: the help is not a sentence: {field.help!r}"
    assert field.help[:1] != field.help[:1].lower() or field.help.split()[0].rstrip(",:") in NAMES
    if field.option.positional or field.default is inspect.Parameter.empty:
        return
    before, (flag, *_) = leaves(call(verb)), field.flags[::-1]
    flag = flag.split("/")[-1]  # of --mirror/--no-mirror the one that is not the default
    typed = [flag] if field.kind is bool else [flag, typed_value(field)]
    after = leaves(call(verb, *typed))
    changed = {name for name in after if after[name] != before[name]}
    assert [name.split(".")[-1] for name in changed] == [field.name]


@pytest.mark.parametrize("verb", VERBS)
def test_defaults_are_those_of_the_dataclasses(verb: str) -> None:
    for one in fields_of_function(verb_function(verb)):
        if one.is_options:
            assert call(verb)[one.name] == one.kind()


@pytest.mark.parametrize("verb", VERBS)
def test_help_names_every_option_and_no_type_of_flags(verb: str) -> None:
    shown = CliRunner().invoke(app, [verb, "--help-all"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"}, color=False)
    for one in flat(fields_of_function(verb_function(verb))):
        named = one.flags[0].split("/")[0] if not one.option.positional else one.name.upper()
        if one.default is not inspect.Parameter.empty:
            assert named in shown.output
    assert not re.search(r"bool|BOOLEAN", shown.output)


@pytest.mark.parametrize("verb", VERBS)
def test_examples_can_be_typed(verb: str) -> None:
    examples = [
        line.strip() for line in (verb_function(verb).__doc__ or "").splitlines() if line.strip().startswith("medseg ")
    ]
    assert examples
    for example in examples:
        words = shlex.split(example.split("&&")[0])
        assert words[:2] == ["medseg", verb]
        call(verb, *(word for word in words[2:] if word != "--json"), required=False)


@pytest.mark.parametrize("verb", VERBS)
def test_every_field_and_parameter_is_described(verb: str) -> None:
    described = described_names(verb_function(verb).__doc__ or "")
    assert list(described) == [one.name for one in fields_of_function(verb_function(verb))]
    for one in fields_of_function(verb_function(verb)):
        for base in one.kind.__mro__ if one.is_options else ():
            if is_dataclass(base):
                assert set(described_names(base.__doc__ or "")) == set(inspect.get_annotations(base))


@dataclass(frozen=True)
class Inner:
    """Of a case.

    Attributes:
        names: Names in `backticks` and [brackets]; repeatable.
        hidden: Nothing for the command line.
    """

    names: Sequence[str] = ()
    hidden: Annotated[int, PYTHON_ONLY] = 3


@dataclass(frozen=True)
class Outer:
    """Of all.

    Attributes:
        seconds: A time,
            on two lines.
        inner: Of each case.
    """

    seconds: Annotated[float, Option("--time -t", None, "TIME", parse_duration, write_duration)] = 120.0
    inner: Inner = Inner()


def test_a_field_is_read_from_its_dataclass() -> None:
    seconds, inner = fields_of_class(Outer)
    assert (seconds.help, seconds.flags, seconds.kind) == ("A time, on two lines.", ["--time", "-t"], float)
    assert [one.name for one in flat([inner])] == ["names"]


def test_a_value_that_cannot_be_read_is_refused_with_the_name_of_its_option(tmp_path: Path, command_line: Any) -> None:
    done = command_line("train", "--budget", "90", cwd=tmp_path)
    assert done.returncode == 2
    assert "error: --budget: '90' is not a duration." in done.stderr
    assert "hint:  Write 90s, 5m, 2h or 1h30m." in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_completion_scripts_are_made(shell: str) -> None:
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-m", "medseg", "--show-completion", shell]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "_MEDSEG_COMPLETE" in done.stdout
    assert f"complete_{shell}" in done.stdout


def test_options_are_completed() -> None:
    environment = {
        **os.environ,
        "_MEDSEG_COMPLETE": "complete_bash",
        "COMP_WORDS": "medseg train --re",
        "COMP_CWORD": "2",
    }
    done = subprocess.run([sys.executable, "-m", "medseg"], capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["--recipe", "--resume"]
