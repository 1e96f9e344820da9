"""References in YAML are seen before the text is read; what is no YAML, or only looks like one, has none."""

from __future__ import annotations

import pytest

from medseg.core.yaml_text import repeats_by_reference


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x [1]\nb: *x", True),
        ("a: &x [b]\nb: {<<: *x}", True),
        ("a: &x [1]", False),
        ("a: '*x'  # *y", False),
        ("a: [*", False),
        ("", False),
    ],
)
def test_references(text: str, expected: bool) -> None:
    assert repeats_by_reference(text) == expected
