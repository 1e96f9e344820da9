"""The JSON Schema beside a plan offers the names of every table, and accepts others."""

import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from builders import make_plan
from ruamel.yaml import YAML

import medseg
from medseg.delivery.provenance.plan_to_edit import NAMES, save_plan
from medseg.plans.file import SCHEMA_FILE
from medseg.training.losses.table import LOSSES


@pytest.fixture
def registered() -> Iterator[None]:
    medseg.register_loss("my_loss", LOSSES["dice"])
    yield
    del LOSSES["my_loss"]


@pytest.mark.usefixtures("registered")
def test_editors_offer_every_name_that_this_process_knows(tmp_path: Path) -> None:
    save_plan(make_plan(), tmp_path / "toy.yaml")
    schema = json.loads((tmp_path / SCHEMA_FILE).read_text(encoding="utf-8"))
    assert {name for name in schema["$defs"] if name.startswith("NameOf")} == NAMES.keys()
    for definition, names in NAMES.items():
        assert schema["$defs"][definition]["anyOf"] == [{"enum": [*names()]}, {"type": "string"}]
    assert "my_loss" in schema["$defs"]["NameOfLoss"]["anyOf"][0]["enum"]
    plan = json.loads(json.dumps(YAML(typ="safe").load((tmp_path / "toy.yaml").read_text(encoding="utf-8"))))
    validator = jsonschema.Draft7Validator(schema)
    for loss, valid in (("my_loss", True), ("of_another_process", True), (3, False)):
        assert validator.is_valid({**plan, "training": {**plan["training"], "loss": loss}}) == valid


def test_the_public_call_is_this_one() -> None:
    assert medseg.save_plan is save_plan
