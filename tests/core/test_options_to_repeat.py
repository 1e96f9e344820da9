"""Options that belong to the command by which a result is repeated."""

from dataclasses import dataclass, field
from typing import Annotated

from medseg.commands.train.options import TrainOptions
from medseg.core.options import REPEATED, Option, words_to_repeat


@dataclass(frozen=True)
class Options:
    """Options of a verb that does not exist."""

    settings: Annotated[list[str], Option("--set -s"), REPEATED] = field(default_factory=list)
    best_of: Annotated[int, REPEATED] = 3
    fast: Annotated[bool, REPEATED] = False
    device: str = "auto"


def test_options_are_as_they_are_typed_and_those_with_their_default_left_out() -> None:
    assert words_to_repeat(Options()) == words_to_repeat(Options(device="cpu")) == []
    given = Options(settings=["a=1", "b=2"], best_of=0, fast=True)
    assert words_to_repeat(given) == ["--best-of", "0", "--fast", "--set", "a=1", "--set", "b=2"]


def test_a_training_is_repeated_with_what_changes_its_weights() -> None:
    options = TrainOptions(
        steps=5, overrides=["training.seed=1"], init="a/b", download=True, recipe="nnunet", device="cpu"
    )
    assert words_to_repeat(options) == [
        "--init", "a/b", "--recipe", "nnunet", "--download", "--set", "training.seed=1",
    ]  # fmt: skip
