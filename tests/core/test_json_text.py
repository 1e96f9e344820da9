"""JSON from strangers."""

import pytest

from medseg.core.json_text import parse_json


@pytest.mark.parametrize("depth", [101, 900, 100_000])
@pytest.mark.parametrize(("start", "end"), [("[", "]"), ('{"a":', "}")])
def test_values_too_deep_are_no_json(depth: int, start: str, end: str) -> None:
    inner = "1" if start != "[" else ""
    with pytest.raises(ValueError, match="levels"):
        parse_json(start * depth + inner + end * depth)


def test_values_are_those_of_the_standard_library() -> None:
    assert parse_json("[" * 99 + "]" * 99)
    assert parse_json(b'{"a": {"b": [1, 2.5, null]}}') == {"a": {"b": [1, 2.5, None]}}
    assert parse_json('{"a": 1, "a": 2}', object_pairs_hook=lambda pairs: {"pairs": pairs}) == {
        "pairs": [("a", 1), ("a", 2)]
    }
