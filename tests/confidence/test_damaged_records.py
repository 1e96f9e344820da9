"""Judgements that were changed by hand, or are damaged, are refused, and never end in a stack trace later."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from judged_examples import fitted_quality, make_examples
from ruamel.yaml import YAML

from medseg.confidence.assessment import assess
from medseg.confidence.measures import Example
from medseg.confidence.quality import Quality
from medseg.core.errors import ModelError
from medseg.selection.file import dump_selection, parse_selection
from medseg.selection.record import Member, Selection


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return make_examples(45)


@pytest.fixture(scope="module")
def quality(examples: list[Example]) -> Quality:
    return fitted_quality(examples)


def changes(values: Any) -> Iterator[Any]:
    """Yield copies of a record with one entry of a list or table dropped, doubled, set to 0 or made negative."""

    def places(node: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        keys = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            if not isinstance(key, int) or key in (0, len(node) - 1):  # what lies between is alike
                yield (*path, key)
                yield from places(node[key], (*path, key))

    for *path, last in places(values, ()):
        for change in ("drop", "double", "zero", "negative", "huge"):
            changed = copy.deepcopy(values)
            parent = changed
            for key in path:
                parent = parent[key]
            if change == "drop":
                del parent[last]
            elif change == "double" and isinstance(parent, list):
                parent.append(copy.deepcopy(parent[last]))
            elif isinstance(parent[last], int | float):
                parent[last] = {"zero": 0, "negative": -abs(parent[last]) - 1, "huge": 1e300}.get(change, parent[last])
            else:
                continue
            yield changed


def test_whatever_is_changed_is_refused_or_judges(examples: list[Example], quality: Quality) -> None:
    refused = accepted = 0
    with np.errstate(over="ignore", invalid="ignore"):
        for changed in changes(quality.model_dump(mode="json")):
            try:
                again = Quality.model_validate(changed)
            except ValueError:  # pydantic's
                refused += 1
                continue
            assess(examples[0].measures, again)
            accepted += 1
    assert refused > 100
    assert accepted > 100


def first(table: dict[str, Any]) -> Any:
    return next(iter(table.values()))


LENGTHS = {
    "regression": lambda values: first(values["dice"])[0]["weights"].pop(),
    "figures": lambda values: first(values["dice"])[0]["figures"].pop(),
    "distance": lambda values: values["reference"]["scan"]["scale"].pop(),
    "precision": lambda values: values["reference"]["scan"]["precision"].pop(),
    "row of precision": lambda values: values["reference"]["scan"]["precision"][0].pop(),
    "channels": lambda values: values["reference"]["deep"]["mean"].pop(),
    "scale of 0": lambda values: first(values["reference"]["volume"]).update(scale=0),
    "volume without end": lambda values: first(values["reference"]["volume"]).update(mean=1e5),
    "half a pair": lambda values: values["reference"].update(sides=[["a"]]),
    "three of a pair": lambda values: values["reference"].update(sides=[["a", "b", "c"]]),
    "two axes": lambda values: first(values["reference"]["arrangement"]).update(
        mean=[0, 0], scale=[1, 1], precision=[[1, 0], [0, 1]]
    ),
    "negative threshold": lambda values: values["thresholds"]["scan"].update({"": -1}),
    "not a number": lambda values: values["reference"]["scan"]["mean"].__setitem__(0, float("nan")),
}


@pytest.mark.parametrize("name", LENGTHS)
def test_the_file_is_refused_with_its_key(name: str, quality: Quality) -> None:
    selection = Selection(plan="a", medseg="0", made="now", members=[Member(configuration="2d", folds=["0"])])
    whole = Selection.model_validate({**selection.model_dump(), "quality": quality.model_dump(mode="json")})
    text = dump_selection(whole)
    assert parse_selection(text.encode(), "selection.yaml") == whole

    values = YAML(typ="safe", pure=True).load(text)
    LENGTHS[name](values["quality"])
    stream = io.StringIO()
    YAML(typ="safe", pure=True).dump(values, stream)
    with pytest.raises(ModelError, match=r"selection\.yaml is not a valid selection: quality\."):
        parse_selection(stream.getvalue().encode(), "selection.yaml")
