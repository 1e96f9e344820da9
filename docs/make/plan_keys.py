"""Write the JSON Schema of the plan and the reference of its keys: `python docs/make/plan_keys.py`.

Both follow from `medseg.plans.schema`, its docstrings, and docs/plan-keys/every-key.yaml, which has the examples.
"""

from __future__ import annotations

import json
import math
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

from plan_schema import TABLES, keys_of, plan_schema, resolved
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "medseg" / "plans" / "plan.schema.json"
FOLDER = ROOT / "docs" / "plan-keys"
EXAMPLES = FOLDER / "every-key.yaml"
OTHER_FORMS = {"training.loss.name": "tversky"}
"""Examples of keys that a plan cannot have together with those of `every-key.yaml`."""
_LONGEST_EXAMPLE = 110


class Page(NamedTuple):
    """A page of the reference.

    Attributes:
        name: its file.
        title: its heading.
        sections: the dotted keys, with a dot behind them, of which it has what lies directly below.
        assignment: what `--set` takes for one of its keys.
    """

    name: str
    title: str
    sections: tuple[str, ...]
    assignment: str


_RESAMPLED = ("resample_image", "resample_label", "resample_logits")
PAGES = (
    Page("top", "top level, request, codes", ("", "request.", "codes.NAME."), "default_configuration=2d"),
    Page("data", "data", ("data.", "data.intensities.", "data.scans.", "data.scans.channels."), "data.folder=../liver"),
    Page("reading", "data.reading", ("data.reading.",), "data.reading.frame=0"),
    Page("labels", "labels", ("labels.",), "labels.ignore=255"),
    Page(
        "configurations",
        "configurations",
        (
            "configurations.NAME.",
            "configurations.NAME.normalization.",
            *(f"configurations.NAME.{key}." for key in _RESAMPLED),
        ),
        "configurations.2d.batch_size=8",
    ),
    Page("network", "network", ("configurations.NAME.network.",), "configurations.2d.network.name=attention_unet"),
    Page(
        "training",
        "training",
        ("training.", "training.deep_supervision.", "training.loss.", "training.loss.sum."),
        "training.learning_rate=0.003",
    ),
    Page(
        "augmentation",
        "training.augmentation",
        ("training.augmentation.",),
        "training.augmentation.noise_probability=0",
    ),
    Page("inference", "inference", ("inference.",), "inference.mirror=false"),
    Page("scoring", "scoring", ("scoring.",), "scoring.surface=voxels"),
)
_GENERATED = "<!-- Made by docs/make/plan_keys.py from medseg/plans; change the docstrings there. -->"


def files() -> dict[Path, str]:
    """Return every file that is made, with its text."""
    schema = plan_schema()
    examples = YAML(typ="safe").load(EXAMPLES.read_text(encoding="utf-8"))
    made = {SCHEMA: json.dumps(schema, indent=1, ensure_ascii=False) + "\n"}
    for page in PAGES:
        made[FOLDER / f"{page.name}.md"] = _page(page, schema, examples)
    made[FOLDER / "index.md"] = _index()
    return made


def _index() -> str:
    rows = [f"- [{page.title}]({page.name}.md)" for page in PAGES]
    return "\n".join(
        [
            _GENERATED,
            "",
            "# Every key of the plan",
            "",
            "Type, default, meaning and an example of each key of `plans/NAME.yaml`, section by section. What the",
            "sections are for, and how a plan comes about: [the plan file](../training/plan.md). All examples come",
            "from [one file](every-key.yaml) in which every key stands; it is checked as a plan is.",
            "",
            *rows,
            "",
            "An editor knows all of this: [JSON Schema](../training/plan.md#in-an-editor).",
            "",
        ]
    )


def _page(page: Page, schema: dict[str, Any], examples: Any) -> str:
    lines = [_GENERATED, "", f"# Keys of the plan: {page.title}", ""]
    names = "; `NAME` stands for a name that the plan chooses" if any("NAME" in text for text in page.sections) else ""
    lines += [
        _folded(f"[All keys](index.md). Headings are what `--set` takes, as in `--set {page.assignment}`{names}."),
        "",
    ]
    for key, item in keys_of(schema, schema):
        if key[: key.rfind(".") + 1] in page.sections:
            facts = [_folded(f"- {fact}", "  ") for fact in _facts(schema, key, item, examples)]
            lines += [f"## `{key}`", "", _folded(item["description"]), "", *facts, ""]
    return "\n".join(lines)


def _folded(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _facts(schema: dict[str, Any], key: str, item: dict[str, Any], examples: Any) -> list[str]:
    """Return type, default and example of a key."""
    page = next((page for page in PAGES if {f"{key}.", f"{key}.NAME."} & {*page.sections}), None)
    if page is not None and "properties" in _innermost(schema, item):
        kind = "mapping of names to mappings" if f"{key}.NAME." in page.sections else "mapping"
        facts = [f"Type: {kind} with [these keys]({page.name}.md)"]
    else:
        facts = [f"Type: {words(schema, item)}"]
    if "default" in item and not (isinstance(item["default"], dict) and item["default"]):
        facts.append(f"Default: `{_yaml(item['default'])}`")
    elif key not in _MAY_BE_LEFT_OUT:
        facts.append("Default: that of each of its keys" if "default" in item else "Default: none, it must be given")
    value = OTHER_FORMS.get(key, *_values_at(examples, key.split("."))[:1])
    text = f"{key.rpartition('.')[2]}: {_yaml(value)}"
    if len(text) <= _LONGEST_EXAMPLE or page is None:
        facts.append(f"Example: `{text}`")
    return facts


_MAY_BE_LEFT_OUT = ("configurations.NAME.inherits",)
"""Keys without a default that need not be given."""


def _innermost(schema: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    """Return what a mapping of names, or a value itself, holds."""
    value = resolved(schema, item)
    inner = value.get("additionalProperties")
    return resolved(schema, inner) if isinstance(inner, dict) and inner else value


def _values_at(node: Any, parts: list[str]) -> list[Any]:
    """Return the values of a key in the examples; lists and names that are chosen freely are looked through."""
    if not parts:
        return [node]
    if isinstance(node, list):
        return [value for item in node for value in _values_at(item, parts)]
    if not isinstance(node, dict):
        return []
    if parts[0] == "NAME":
        return [value for item in node.values() for value in _values_at(item, parts[1:])]
    return _values_at(node[parts[0]], parts[1:]) if parts[0] in node else []


def _yaml(value: Any) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_yaml(key)}: {_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    if isinstance(value, str):
        return f"'{value}'" if value[:1] in "#*&!|>%@" or value in ("", "null", "true", "false") else value
    return json.dumps(value)


def words(schema: dict[str, Any], item: dict[str, Any]) -> str:
    """Return what a value may be, in words.

    Args:
        schema: the whole schema.
        item: the part of it that describes the value.
    """
    value = resolved(schema, item)
    table = value.get("$ref", "").rpartition("/")[2]
    if table in TABLES:
        return TABLES[table]
    choices = value.get("anyOf") or value.get("oneOf")
    if choices and "properties" not in value:
        forms = [words(schema, form) for form in choices]
        return ", or ".join(dict.fromkeys(forms))
    if "enum" in value or "const" in value:
        *first, last = (f"`{_yaml(choice)}`" for choice in value.get("enum", [value.get("const")]))
        return f"{', '.join(first)} or {last}" if first else last
    return _TYPES[value["type"]](schema, value)


def _number_words(schema: dict[str, Any], value: dict[str, Any]) -> str:
    noun = "whole number" if value["type"] == "integer" else "number"
    limits = (("minimum", "at least"), ("exclusiveMinimum", "above"), ("maximum", "at most"))
    stated = [f"{text} {value[key]:,}" for key, text in limits if key in value and math.isfinite(value[key])]
    return ", ".join([noun, *stated])


def _list_words(schema: dict[str, Any], value: dict[str, Any]) -> str:
    least, most = value.get("minItems"), value.get("maxItems")
    count = f" of {least}" if least is not None and least == most else (" of at least 1" if least else "")
    return f"list{count} ({words(schema, value['items'])})"


def _mapping_words(schema: dict[str, Any], value: dict[str, Any]) -> str:
    if "properties" in value:
        return "mapping with the keys " + ", ".join(f"`{key}`" for key in value["properties"])
    inner = value.get("additionalProperties")
    return f"mapping of names to: {words(schema, inner)}" if isinstance(inner, dict) and inner else "mapping"


_TYPES: dict[str, Any] = {
    "integer": _number_words,
    "number": _number_words,
    "array": _list_words,
    "object": _mapping_words,
    "string": lambda schema, value: "text",
    "boolean": lambda schema, value: "`true` or `false`",
    "null": lambda schema, value: "`null`",
}


if __name__ == "__main__":
    for path, text in files().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(ROOT), file=sys.stderr)
