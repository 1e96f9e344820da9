"""Describe an option for the command line, as far as the field of its dataclass does not say it by itself.

A verb's options are a frozen dataclass. The type, default and name of a field, and its line under `Attributes:`, make
the option on the command line (`medseg.cli.parsing.signature`); an `Option` in `Annotated` says the rest. This module
and those of the options import nothing heavy, so that `--help` answers at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from enum import Enum, auto
from numbers import Integral
from typing import Any, get_type_hints

from medseg.core.errors import PlanError

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Option:
    """How a field or parameter differs on the command line from what its type, name and default say.

    Attributes:
        flags: Its names, separated by spaces, such as `--model -m` or `--mirror/--no-mirror`; if left out, made from
            the name of the field.
        group: Heading under which `--help` shows it.
        metavar: What stands for its value in `--help`; if left out, made from the type.
        parse: Makes the value from the text that was typed.
        write: Makes that text from the default value, for `--help`.
        minimum: The smallest number that is accepted.
        positional: It is an argument without a name although it may be left out.
        python_only: It is not an option on the command line.
        without: For a field that is itself a dataclass of options: fields of it that are not options here.
        rarely: Likewise: fields of it, or of dataclasses in it, that are marked `OFTEN` but are rarely needed here.
    """

    flags: str = ""
    group: str | None = None
    metavar: str | None = None
    parse: Callable[[str], Any] | None = None
    write: Callable[[Any], str] | None = None
    minimum: int | None = None
    positional: bool = False
    python_only: bool = False
    without: tuple[str, ...] = ()
    rarely: tuple[str, ...] = ()

    def flags_of(self, name: str) -> list[str]:
        """Return the names of the option on the command line, such as `--model` and `-m`.

        Args:
            name: The name of the field.
        """
        return self.flags.split() or ["--" + name.replace("_", "-")]


PYTHON_ONLY = Option(python_only=True)


class Mark(Enum):
    """What else is to be known of an option; stands beside `Option` in `Annotated`."""

    OFTEN = auto()
    REPEATED = auto()


OFTEN = Mark.OFTEN
"""Most need it: `--help` of a verb in which options have this mark shows only these, and `--help-all` every option."""
REPEATED = Mark.REPEATED
"""It changes the result, and belongs to the command by which a result is repeated."""


def words_to_repeat(options: Any) -> list[str]:
    """Return the options marked `REPEATED` as they are typed, as far as they have other values than the default.

    Those that are given once come before those that can be given several times.

    Args:
        options: A dataclass of options, each with a default.
    """
    once: list[str] = []
    several: list[str] = []
    default = type(options)()
    hints = get_type_hints(type(options), include_extras=True)
    for field in fields(options):
        extras = getattr(hints[field.name], "__metadata__", ())
        value = getattr(options, field.name)
        if REPEATED not in extras or value == getattr(default, field.name):
            continue
        option = next((extra for extra in extras if isinstance(extra, Option)), Option())
        flag = option.flags_of(field.name)[0]
        if isinstance(value, (list, tuple)):
            several += [word for part in value for word in (flag, str(part))]
        else:
            once += [flag] if value is True else [flag, str(value)]
    return [*once, *several]


def parse_duration(text: str) -> float:
    """Return the seconds in a duration.

    Raises:
        PlanError: The text is not a duration; nor is a number without a unit.

    >>> parse_duration("1h30m")
    5400.0
    """
    if re.fullmatch(r"(?:\d+(?:\.\d+)?[smhd])+", text.strip().lower()) is None:
        raise PlanError(f"{text!r} is not a duration.", "Write 90s, 5m, 2h or 1h30m.")
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text.lower())
    return sum(float(value) * _UNIT_SECONDS[unit] for value, unit in parts)


def write_duration(seconds: float) -> str:
    """Return seconds as `parse_duration` reads them, in minutes where these are whole.

    >>> write_duration(300.0), write_duration(75.0)
    ('5m', '75s')
    """
    return f"{seconds / 60:g}m" if seconds and seconds % 60 == 0 else f"{seconds:g}s"


def parse_list(text: str) -> tuple[str, ...]:
    """Return the parts between commas, each once, in their order.

    >>> parse_list("0, 1,1")
    ('0', '1')
    """
    return tuple(dict.fromkeys(part.strip() for part in text.split(",")))


def as_names(given: str | int | Sequence[str | int] | None) -> tuple[str, ...] | None:
    """Return names, of folds say, that a call from Python gives as they are typed, or as texts or numbers.

    Args:
        given: A text as it is typed, a number, or several; None where nothing is given.

    >>> as_names("0,1"), as_names([0, "all"]), as_names(0)
    (('0', '1'), ('0', 'all'), ('0',))
    """
    if given is None:
        return None
    if isinstance(given, str):
        return parse_list(given)
    return tuple(map(str, [given] if isinstance(given, int | Integral) else given))  # numpy's are `Integral` too
