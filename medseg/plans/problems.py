"""Say what is wrong with a plan: the key, its value, and what would be valid."""

from __future__ import annotations

import difflib
import re
from types import UnionType
from typing import Any, Union, get_origin

from pydantic import BaseModel, ValidationError

from medseg.core.names import shown_name
from medseg.plans.schema import Configuration, Plan, inherited_values
from medseg.plans.sections.supervision import BOOL_FORM, LEVELS_FORM

_MOST_PROBLEMS = 20
"""So many are said; someone who pasted a wrong file needs no line for each key of it."""
_LONGEST_NAME = 80
"""Longer keys are cut in messages, and no similar one is searched for."""
_LONGEST_VALUE = 80
"""Values that take more characters are not repeated in messages."""


def problems_in(values: dict[str, Any]) -> list[str]:
    """Return all that is wrong with the plain values of a plan, a phrase for each problem; [] if they are a plan."""
    try:
        Plan.model_validate(values)
    except ValidationError as error:
        items = error.errors(include_url=False, include_context=False)
        problems = [_explain(item, Plan, item["loc"]) for item in items[:_MOST_PROBLEMS]]
        if len(items) > _MOST_PROBLEMS:
            return [*problems, f"and {len(items) - _MOST_PROBLEMS:,} more problems"]
    else:
        return []
    configurations = values.get("configurations")
    for name in configurations if isinstance(configurations, dict) else []:
        problems += _configuration_problems(values, name)
    # The plan's own validator sees a configuration as one value, and repeats pydantic's whole report on it. That text
    # is dropped where `_configuration_problems` says the same key by key.
    by_key = [text for text in problems if "validation error" not in text]
    return list(dict.fromkeys(by_key or problems))


def is_about(key: str, problem: str) -> bool:
    """Return whether a problem concerns a key.

    Args:
        key: dotted key.
        problem: one of `problems_in`, which names a key or the section that it lies in.
    """
    section, _, name = key.rpartition(".")
    return key in problem or (problem.startswith(f"{section}:") and name in problem)


def validation_message(error: ValueError) -> str:
    """Return what a validation error says, without the frame that pydantic puts around it."""
    if isinstance(error, ValidationError):
        return "; ".join(_explain(item, Plan, item["loc"]) for item in error.errors())
    return str(error)


def _configuration_problems(values: dict[str, Any], name: str) -> list[str]:
    """Return the problems of one configuration, by key; [] if what it inherits cannot be filled in."""
    try:
        Configuration.model_validate(inherited_values(values["configurations"], name))
    except ValidationError as error:
        items = error.errors(include_url=False, include_context=False)[:_MOST_PROBLEMS]
        return [_explain(item, Configuration, item["loc"], f"configurations.{name}.") for item in items]
    except (ValueError, TypeError, AttributeError):  # a parent is missing or no mapping: the plan's validator says so
        return []
    return []


def _explain(item: Any, model: type[BaseModel], location: tuple[Any, ...], prefix: str = "") -> str:
    """Return one entry of pydantic's report on `model` as a phrase with the dotted key; `prefix` precedes the key."""
    form = location[-1] if location and location[-1] == BOOL_FORM else None
    location = tuple(part for part in location if part not in (BOOL_FORM, LEVELS_FORM))
    key = (prefix + ".".join(map(str, location))).removesuffix(".")
    if item["type"] == "extra_forbidden":
        section, _, name = key.rpartition(".")
        elsewhere = keys_named(name)
        if elsewhere:
            return f"unknown key {shown_name(key)}; did you mean {' or '.join(map(repr, elsewhere))}?"
        return f"unknown key {shown_name(key)}{suggestion(name, _fields(model, location[:-1]), section)}"
    message = item["msg"].removeprefix("Value error, ")
    if form is not None and not isinstance(item["input"], bool):
        message = _SUPERVISION
    key = key if len(key) <= 2 * _LONGEST_NAME else f"{key[:_LONGEST_NAME]}..."
    if not key:
        return message
    if item["type"] == "missing":
        return f"{key} is missing"
    value = repr(item["input"])
    seen = f" (it is {value})" if len(value) < _LONGEST_VALUE else ""
    return f"{key}: {_in_plain_words(message)}{seen}"


_SUPERVISION = "expected true, false, or levels: {levels: [0, 2], weights: [1, 0.5]}"
_PLAIN_WORDS = (
    (r"^Input should ", "expected to "),
    (r"^expected to be ", "expected "),
    (r", (unable to parse|got a number with).*", ""),
    (r"a valid integer", "a whole number"),
    (r"a valid ", "a "),
    (r"greater than or equal to", "at least"),
    (r"less than or equal to", "at most"),
    (r"greater than", "more than"),
)
"""Pydantic's phrases and what stands for them in messages, applied one after the other."""


def _in_plain_words(message: str) -> str:
    """Return a message of pydantic's as medseg's own read: what was expected.

    >>> _in_plain_words("Input should be a valid integer, got a number with a fractional part")
    'expected a whole number'
    """
    for pattern, replacement in _PLAIN_WORDS:
        message = re.sub(pattern, replacement, message)
    return message[:1].lower() + message[1:]


def _fields(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Return the names that are valid at `location`, followed through nested models and lists of them."""
    current: Any = model
    for part in location:
        if isinstance(part, int):
            current = next(iter(getattr(current, "__args__", ())), None)
        elif hasattr(current, "model_fields") and part in current.model_fields:
            current = current.model_fields[part].annotation
            if get_origin(current) in (Union, UnionType):  # of several forms, that which has keys
                forms = [getattr(form, "__origin__", form) for form in getattr(current, "__args__", ())]
                current = next((form for form in forms if hasattr(form, "model_fields")), current)
    return list(getattr(current, "model_fields", {}))


def keys_named(name: str) -> list[str]:
    """Return the dotted keys of a plan that end in a name; `NAME` stands for that of a configuration.

    >>> keys_named("learning_rate"), keys_named("batch_size")
    (['training.learning_rate'], ['configurations.NAME.batch_size'])
    """
    sections: dict[str, Any] = {"configurations.NAME": Configuration}
    sections |= {key: field.annotation for key, field in Plan.model_fields.items()}
    return [f"{section}.{name}" for section, model in sections.items() if name in getattr(model, "model_fields", ())]


def suggestion(name: str, known: list[str], section: str = "") -> str:
    """Return the end of a message on an unknown name: the key that was probably meant, or all valid names.

    Args:
        name: the unknown name.
        known: the names that are valid in its place.
        section: dotted key of the section that it stands in, so that the suggestion can be pasted; "" for the top.

    >>> suggestion("stepps", ["steps", "seed"], "training")
    "; did you mean 'training.steps'?"
    """
    match = difflib.get_close_matches(name, known, n=1, cutoff=0.5) if len(name) <= _LONGEST_NAME else []
    if match:
        return f"; did you mean {f'{section}.{match[0]}'.strip('.')!r}?"
    return f"; valid are {', '.join(known)}" if known else ""
