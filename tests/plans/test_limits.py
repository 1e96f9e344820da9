"""Plans, patterns and lists from strangers: bounded time and memory, one message that names key and limit."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import make_plan, plan_values

from medseg.core.case import Case
from medseg.core.errors import DataError, MedsegError, PlanError
from medseg.io.layouts import dataset
from medseg.io.layouts.dataset import assign_patients
from medseg.models.package.metadata import Metadata
from medseg.networks.device import memory_errors, unpickling_reason
from medseg.planning.splits import read_splits
from medseg.plans.file import dump_plan, load_plan, parse_plan, validate_plan

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize("text", ["a: &a [*a]\n", "a: &a {b: *a}\n"])
def test_references_to_themselves_end(text: str) -> None:
    with pytest.raises(PlanError, match="is not a"):
        parse_plan(text, "plan.yaml")


def test_references_cannot_fill_the_memory() -> None:
    with pytest.raises(PlanError, match=r"with its references \(\*name\) filled in it has more than 200,000 values"):
        parse_plan(LAUGHS, "plan.yaml")


def test_references_that_stay_small_are_read() -> None:
    text = dump_plan(make_plan()).replace("patch_voxels: [", "patch_voxels: &patch [")
    assert "&patch" in text
    assert parse_plan(text, "plan.yaml") == make_plan()


def test_unknown_keys_without_number_give_a_short_message() -> None:
    values = plan_values() | {f"key_{number}": number for number in range(20_000)} | {"y" * 200_000: 1}
    with pytest.raises(PlanError) as caught:
        validate_plan(values, {}, "plan.yaml")
    assert len(str(caught.value)) < 5000
    assert "unknown key 'key_0'" in str(caught.value)
    assert "more problems" in str(caught.value)


def test_a_long_key_is_cut() -> None:
    with pytest.raises(PlanError) as caught:
        validate_plan(plan_values() | {"y" * 200_000: 1}, {}, "plan.yaml")
    assert len(str(caught.value)) < 2000


def test_a_file_that_is_too_large_for_a_plan_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("#" * (3 << 20))
    with pytest.raises(PlanError, match="has more than 2,097,152 bytes"):
        load_plan(tmp_path / "plan.yaml")


ABSURD = [
    ("configurations.main.patch_voxels", [10**7] * 3, "at most 16384"),
    ("configurations.main.patch_voxels", [16384] * 3, "expected at most 1,073,741,824"),
    ("configurations.main.spacing_mm", [1e-9] * 3, "at least 0.000001"),
    ("configurations.main.spacing_mm", [float("inf")] * 3, "finite number"),
    ("configurations.main.batch_size", 10**9, "at most 100000"),
    ("configurations.main.median_shape_voxels", [float("nan")] * 3, "finite number"),
    ("inference.gaussian_sigma_fraction", 1e-300, "at least 0.01"),
    ("inference.step_fraction", 1e-9, "at least 0.01"),
    ("training.steps", 10**12, "at most 1000000000"),
    ("training.learning_rate", float("inf"), "finite number"),
    ("training.augmentation.blur_sigma_voxels", [0, 1e300], "at most 1000"),
    ("training.augmentation.scaling_range", [1e-300, 1], "at least 0.001"),
]


@pytest.mark.parametrize(("key", "value", "limit"), ABSURD)
def test_absurd_numbers_are_refused_with_key_and_limit(key: str, value: Any, limit: str) -> None:
    values: dict[str, Any] = make_plan().model_dump(mode="json")
    section: Any = values
    *parents, last = key.split(".")
    for name in parents:
        section = section[name]
    section[last] = value
    with pytest.raises(PlanError) as caught:
        validate_plan(values, {}, "plan.yaml")
    assert key.rpartition(".")[2] in str(caught.value)
    assert limit in str(caught.value)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)+$", "(a*)*b", "(.*)*x"])
def test_a_pattern_that_never_ends_is_refused(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "_MOST_SEARCH_SECONDS", 0.25)
    with pytest.raises(DataError, match=r"takes more than 0.25 seconds on the case ids"):
        assign_patients([Case("a" * 60 + "!", "", ())], pattern)


@pytest.mark.parametrize("pattern", ["^(P[0-9]+)", "^([^_]+)_.+", "P[0-9]+|Q[0-9]+", r"^(\w+?)[-_]\d+$"])
def test_usual_patterns_find_the_patient(pattern: str) -> None:
    (case,) = assign_patients([Case("P07_12", "", ())], pattern)
    assert case.patient == "P07"


def test_a_file_of_very_many_folds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    path.write_text(json.dumps([{"train": ["a"], "val": ["b"]}] * 20_000))
    with pytest.raises(DataError, match="holds 20,000 folds; expected at most 1,000"):
        read_splits(path, [Case("a", "a", ()), Case("b", "b", ())])


@pytest.mark.parametrize("folds", [["0"] * 2, [str(number) for number in range(5000)]])
def test_a_package_names_each_fold_once(folds: list[str]) -> None:
    values = {
        "format": "medseg model",
        "schema_version": 1,
        "medseg": "1",
        "name": "toy",
        "channels": ["ct"],
        "structures": {"one": 1},
        "stages": [{"configuration": "main", "folds": ["0"]}],
        "members": {},
    }
    Metadata.model_validate(values)
    values["stages"][0]["folds"] = folds  # type: ignore[index]
    with pytest.raises(ValueError, match="folds"):
        Metadata.model_validate(values)


def test_a_lack_of_memory_in_onednn_gets_the_advice() -> None:
    with pytest.raises(MedsegError, match="not enough memory") as caught, memory_errors("Take a smaller batch."):
        raise RuntimeError("could not create a primitive")
    assert caught.value.hint == "Take a smaller batch."


def test_torchs_advice_to_read_unsafely_is_not_passed_on(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"a": subprocess.Popen}, path)
    with pytest.raises(Exception, match="weights_only") as caught:
        torch.load(path, weights_only=True)
    reason = unpickling_reason(caught.value)
    assert "weights_only" not in reason
    assert "safe_globals" not in reason
    assert reason


@pytest.mark.parametrize("key", ["channel_names\ud800", "\udce9"])
def test_half_a_character_is_refused_by_name(key: str) -> None:
    with pytest.raises(PlanError, match=r"nnunet.*is not a character"):
        validate_plan(plan_values(nnunet={"dataset": {key: 1}}), {}, "plan.yaml")
    assert "nnunet" in dump_plan(make_plan(nnunet={"dataset": {"é": "日本"}}))


@pytest.mark.parametrize("boundaries", [{1: 7}, {7: 2}, {1: 1}, {1: 2, 2: 1}])
def test_boundaries_of_values_that_no_structure_has_are_refused(boundaries: dict[int, int]) -> None:
    values = plan_values()
    values["data"]["reading"] = {"boundaries": boundaries}
    with pytest.raises(PlanError, match=r"data.reading.boundaries is .* two of 1, 2"):
        validate_plan(values, {}, "the plan", [], "as it is")
