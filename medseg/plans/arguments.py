"""Arguments that a plan hands on to a network or a loss: which there are, of which types, and what else is refused."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from medseg.core.errors import PlanError
from medseg.core.wording import counted

Parameters = Mapping[str, inspect.Parameter]
"""Name of an argument -> how the network's class declares it."""

_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "bool": ((bool,), "true or false"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "str": ((str,), "text"),
}
"""Annotation -> the types that a value may have, and their name in messages. Others are left to the network."""
_OPTIONAL = re.compile(r"(?:typing\.)?Optional\[(\w+)\]|(\w+) \| None")
"""How a type is written that may also be None."""
_LARGEST_WIDTH = 1 << 16


def arguments_of(make: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the arguments of a function or class by name.

    >>> list(arguments_of(lambda width, depth=2: None))
    ['width', 'depth']
    """
    return dict(inspect.signature(make).parameters)


def check_arguments(name: str, arguments: Mapping[str, Any], known: Parameters) -> None:
    """Refuse arguments that a network does not have, and values that its class would take for something else.

    Python takes any value for true or false: `res_block: no`, which YAML reads as text, would be true.

    Args:
        name: of the network.
        arguments: the plan's `network.arguments`.
        known: the arguments that it has.

    Raises:
        PlanError: one is unknown, or of another type than declared; the message says which there are, or what is
            expected.
    """
    unknown = [key for key in arguments if key not in known]
    if unknown:
        match = difflib.get_close_matches(unknown[0], known, n=1, cutoff=0.5)
        raise PlanError(
            f"network.arguments do not fit {name}: it has no argument {unknown[0]!r}"
            + (f"; did you mean {match[0]!r}? " if match else ". ")
            + f"It has {', '.join(known) or 'none'}.",
            f"network.arguments is {dict(arguments)}.",
        )
    for key, value in arguments.items():
        if wrong := wrong_type(value, known[key]):
            raise PlanError(
                f"network.arguments do not fit {name}: {key} {wrong}.", f"network.arguments is {dict(arguments)}."
            )


def wrong_type(value: Any, parameter: inspect.Parameter) -> str:
    """Return what is wrong with a value of an argument that is declared as truth value, number or text; "" if nothing.

    >>> wrong_type("no", inspect.Parameter("bias", inspect.Parameter.KEYWORD_ONLY, annotation=bool))
    "is 'no'; expected true or false"
    """
    expected = _expected(parameter)
    if not expected or (value is None and _takes_none(parameter)) or _has_type(value, expected[0]):
        return ""
    return f"is {value!r}; expected {expected[1]}"


def declared(arguments: Mapping[str, Any], known: Parameters) -> str:
    """Return how a class declares the arguments that a plan gives, for messages; "" if it gives none.

    >>> def make(kernel_size: int = 3, act: "tuple | str" = "relu"): ...
    >>> declared({"kernel_size": "x"}, arguments_of(make))
    'declared as kernel_size: int = 3'
    """
    given = [_declaration(known[key]) for key in arguments if key in known]
    return f"declared as {'; '.join(given)}" if given else ""


def _declaration(parameter: inspect.Parameter) -> str:
    """Return an argument as its source has it: types that Python keeps as text stand without quotation marks."""
    kind = parameter.annotation
    return str(parameter).replace(repr(kind), kind, 1) if isinstance(kind, str) else str(parameter)


def check_sizes(network: str, key: str, value: Any, count: int, least: int = 1) -> None:
    """Refuse anything but a list of so many whole numbers: widths of stages, for example.

    Args:
        network: its name.
        key: of `network.arguments`.
        value: the plan's.
        count: how many numbers are expected.
        least: the smallest that is allowed.

    Raises:
        PlanError: it is something else.
    """
    numbers = value if isinstance(value, list | tuple) else []
    if len(numbers) != count or not all(_has_type(number, (int,)) for number in numbers):
        expected = f"a list of {counted(count, 'whole number')}"
    elif not all(least <= number <= _LARGEST_WIDTH for number in numbers):
        expected = f"numbers from {least} to {_LARGEST_WIDTH:,}"
    else:
        return
    raise PlanError(f"network.arguments do not fit {network}: {key} is {_plain(value)!r}; expected {expected}.")


def check_shares(network: str, key: str, value: Any, count: int) -> None:
    """Refuse anything but a list of so many numbers from 0 up to, but not including, 1.

    Args:
        network: its name.
        key: of `network.arguments`.
        value: the plan's.
        count: how many numbers are expected.

    Raises:
        PlanError: it is something else.
    """
    numbers: Sequence[Any] = value if isinstance(value, list | tuple) else []
    if len(numbers) == count and all(_has_type(part, (int, float)) and 0 <= part < 1 for part in numbers):
        return
    raise PlanError(
        f"network.arguments do not fit {network}: {key} is {_plain(value)!r}; expected a list of "
        f"{counted(count, 'number')} of at least 0 and below 1."
    )


def _expected(parameter: inspect.Parameter) -> tuple[tuple[type, ...], str] | None:
    """Return the types that an argument may have, and what they are called; None where that is left to the network."""
    text = _annotation_text(parameter)
    match = _OPTIONAL.fullmatch(text)
    plain = (match[1] or match[2]) if match else text
    if plain in _TYPES:
        return _TYPES[plain]
    if plain == str(inspect.Parameter.empty) and isinstance(parameter.default, bool):
        return _TYPES["bool"]
    return None


def _takes_none(parameter: inspect.Parameter) -> bool:
    return parameter.default is None or _OPTIONAL.fullmatch(_annotation_text(parameter)) is not None


def _annotation_text(parameter: inspect.Parameter) -> str:
    """Return the type that an argument is declared with, as its source has it."""
    annotation = parameter.annotation
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _has_type(value: Any, types: tuple[type, ...]) -> bool:
    """Return whether a value has one of the types; true and false are no numbers, 0 and 1 are either."""
    if bool in types:
        return isinstance(value, bool) or value in (0, 1)
    return isinstance(value, types) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
