"""Options take values as they are typed on the command line."""

from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medseg
from medseg.commands.train.options import TrainOptions
from medseg.core.errors import PlanError
from medseg.core.verb_options import VerbOptions, declared_fields
from medseg.training.length.extension import parse_extension

OPTIONS = [
    value for name in medseg.__all__ if name.endswith("Options") and isinstance(value := getattr(medseg, name), type)
]


@pytest.mark.parametrize("options", OPTIONS)
def test_the_options_of_every_verb_take_values_as_they_are_typed(options: type) -> None:
    assert issubclass(options, VerbOptions)


UNUSED = [
    (options, field, inner)
    for options in OPTIONS
    for field, _, option in declared_fields(options)
    for inner in option.without
]
"""(options of a verb, its field with the options of another one, a field of these that has no effect there)."""


@pytest.mark.parametrize(("options", "field", "inner"), UNUSED)
def test_an_option_that_has_no_effect_is_refused(options: type, field: str, inner: str) -> None:
    given = copy(getattr(options(), field))
    options(**{field: given})
    object.__setattr__(given, inner, "given")  # as it is: whether it is valid does not matter here
    with pytest.raises(PlanError, match=f"{field}.{inner} is 'given', which has no effect here"):
        options(**{field: given})


@pytest.mark.parametrize(
    ("options", "field", "typed", "meant"),
    [
        (medseg.ViewOptions, "output", "page.html", Path("page.html")),
        (medseg.EvaluateOptions, "output", "scores", Path("scores")),
        (medseg.EvaluateOptions, "compare", "old", (Path("old"),)),
        (medseg.EvaluateOptions, "compare", ["old", Path("new")], [Path("old"), Path("new")]),
        (medseg.EvaluateOptions, "by", "site", ("site",)),
        (medseg.DataOptions, "cases", "cases.csv", Path("cases.csv")),
        (medseg.PredictOptions, "folds", "0,1", ("0", "1")),
        (medseg.PredictOptions, "folds", [0, 1], ["0", "1"]),
        (medseg.PredictOptions, "folds", 0, ("0",)),
        (medseg.PredictOptions, "folds", range(2), ("0", "1")),
        (medseg.PredictOptions, "folds", {3, 1, 2}, ("1", "2", "3")),
        (medseg.PredictOptions, "folds", np.arange(2), ("0", "1")),
        (medseg.PredictOptions, "folds", [np.int64(1)], ["1"]),
        (TrainOptions, "fold", np.int64(1), "1"),
        (medseg.PredictOptions, "folds", None, None),
        (medseg.PredictOptions, "series", "Modality=CT", ("Modality=CT",)),
        (medseg.PredictOptions, "overrides", "inference.mirror=false", ["inference.mirror=false"]),
        (medseg.SelectOptions, "configurations", "2d,3d_fullres", ("2d", "3d_fullres")),
        (medseg.CrossvalOptions, "budget_seconds", "5h", 18000.0),
        (medseg.PlanOptions, "memory_gb", "24GB", 24.0),
        (TrainOptions, "fold", 0, "0"),
        (TrainOptions, "extend", "2x", parse_extension("2x")),
        (TrainOptions, "init", Path("runs/a"), Path("runs/a")),
        (medseg.WriteOptions, "forms", "seg,report", ("seg", "report")),
    ],
)
def test_a_value_is_what_it_is_on_the_command_line(options: type, field: str, typed: Any, meant: Any) -> None:
    assert getattr(options(**{field: typed}), field) == meant


def test_values_that_are_as_declared_stay_the_same_objects() -> None:
    overrides = ["training.seed=1"]
    assert TrainOptions(overrides=overrides).overrides is overrides


def test_a_text_that_cannot_be_read_names_the_field() -> None:
    with pytest.raises(PlanError, match="budget_seconds: '5 hours' is not a duration"):
        medseg.CrossvalOptions(budget_seconds="5 hours")  # type: ignore[arg-type]


def test_options_that_are_no_options_are_named() -> None:
    with pytest.raises(PlanError, match=r"maps is 'probabilities'; expected Maps\(\.\.\.\)"):
        medseg.PredictOptions(maps="probabilities")  # type: ignore[arg-type]


def test_the_smallest_number_holds_for_calls_from_python_too() -> None:
    with pytest.raises(PlanError, match="steps is 0; expected 1 or more"):
        TrainOptions(steps=0)
    with pytest.raises(PlanError, match="processes is -1; expected 1 or more"):
        medseg.CrossvalOptions(processes=-1)
    assert TrainOptions(steps=1).steps == 1
