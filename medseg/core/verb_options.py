"""The base of the verbs' options: a call from Python may give values in the ways in which they are typed, too.

`folds="0,1"`, `folds=[0, 1]`, `budget_seconds="5h"` and `output="page.html"` mean what they mean on the command line.
Without this a verb that needs a path would fail somewhere on a string, and one that needs a list would read a string
letter by letter.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import is_dataclass
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from medseg.core.errors import MedsegError, PlanError
from medseg.core.options import Option

_LISTS = (list, tuple, Sequence)


class VerbOptions:
    """Options whose values become what their fields declare: paths, lists, numbers of seconds."""

    def __post_init__(self) -> None:
        options: Any = type(self)
        for name, kind, option in declared_fields(options):
            value = getattr(self, name)
            meant = _meant(name, value, kind, option)
            if option.minimum is not None and isinstance(meant, Real) and not float(meant) >= option.minimum:
                raise PlanError(f"{name} is {meant!r}; expected {option.minimum} or more.")
            if meant is not value:
                object.__setattr__(self, name, meant)
            _check_unused(name, meant, option.without)


@cache
def declared_fields(options: type) -> tuple[tuple[str, Any, Option], ...]:
    """Return (name, type without `None`, what the command line knows of it) of each field, inherited ones included."""
    declared: dict[str, tuple[str, Any, Option]] = {}
    for base in reversed([base for base in options.__mro__ if is_dataclass(base)]):
        for name, annotation in inspect.get_annotations(base, eval_str=True).items():
            kind, extras = _parts(annotation)
            option = next((extra for extra in extras if isinstance(extra, Option)), Option())
            if not option.python_only:
                declared[name] = (name, _kind(kind), option)
    return tuple(declared.values())


def _check_unused(name: str, options: Any, without: Sequence[str]) -> None:
    """Refuse a value of an option that a verb takes over from another one and has no use for.

    Args:
        name: of the field with the options.
        options: its value.
        without: names of their fields that have no effect here.

    Raises:
        PlanError: one of them is not the default.
    """
    if not without or not is_dataclass(options) or isinstance(options, type):
        return
    default = type(options)()
    given = [field for field in without if getattr(options, field) != getattr(default, field)]
    if given:
        raise PlanError(
            f"{name}.{given[0]} is {getattr(options, given[0])!r}, which has no effect here.", "Leave it out."
        )


def _parts(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the type in `Annotated`, and what else stands there."""
    if get_origin(annotation) is not Annotated:
        return annotation, ()
    kind, *extras = get_args(annotation)
    return kind, tuple(extras)


def _kind(annotation: Any) -> Any:
    """Return the type of a value that is not None; None where it may be of several types."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation
    kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
    return kinds[0] if len(kinds) == 1 else None


def _meant(name: str, value: Any, kind: Any, option: Option) -> Any:
    """Return a value as the field declares it; one that already is so stays the same object.

    Raises:
        MedsegError: a text cannot be read, or options are no options; the message names the field.
    """
    if value is None:
        return None
    if option.parse is not None and isinstance(value, str):
        try:
            return option.parse(value)
        except MedsegError as error:
            raise type(error)(f"{name}: {error.message}", error.hint) from None
    if is_dataclass(kind) and not isinstance(value, kind):  # type: ignore[arg-type]
        what = getattr(kind, "__name__", str(kind))
        raise PlanError(f"{name} is {value!r}; expected {what}(...), whose fields say which.")
    if get_origin(kind) not in _LISTS:
        return _part(value, kind)
    several = list if get_origin(kind) is list else tuple
    if isinstance(value, str | Path | Integral):  # one where several may be given
        value = several([value])
    if isinstance(value, Set):  # which has no order of its own
        value = several(sorted(value, key=str))
    if not isinstance(value, Iterable) or isinstance(value, Mapping):
        return value
    if not isinstance(value, list | tuple):  # a range, an array
        value = several(value)
    parts = [_part(part, get_args(kind)[0]) for part in value]
    unchanged = all(after is before for after, before in zip(parts, value, strict=True))
    return value if unchanged else type(value)(parts)


def _part(value: Any, kind: Any) -> Any:
    """Return a path for its text, and the text of a whole number where text is declared: a fold, say."""
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is str and isinstance(value, Integral) and not isinstance(value, bool):
        return str(value)
    return value
