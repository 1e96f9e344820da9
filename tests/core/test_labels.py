"""Labels: values in files, indices inside, structures out; softmax and overlapping regions."""

from typing import Any

import numpy as np
import pytest
import torch
from builders import make_plan
from pydantic import ValidationError

from medseg.core.errors import DataError, PlanError
from medseg.core.labels import IGNORE, Labels

MASK = Labels(structures={"lesion": 255})
GAPS = Labels(structures={"spleen": 10, "liver": 3, "kidney": 7})
REGIONS = Labels(
    structures={"whole": [1, 2, 4], "core": [2, 4], "enhancing": 4}, activation="sigmoid", region_values=[1, 2, 4]
)


def one_hot_logits(index: list[int], outputs: int) -> torch.Tensor:
    """Logits that prefer one output for each voxel."""
    return torch.nn.functional.one_hot(torch.tensor(index), outputs).movedim(-1, 0) * 8.0 - 4.0


@pytest.mark.parametrize(
    ("labels", "stored", "indices"),
    [
        (MASK, [0, 255, 255], [0, 1, 1]),
        (GAPS, [7, 0, 10, 3], [2, 0, 3, 1]),
        (REGIONS, [4, 0, 1, 2], [3, 0, 1, 2]),
        (Labels(structures={"a": 0, "b": 2}, background=1), [0, 1, 2], [1, 0, 2]),
        (Labels(structures={"a": 1}, ignore=9), [9, 1, 0], [IGNORE, 1, 0]),
        (Labels(structures={"a": 1}, ignore=-1), [-1, 1, 0], [IGNORE, 1, 0]),
    ],
)
def test_encode_turns_values_into_indices(labels: Labels, stored: list[int], indices: list[int]) -> None:
    encoded = labels.encode(np.array([[stored]]), "a.nii.gz")
    assert encoded.dtype == np.int16
    assert encoded.tolist() == [[indices]]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint64, np.int64])
def test_values_of_every_type_are_encoded(dtype: type) -> None:
    low, high = max(np.iinfo(dtype).min, -500_000), min(np.iinfo(dtype).max, 500_000)  # beyond and within a table
    labels = Labels(structures={"a": low + 1, "b": 5, "c": high}, background=low, ignore=7)
    stored = np.array([[high, 5, 7], [low, low + 1, 5]], dtype=dtype)
    assert labels.encode(stored, "x").tolist() == [[3, 2, IGNORE], [0, 1, 2]]
    assert labels.encode(stored[:, :0], "x").shape == (2, 0)
    with pytest.raises(DataError, match="x holds the label value 6, which"):
        labels.encode(np.append(stored, np.array(6, dtype)), "x")


def test_arrays_of_any_layout_are_encoded_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medseg.core.labels._CHUNK_VOXELS", 7)  # several chunks, the last one cut short
    labels = Labels(structures={"a": -3, "b": 2}, ignore=5)
    stored = np.random.default_rng(0).choice(np.array([0, -3, 2, 5], np.int8), (3, 5, 4))
    for array in (stored, np.asfortranarray(stored), stored[::-1, :, ::2]):
        expected = np.select([array == -3, array == 2, array == 5], [1, 2, IGNORE])
        np.testing.assert_array_equal(labels.encode(array, "x"), expected)
    with pytest.raises(TypeError):
        labels.encode(np.array([0.4]), "x")


@pytest.mark.parametrize("labels", [MASK, GAPS, Labels(structures={"a": 0, "b": 2}, background=1)])
def test_decide_answers_in_the_values_of_the_files(labels: Labels) -> None:
    stored = np.array(labels.values)
    logits = one_hot_logits(labels.encode(stored, "x").tolist(), labels.outputs)
    np.testing.assert_array_equal(labels.decide(logits).numpy(), stored)


def test_outputs_and_names_are_in_the_order_of_the_values() -> None:
    assert GAPS.names == ("liver", "kidney", "spleen")
    assert GAPS.outputs == 4
    assert GAPS.membership.tolist() == [
        [False, True, False, False],
        [False, False, True, False],
        [False, False, False, True],
    ]


def test_members_are_the_values_of_each_structure_in_the_order_of_the_outputs() -> None:
    assert list(GAPS.members.items()) == [("liver", (3,)), ("kidney", (7,)), ("spleen", (10,))]
    assert list(REGIONS.members.items()) == [("whole", (1, 2, 4)), ("core", (2, 4)), ("enhancing", (4,))]


def test_regions_have_an_output_each_and_share_values() -> None:
    assert REGIONS.names == ("whole", "core", "enhancing")
    assert REGIONS.outputs == 3
    assert REGIONS.values == (0, 1, 2, 4)
    assert REGIONS.membership.tolist() == [
        [False, True, True, True],
        [False, False, True, True],
        [False, False, False, True],
    ]


def test_regions_are_painted_in_order() -> None:
    #          nothing  whole  whole+core  all three  core alone
    whole = [-1.0, 1.0, 1.0, 1.0, -1.0]
    core = [-1.0, -1.0, 1.0, 1.0, 1.0]
    enhancing = [-1.0, -1.0, -1.0, 1.0, -1.0]
    assert REGIONS.decide(torch.tensor([whole, core, enhancing])).tolist() == [0, 1, 2, 4, 2]


def test_a_region_is_where_its_probability_is_above_one_half() -> None:
    logits = torch.full((3, 3), -1.0)
    logits[0] = torch.tensor([-0.001, 0.0, 0.001])
    assert REGIONS.decide(logits).tolist() == [0, 0, 1]


def test_painting_order_is_the_order_of_the_structures_not_of_the_values() -> None:
    labels = Labels(structures={"whole": [1, 2], "part": 1}, activation="sigmoid", region_values=[2, 1])
    assert labels.decide(torch.tensor([[1.0, 1.0, -1.0], [1.0, -1.0, 1.0]])).tolist() == [1, 2, 1]
    assert labels.written_values == {"whole": 2, "part": 1}


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([1, 255], np.uint8), ([1, 256], np.uint16), ([-3, 2], np.int32), ([1, 70000], np.int32)],
)
def test_written_in_the_smallest_type_that_fits(values: list[int], dtype: type) -> None:
    labels = Labels(structures={str(value): value for value in values})
    assert labels.dtype is dtype


def test_undeclared_values_are_named_with_the_file_and_what_is_declared() -> None:
    with pytest.raises(DataError, match=r"scan_7\.nii\.gz holds the label values 5, 99, .*declared are 0, 3, 7, 10"):
        GAPS.encode(np.array([0, 99, 5, 3]), "scan_7.nii.gz")


def test_a_long_list_of_undeclared_values_is_cut_short() -> None:
    with pytest.raises(DataError, match=r"12 and 8 more,"):
        Labels(structures={"a": 500}).encode(np.arange(21), "x")


def test_a_value_that_only_the_ignore_label_has_is_not_a_structure() -> None:
    labels = Labels(structures={"a": 1, "b": 2}, ignore=3)
    assert labels.values == (0, 1, 2)
    assert labels.outputs == 3
    with pytest.raises(DataError, match="label value 3"):
        Labels(structures={"a": 1, "b": 2}).encode(np.array([3]), "x")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            {"structures": {"a": [1, 2], "b": 2}, "activation": "sigmoid", "region_values": [1, 3]},
            "writes b as 3, which is none of its own values: 2",
        ),
        (
            {"structures": {"a": [1, 2], "b": [2, 3]}, "activation": "sigmoid", "region_values": [3, 2]},
            "writes a as 3, which is none of its own values: 1, 2",
        ),
        (
            {"structures": {"a": 1, "b": 2}, "region_values": [2, 1]},
            "writes a as 2, which is none of its own values: 1",
        ),
    ],
)
def test_values_that_a_structure_does_not_have_are_named(labels: dict[str, Any], message: str) -> None:
    """They are refused in a data set and a plan of medseg's, but not in a model of nnU-Net's."""
    assert Labels(**labels).foreign_values[0] == message
    with pytest.raises(PlanError, match=f"labels.region_values {message}"):
        make_plan(labels=labels)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"structures": {}}, "at least 1 item"),
        ({"structures": {"a": 1, "b": 1}}, "share one value"),
        ({"structures": {"a": 0}}, "share one value"),
        ({"structures": {"a": [1, 2]}}, "a is a region of several values, which needs activation: sigmoid"),
        ({"structures": {"a": [1, 2]}, "activation": "sigmoid"}, "regions need region_values"),
        ({"structures": {"a": [1, 2]}, "activation": "sigmoid", "region_values": [1, 2]}, "2 entries for 1 structure"),
        ({"structures": {"a": 1}, "ignore": 1}, "ignore value is also the value of a structure"),
        ({"structures": {"a": 1}, "ignore": 0}, "ignore value is also the value of a structure"),
        ({"structures": {"a": [0, 1]}, "activation": "sigmoid", "region_values": [1]}, "also the value of a structure"),
        ({"structures": {"a": 2**31}}, r"values run from 0 to 2147483648; expected -2147483648 to 2147483647"),
        ({"structures": {"a": 1}, "ignore": -(2**40)}, "values run from -1099511627776 to 1"),
        ({"structures": {"a": 1}, "weight": 2}, "Extra inputs"),
    ],
)
def test_contradictions_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Labels(**wrong)
