"""The JSON Schema of the plan and the reference made of it: current, complete, and of one mind with `Plan`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pydantic
import pytest
from builders import make_plan
from paths import DOCS, ROOT
from ruamel.yaml import YAML

from medseg.plans.file import SCHEMA_FILE, dump_plan, load_plan, parse_plan, save_plan
from medseg.plans.schema import Configuration, Plan

sys.path.insert(0, str(DOCS / "make"))
from plan_keys import EXAMPLES, SCHEMA, files, words
from plan_schema import keys_of

EXAMPLE = EXAMPLES.read_text(encoding="utf-8")
VALIDATOR = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))


def plain(text: str) -> Any:
    """YAML as an editor sees it: keys are strings."""
    return json.loads(json.dumps(YAML(typ="safe").load(text)))


@pytest.mark.skipif(
    tuple(map(int, pydantic.VERSION.split(".")[:2])) < (2, 14), reason="this pydantic words schemas in another way"
)
def test_schema_and_pages_are_current() -> None:
    """After a change: `python docs/make/plan_keys.py`."""
    stale = [path.name for path, text in files().items() if path.read_text(encoding="utf-8") != text]
    assert stale == []


@pytest.mark.parametrize("path", [EXAMPLES, *sorted(ROOT.glob("plans/*.yaml"))], ids=lambda path: path.stem)
def test_plans_are_valid(path: Path) -> None:
    load_plan(path)
    assert [error.message for error in VALIDATOR.iter_errors(plain(path.read_text(encoding="utf-8")))] == []


def test_every_key_has_title_description_type_and_default() -> None:
    jsonschema.Draft7Validator.check_schema(VALIDATOR.schema)
    required = {*VALIDATOR.schema["required"]}
    keys = dict(keys_of(VALIDATOR.schema, VALIDATOR.schema))
    for key, item in keys.items():
        assert item["title"] == key.rpartition(".")[2]
        assert item["description"].endswith("."), key
        assert words(VALIDATOR.schema, item), key
        assert key not in required or "default" not in item, key
    fields = {*Plan.model_fields, *(f"configurations.NAME.{name}" for name in Configuration.model_fields)}
    assert fields - keys.keys() == {"reasons"}


def test_every_key_stands_in_the_example() -> None:
    """So that each has an example in the reference: a new key needs a line in docs/plan-keys/every-key.yaml."""
    pages = {path: text for path, text in files().items() if path.suffix == ".md"}
    headings = [line[4:-1] for text in pages.values() for line in text.splitlines() if line.startswith("## `")]
    assert sorted(headings) == sorted(dict(keys_of(VALIDATOR.schema, VALIDATOR.schema)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  steps: 5000", "  stepps: 5000"),
        ("  steps: 5000", "  steps: 0"),
        ("  optimizer: adamw", "  optimizer: adamx"),
        ("    batch_size: 2", "    batchsize: 2"),
        ("      blocks: [2, 2, 2]", "      blocks: many"),
        ("weights: [1.0, 0.3]}", "weights: [1.0, -0.3]}"),
        ("{sum: [", "{summe: ["),
        ("activation: sigmoid", "activation: tanh"),
        ("{scheme: ct, nonzero_only: false}", "{schema: ct}"),
        ("name: liver\n", ""),
    ],
)
def test_both_refuse(old: str, new: str) -> None:
    assert old in EXAMPLE
    text = EXAMPLE.replace(old, new)
    assert not VALIDATOR.is_valid(plain(text))
    with pytest.raises(Exception, match="valid"):
        parse_plan(text, "a plan")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("loss: {sum: [", "loss: dice_ce # ["),
        ("loss: {sum: [", "loss: {name: tversky, alpha: 0.3} # ["),
        ("loss: {sum: [", "loss: {sum: [dice_ce, {name: focal, weight: 0.5}]} # ["),
        ("deep_supervision: {", "deep_supervision: false # {"),
        ("class_weights: {", "class_weights: inverse_frequency # {"),
        ("overlaps: later", "overlaps: {1+2: 3}"),
        ("tile_batch: 4", "tile_batch: auto"),
    ],
)
def test_both_take_every_form(old: str, new: str) -> None:
    assert old in EXAMPLE
    text = EXAMPLE.replace(old, new)
    parse_plan(text, "a plan")
    assert [error.message for error in VALIDATOR.iter_errors(plain(text))] == []


def test_a_plan_to_edit_names_the_schema_that_lies_beside_it(tmp_path: Path) -> None:
    plan = make_plan()
    save_plan(plan, tmp_path / "toy.yaml")
    first, rest = (tmp_path / "toy.yaml").read_text(encoding="utf-8").split("\n", 1)
    assert first == "# yaml-language-server: $schema=./plan.schema.json"
    assert rest == dump_plan(plan), "what runs and packages hold has no such line"
    assert (tmp_path / SCHEMA_FILE).read_bytes() == SCHEMA.read_bytes()
    assert load_plan(tmp_path / "toy.yaml") == parse_plan(rest, "without the line") == plan
