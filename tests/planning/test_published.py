"""The split that a data set comes with: recognized in a column, made fold 0, its test cases kept out."""

from pathlib import Path

import pytest

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.planning.published import numbered_folds, published_folds, published_split
from medseg.planning.splits import share_split


def cases_with(values: dict[str, str], column: str = "split", patients: dict[str, str] | None = None) -> list[Case]:
    """Return a case for each id, with what stands in the column for it."""
    return [
        Case(id, (patients or {}).get(id, id), (Path("x.png"),), attributes={column: value})
        for id, value in values.items()
    ]


@pytest.mark.parametrize("column", ["split", "Set", "image_set", "subset", "partition"])
@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ("train val test", ("a", "b", "c")),
        ("Training VALIDATION testing", ("a", "b", "c")),
        ("train train dev", ("ab", "c", "")),
        ("train trainval trainval", ("a", "bc", "")),
        ("trainval val trainval", ("ac", "b", "")),
        ("trainval trainval test", ("ab", "", "c")),
        ("train+trainval val+trainval test", ("a", "b", "c")),
        ("train2012 val_list train+train_aug", ("ac", "b", "")),
    ],
)
def test_a_column_of_words_for_parts_is_a_split(column, values, parts):
    split = published_split(cases_with(dict(zip("abc", values.split(), strict=True)), column))
    assert split is not None
    assert ({*split.train}, {*split.val}, {*split.test}) == tuple(map(set, parts))
    assert split.column == column


def test_cases_without_a_value_are_trained_on():
    split = published_split(cases_with({"a": "", "b": "val", "c": "test"}))
    assert (split.train, split.val, split.test) == ({"a"}, {"b"}, {"c"})
    assert split.sentence == "1 train, 1 val; 1 test case kept out (column split)"


def test_test_cases_beside_cases_without_a_value_are_kept_out():
    split = published_split(cases_with({"a": "", "b": "", "c": "test"}))
    assert (split.train, split.val, split.test) == ({"a", "b"}, set(), {"c"})
    assert published_split(cases_with({"a": "train", "b": ""})) is None


@pytest.mark.parametrize("values", ["train train train", "A B C", "train site2 site3", "1 2 3"])
def test_other_columns_are_no_split(values):
    assert published_split(cases_with(dict(zip("abc", values.split(), strict=True)))) is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("train+val val test", "'a' is in train and in val"),
        ("trainval+test val train", "'a' is in test and in trainval"),
        ("val test test", "has no case to train on: 0 train, 1 val, 2 test"),
        (
            "train val holdout",
            r"names parts of a split \(train, val\), and for 1 case 'holdout', which is none \(as for c",
        ),
    ],
)
def test_a_split_that_contradicts_itself_is_refused(values, message):
    with pytest.raises(DataError, match=message) as refused:
        published_split(cases_with(dict(zip("abc", values.split(), strict=True))))
    assert "--splits grouped" in str(refused.value)


@pytest.mark.parametrize("second", ["val", "test"])
def test_a_patient_in_two_parts_is_refused(second):
    cases = cases_with({"a": "train", "b": second}, patients={"a": "p", "b": "p"})
    with pytest.raises(DataError, match=r"1 patient in two parts \(p\)"):
        published_split(cases)


def test_fold_0_is_as_published_and_the_others_divide_train_and_val():
    values = {f"c{number:02d}": "train" if number < 12 else "val" if number < 16 else "test" for number in range(20)}
    cases = cases_with(values)
    split = published_split(cases)
    folds, why = published_folds(split, cases, {})
    assert folds[0] == {"train": [f"c{n:02d}" for n in range(12)], "val": [f"c{n:02d}" for n in range(12, 16)]}
    assert why.startswith("fold 0 is the published split; the other folds are random: 5 folds")
    assert len(folds) == 5
    for fold in folds:
        assert sorted(fold["train"] + fold["val"]) == [f"c{n:02d}" for n in range(16)]


def test_without_a_published_val_all_folds_are_random_and_without_the_test_cases():
    cases = cases_with({f"c{number}": "train" if number < 6 else "test" for number in range(9)})
    folds, why = published_folds(published_split(cases), cases, {})
    assert {id for fold in folds for id in fold["train"] + fold["val"]} == {f"c{n}" for n in range(6)}
    assert why.startswith("the published split has no part for validation: 5 folds of 6 cases")


@pytest.mark.parametrize(
    ("share", "patients", "validated"), [(0.2, 50, 10), (0.3, 40, 12), (0.25, 3, 1), (0.01, 50, 1)]
)
def test_a_share_is_one_fold_by_patient(share, patients, validated):
    cases = [Case(f"p{n}_{k}", f"p{n}", (Path("x.png"),)) for n in range(patients) for k in range(2)]
    folds, why = share_split(cases, {}, share)
    assert len(folds) == 1
    owners = [{id.split("_")[0] for id in folds[0][side]} for side in ("train", "val")]
    assert owners[0].isdisjoint(owners[1])
    assert sorted(folds[0]["train"] + folds[0]["val"]) == sorted(case.id for case in cases)
    least, most = (1, 3) if share == 0.01 else (validated, validated)
    assert least <= len(owners[1]) <= most
    assert why.startswith("one fold, as asked for")


def test_a_single_patient_cannot_be_divided():
    cases = [Case(id, "p", (Path("x.png"),)) for id in "ab"]
    assert share_split(cases, {}, 0.2)[0] == []


@pytest.mark.parametrize("written", ["{}", "{}.0", "{}.00"])
def test_numbers_of_folds_may_be_written_with_a_point(written):
    """As tables do where some are missing."""
    cases = [Case(str(n), str(n), (), attributes={"fold": written.format(n % 2)}) for n in range(4)]
    folds, _ = numbered_folds([*cases, Case("4", "4", (), attributes={"fold": "nan"})])
    assert [fold["val"] for fold in folds] == [["0", "2"], ["1", "3"]]
    assert all("4" in fold["train"] for fold in folds)


def test_a_column_that_numbers_no_folds_is_refused():
    cases = [Case(str(n), str(n), (), attributes={"fold": "ABC"[n % 3]}) for n in range(6)]
    with pytest.raises(DataError, match="column fold holds 'A', 'B', 'C'; expected 0, 1, 2"):
        numbered_folds(cases)
