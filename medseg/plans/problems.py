"""What is wrong with a plan, in words: keys, values, and what would be right."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import BaseModel, ValidationError

from medseg.plans.schema import Configuration, Plan


def problems_in(values: dict[str, Any]) -> list[str]:
    """All that is wrong with a plan's plain values, each by key and value; nothing if they are a plan."""
    try:
        Plan.model_validate(values)
    except ValidationError as error:
        problems = [_explain(item, Plan, item["loc"]) for item in error.errors()]
    else:
        return []
    configurations = values.get("configurations")
    for name in configurations if isinstance(configurations, dict) else []:
        problems += _configuration_problems(values, name)
    # what the plan's own validator says of a configuration is said again, by key, from `_configuration_problems`
    own = [text for text in problems if "validation error" not in text]
    return list(dict.fromkeys(own or problems))


def is_about(key: str, problem: str) -> bool:
    """Whether one of `problems_in` names a key: as it is, or as a part of the section that it is said of."""
    section, _, own = key.rpartition(".")
    return key in problem or (problem.startswith(f"{section}:") and own in problem)


def last_line(error: ValueError) -> str:
    """What a validation error says, without pydantic's frame around it."""
    if isinstance(error, ValidationError):
        return "; ".join(_explain(item, Plan, item["loc"]) for item in error.errors())
    return str(error)


def _configuration_problems(values: dict[str, Any], name: str) -> list[str]:
    """Problems of one configuration, by key; the plan's own validator sees a configuration as one value.

    None where it inherits from nothing or in a circle, which that validator says.
    """
    merged: dict[str, Any] = {}
    current: Any = name
    for _ in values["configurations"]:
        own = values["configurations"].get(current) if isinstance(current, str) else None
        if not isinstance(own, dict):
            return []
        merged = {**own, **merged}
        current = own.get("inherits")
        if current is None:
            break
    else:
        return []
    merged.pop("inherits", None)
    try:
        Configuration.model_validate(merged)
    except ValidationError as error:
        return [_explain(item, Configuration, item["loc"], f"configurations.{name}.") for item in error.errors()]
    return []


def _explain(item: Any, model: type[BaseModel], location: tuple[Any, ...], prefix: str = "") -> str:
    key = (prefix + ".".join(map(str, location))).removesuffix(".")
    if item["type"] == "extra_forbidden":
        return f"unknown key {key!r}{nearest(str(location[-1]), _fields(model, location[:-1]))}"
    message = item["msg"].removeprefix("Value error, ")
    if not key:
        return message
    if item["type"] == "missing":
        return f"{key} is missing"
    value = repr(item["input"])
    return f"{key}: {message[:1].lower()}{message[1:]}" + (f" (it is {value})" if len(value) < 80 else "")


def _fields(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Names that are valid at `location`, followed through nested models and lists of them."""
    current: Any = model
    for part in location:
        if isinstance(part, int):
            current = next(iter(getattr(current, "__args__", ())), None)
        elif hasattr(current, "model_fields") and part in current.model_fields:
            current = current.model_fields[part].annotation
    return list(getattr(current, "model_fields", {}))


def nearest(name: str, known: list[str]) -> str:
    """What was meant instead of a name that is not known, or what there is."""
    match = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if match:
        return f"; did you mean {match[0]!r}?"
    return f"; valid are {', '.join(known)}" if known else ""
