"""Folds: patients stay together, rare structures are spread, nnU-Net's folds are nnU-Net's."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.io.layouts.find import find_cases
from medseg.planning.splits import make_splits, nnunet_splits, patient_leaks, read_splits, unlearnable, write_splits


def cases_of(**patients: int) -> list[Case]:
    """So many cases of each patient, with ids such as `ann0`."""
    return [
        Case(f"{patient}{number}", patient, (Path("x.nii.gz"),))
        for patient, count in patients.items()
        for number in range(count)
    ]


def sizes(folds) -> list[int]:
    return sorted(len(fold["val"]) for fold in folds)


def check_partition(folds, cases) -> None:
    patient_of = {case.id: case.patient for case in cases}
    assert sorted(id for fold in folds for id in fold["val"]) == sorted(patient_of)
    for fold in folds:
        assert sorted(fold["train"] + fold["val"]) == sorted(patient_of)
        assert not {patient_of[id] for id in fold["train"]} & {patient_of[id] for id in fold["val"]}


def test_patients_stay_together():
    cases = cases_of(**{f"p{number}": 1 + number % 4 for number in range(20)})
    folds, why = make_splits(cases, {})
    check_partition(folds, cases)
    assert set(sizes(folds)) <= {9, 10, 11}
    assert why == "5 folds of 50 cases, 20 patients, divided by patient"


def test_rare_structures_are_in_every_fold():
    cases = cases_of(**{f"p{number:02}": 3 for number in range(40)})
    rare = {"p03", "p04", "p05", "p06", "p07"}
    structures = {case.id: {"liver", "cyst"} if case.patient in rare else {"liver"} for case in cases}
    folds, why = make_splits(cases, structures)
    check_partition(folds, cases)
    assert [sum("cyst" in structures[id] for id in fold["val"]) for fold in folds] == [3] * 5
    assert sizes(folds) == [24] * 5
    assert "rarest structure is cyst, liver" in why


def annotate(cases: list[Case], *annotated: str) -> list[Case]:
    return [replace(case, annotated=annotated) for case in cases]


def test_partly_labelled_cases_are_spread_even_where_the_structure_is_absent():
    whole = cases_of(**{f"p{number:02}": 1 for number in range(20)})
    partly = annotate(cases_of(**{f"q{number:02}": 1 for number in range(10)}), "liver")
    cases = [*whole, *partly]
    folds, why = make_splits(cases, {case.id: {"liver"} for case in cases})  # nobody has a cyst: 20 say so
    check_partition(folds, cases)
    assert [sum(id.startswith("q") for id in fold["val"]) for fold in folds] == [2] * 5
    assert why.endswith("each with its share of the partly labelled cases")


def test_a_structure_counts_only_where_it_was_annotated():
    # cysts are in every label file, but were annotated in five patients alone; others differ in what else was
    cases = cases_of(**{f"p{number:02}": 1 for number in range(30)})
    cases = cases[:5] + [annotate([one], "liver", f"other {number}")[0] for number, one in enumerate(cases[5:])]
    folds, why = make_splits(cases, {case.id: {"liver", "cyst"} for case in cases})
    check_partition(folds, cases)
    first = {case.id for case in cases[:5]}
    assert [len(first & {*fold["val"]}) for fold in folds] == [1] * 5
    assert "rarest structure is cyst, liver" in why
    assert "partly" not in why  # each of the 25 is of a kind of its own


def test_same_seed_same_folds_whatever_the_order():
    cases = cases_of(**{f"p{number}": 2 for number in range(12)})
    first = make_splits(cases, {}, seed=3)
    assert make_splits(cases[::-1], {}, seed=3) == first
    assert make_splits(cases, {}, seed=4) != first


def test_fewer_patients_than_folds():
    cases = cases_of(ann=4, ben=1, cid=2)
    folds, why = make_splits(cases, {})
    check_partition(folds, cases)
    assert sizes(folds) == [1, 2, 4]
    assert "3 folds of 7 cases" in why
    assert "not 5, as there are only 3 patients" in why


def test_one_patient_has_no_folds():
    assert make_splits(cases_of(ann=3), {}) == ([], "no folds: 3 cases of 1 patient cannot be divided")


def test_many_small_strata_do_not_fail():
    cases = cases_of(a=1, b=1, c=1, d=1, e=1, f=1)
    structures = {case.id: {f"only in {case.id}"} for case in cases}
    folds, why = make_splits(cases, structures)
    check_partition(folds, cases)
    assert sizes(folds) == [1, 1, 1, 1, 2]
    assert "rarest" not in why


def test_nnunet_splits():
    # nnU-Net v2.8.1, generate_crossval_split(sorted ids): KFold(5, shuffle=True, random_state=12345)
    folds = nnunet_splits([f"case_{number}" for number in range(7)])
    numbers = [[id.removeprefix("case_") for id in fold["val"]] for fold in folds]
    assert numbers == [["3", "6"], ["0", "4"], ["1"], ["5"], ["2"]]
    check_partition(folds, [Case(f"case_{number}", str(number), (Path("x"),)) for number in range(7)])
    with pytest.raises(DataError, match="needs at least 5 cases; there are 4"):
        nnunet_splits("abcd")


def test_folds_come_back_as_written(tmp_path):
    cases = cases_of(**{f"p{number}": 1 for number in range(7)})
    folds, _ = make_splits(cases, {})
    write_splits(tmp_path / "splits.json", folds)
    assert read_splits(tmp_path / "splits.json", cases) == folds
    assert json.loads((tmp_path / "splits.json").read_text())[0].keys() == {"train", "val"}
    assert patient_leaks(folds, cases) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "holds no folds"),
        ('{"train": []}', "holds no folds"),
        ('[{"train": ["ann0"]}]', "holds no folds: KeyError: 'val'"),
        ('[{"train": ["ann0"], "val": ["zoe"]}]', "0 names 'zoe', which the data set does not have; it has ann0"),
        ('[{"train": ["ann0"], "val": []}, {"train": ["ben0"], "val": ["ben0"]}]', "1 has 'ben0' in train and in val"),
        ('[{"train": ["ann0", "ann0"], "val": []}]', "has 'ann0' twice"),
        ('[{"train": [], "val": ["ann0"]}]', "has no case to train on"),
    ],
)
def test_wrong_folds_are_named(tmp_path, content, message):
    (tmp_path / "splits.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_splits(tmp_path / "splits.json", cases_of(ann=2, ben=1))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"splits\.json holds no folds: FileNotFoundError"):
        read_splits(tmp_path / "splits.json", [])


def test_patients_on_both_sides_are_warned_about(tmp_path):
    cases = cases_of(ann=2, ben=2)
    leaky, clean = {"train": ["ann0", "ben0"], "val": ["ann1"]}, {"train": ["ben0"], "val": ["ann0"]}
    (tmp_path / "splits.json").write_text(json.dumps([leaky, clean]))
    folds = read_splits(tmp_path / "splits.json", cases)
    assert patient_leaks(folds, cases) == ["fold 0 has patient 'ann' in train and in val: its scores are too good"]


@pytest.mark.parametrize("holding", [["ann0"], ["ann0", "ann1"], ["ann0", "ben0"], ["ann0", "ben0", "cid0"]])
def test_a_structure_that_a_fold_cannot_learn_is_named(holding):
    cases = cases_of(ann=2, ben=1, cid=1, dan=1)
    present = {case.id: {"common", *({"rare"} if case.id in holding else ())} for case in cases}
    folds, _ = make_splits(cases, present)
    without = [n for n, fold in enumerate(folds) if not {*holding} & {*fold["train"]}]
    warnings = unlearnable(folds, cases, present)
    assert len(warnings) == bool(without)
    if without:
        assert f"fold {without[0]} holds rare" in warnings[0]
    not_annotated = [replace(case, annotated=("common",)) for case in cases]
    assert unlearnable(folds, not_annotated, present) == []


@pytest.mark.real
def test_real_patients_stay_together(data_dir):
    cases = find_cases(data_dir / "cardiac2d", r"^(SC-[A-Z-]+\d+)-IM").cases
    folds, why = make_splits(cases, {case.id: {"foreground"} for case in cases})
    check_partition(folds, cases)
    assert "260 cases, 15 patients" in why
    assert min(sizes(folds)) > 30
