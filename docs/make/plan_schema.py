"""The JSON Schema of the plan: pydantic's, with the docstrings' words for each key and the forms that it cannot know.

Editors read it for completion and checks (`medseg/plans/plan.schema.json`), `plan_keys.py` makes the reference of
it. It is checked against `Plan` in tests/plans/test_json_schema.py. It names no row of a table, so that a new network
or loss changes neither: `medseg.plans.file.save_plan` puts the names in that the process knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_origin

from pydantic import BaseModel

from medseg.cli.parsing.signature import described_names
from medseg.plans.schema import Configuration, Plan

DRAFT = "http://json-schema.org/draft-07/schema#"
"""The draft that editors know best; nothing later is used."""

_INHERITS = {
    "title": "inherits",
    "description": "The configuration whose values this one takes over, but for those that it names itself.",
    "type": "string",
}
_NAMES = {
    ("Network", "name"): "NameOfNetwork",
    ("Normalization", "scheme"): "NameOfNormalization",
    ("Data", "layout"): "NameOfLayout",
    ("Scoring", "main_measure"): "NameOfMeasure",
    ("LossName", "name"): "NameOfLoss",
    ("LossPart", "name"): "NameOfLoss",
}
"""Keys that take a name of a table, in which a user's own may stand too -> the definition that gets the names."""
TABLES = {
    "NameOfNetwork": "name of a [network](../training/networks.md)",
    "NameOfNormalization": "name of a [normalization](../training/plan.md#configurations)",
    "NameOfLayout": "name of a [layout](../data/own-data.md)",
    "NameOfMeasure": "name of a [measure](../prediction/measures.md)",
    "NameOfLoss": "name of a [loss](../training/losses.md)",
}
"""Definition of the names of a table -> what the reference says of such a name."""


def plan_schema() -> dict[str, Any]:
    """Return the schema of a plan file, as draft 7 of JSON Schema."""
    models = {model.__name__: model for model in (Plan, *_models_below(Plan), *_models_below(Configuration))}
    models["Configuration"] = Configuration
    schema = Plan.model_json_schema()
    definitions = {**schema.pop("$defs"), **_definitions(Configuration)}
    schema["properties"].pop("reasons")  # comments in the file
    for name, definition in ({"Plan": schema} | definitions).items():
        _describe(definition, models[name])
    for (name, key), table in _NAMES.items():
        if name in definitions:
            definitions[name]["properties"][key] |= {"$ref": f"#/$defs/{table}"}
            del definitions[name]["properties"][key]["type"]
    definitions |= {table: {"type": "string"} for table in TABLES}
    _let_inherit(definitions["Configuration"])
    schema["properties"]["configurations"]["additionalProperties"] = {"$ref": "#/$defs/Configuration"}
    for name in ("LossChoice", "LossPart"):
        definitions[name] = _loss(definitions[name], may_sum=name == "LossChoice")
    return _refined({"$schema": DRAFT, **schema, "title": "Plan of medseg", "$defs": dict(sorted(definitions.items()))})


def _models_below(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield the models that fields of a model hold, and theirs."""
    for field in model.model_fields.values():
        for kind in _kinds_in(field.annotation):
            yield kind
            yield from _models_below(kind)


def _kinds_in(annotation: Any) -> Iterator[type[BaseModel]]:
    # in Python 3.10, `dict[str, Any]` also counts as a type
    if isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _kinds_in(part)


def _definitions(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's own schema and those that it needs, by name."""
    schema = model.model_json_schema()
    return {**schema.pop("$defs", {}), model.__name__: schema}


def _describe(definition: dict[str, Any], model: type[BaseModel]) -> None:
    """Give a definition and its keys the words of the docstrings, in place."""
    described: dict[str, str] = {}
    for kind in reversed(model.__mro__):  # a class says what it adds to its parent
        described |= described_names(kind.__doc__ or "") if issubclass(kind, BaseModel) else {}
    definition["description"] = _sentence((model.__doc__ or "").split("\n\n")[0])
    for key, value in definition["properties"].items():
        value["title"] = key
        value["description"] = _sentence(described[key])
        if key in model.model_fields and not model.model_fields[key].is_required():
            value["default"] = value.get("default")


def _sentence(text: str) -> str:
    """Return a description as a sentence, with the words of YAML for those of Python."""
    text = " ".join(text.split())
    for python, yaml in (("None", "`null`"), ("True", "`true`"), ("False", "`false`")):
        text = re.sub(rf"(?<![`\w]){python}(?![`\w])", yaml, text)
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _let_inherit(configuration: dict[str, Any]) -> None:
    """Let a configuration leave out what it inherits, in place."""
    configuration["properties"] = {"inherits": _INHERITS, **configuration["properties"]}
    configuration["anyOf"] = [{"required": ["inherits"]}, {"required": configuration.pop("required")}]


def _loss(definition: dict[str, Any], *, may_sum: bool) -> dict[str, Any]:
    """Return the forms of a loss: its name; its name with arguments; a sum of losses."""
    keys = dict(definition["properties"])
    name = {"$ref": "#/$defs/NameOfLoss"}
    keys["name"] = {**keys["name"], **name}
    keys["name"].pop("type", None)
    total = keys.pop("sum", None)
    forms = [name, {"type": "object", "properties": keys, "required": ["name"]}]
    if may_sum:
        total = {key: value for key, value in total.items() if key != "default"} | {"minItems": 1}
        only_sum = {"type": "object", "properties": {"sum": total}, "required": ["sum"], "additionalProperties": False}
        forms.append(only_sum)
    return {"title": definition["title"], "description": definition["description"], "anyOf": forms}


def _refined(value: Any) -> Any:
    """Return a schema in which a reference stands alone: draft 7 ignores what stands beside one."""
    if isinstance(value, list):
        return [_refined(item) for item in value]
    if not isinstance(value, dict):
        return value
    value = {key: _refined(item) for key, item in value.items()}
    if "$ref" in value and len(value) > 1:
        value["allOf"] = [{"$ref": value.pop("$ref")}]
    return value


def resolved(schema: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """Return a part of the schema with the definition that it refers to."""
    inner = value["allOf"][0] if len(value.get("allOf", ())) == 1 else value
    if "$ref" in inner:
        return {**schema["$defs"][inner["$ref"].rpartition("/")[2]], "$ref": inner["$ref"]}
    return value


def keys_of(schema: dict[str, Any], value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the dotted keys below a part of the schema, with what it says of them.

    Args:
        schema: the whole schema.
        value: the part.
        prefix: the dotted key of the part, with a dot behind it; "" for the plan. `NAME` in it stands for names that
            are chosen freely, such as those of configurations.
    """
    for key, item in value["properties"].items():
        yield f"{prefix}{key}", item
        for form, names in _forms_with_keys(schema, item):
            yield from keys_of(schema, form, f"{prefix}{key}.{names}")


def _forms_with_keys(schema: dict[str, Any], value: dict[str, Any], names: str = "") -> Iterator[tuple[Any, str]]:
    """Yield what a value may be that has keys of its own, and `NAME.` where a freely chosen key stands before these."""
    value = resolved(schema, value)
    if "properties" in value:
        yield value, names
        return
    for form in (*value.get("anyOf", ()), *value.get("oneOf", ()), value.get("items")):
        if form is not None:
            yield from _forms_with_keys(schema, form, names)
    if isinstance(value.get("additionalProperties"), dict):
        yield from _forms_with_keys(schema, value["additionalProperties"], "NAME.")
