"""How much longer a run is trained: as typed, as told, and in steps."""

import pytest

from medseg.core.errors import PlanError
from medseg.training.length.extension import Extension, nothing_to_train, parse_extension


@pytest.mark.parametrize(
    ("text", "extension", "steps"),
    [
        ("2x", Extension(factor=2.0), 1000),
        ("1.25x", Extension(factor=1.25), 250),
        ("5000", Extension(steps=5000), 5000),
        ("20m", Extension(seconds=1200.0), 0),  # how many steps that is, measuring says
        ("1h", Extension(seconds=3600.0), 0),
    ],
)
def test_an_extension_of_a_run_of_a_thousand_steps(text: str, extension: Extension, steps: int) -> None:
    assert parse_extension(text) == extension
    assert extension.more(1000) == steps
    assert parse_extension(str(extension)) == extension, "what is told can be typed"


@pytest.mark.parametrize("text", ["", "x", "2 x", "-5", "2.5", "two", "20 parsecs", "5²"])
def test_other_texts_are_refused_with_examples(text: str) -> None:
    with pytest.raises(PlanError, match="is not an extension") as refused:
        parse_extension(text)
    for example in ("2x", "5000", "20m"):
        assert example in str(refused.value.hint)
        parse_extension(example)


def test_an_extension_that_adds_nothing_is_named() -> None:
    assert Extension(factor=1.0).more(1000) == 0
    assert "--extend 1x leaves nothing to train" in str(nothing_to_train("--extend 1x"))
