"""Preprocessed cases on disk: made once, found again, and made anew when anything they depend on changes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import make_plan, plan_values

from medseg.core.case import Case
from medseg.core.errors import MedsegError
from medseg.core.labels import IGNORE, OUTSIDE
from medseg.core.progress import Progress
from medseg.plans.file import validate_plan
from medseg.plans.schema import Plan
from medseg.preprocessing.cache import Sample, load_samples
from medseg.preprocessing.volume import prepare

SaveNifti = Callable[..., Path]


@pytest.fixture
def case(tmp_path: Path, save_nifti: SaveNifti) -> Case:
    rng = np.random.default_rng(0)
    label = np.zeros((6, 7, 8), dtype=np.uint8)
    label[1:3, 2:5, 3:7] = 1
    label[4, 1:3, 1:3] = 2
    image = save_nifti(tmp_path / "data" / "a.nii.gz", rng.integers(1, 200, size=(6, 7, 8)).astype(np.int16))
    return Case("a", "a", (image,), save_nifti(tmp_path / "data" / "a_label.nii.gz", label))


def load(cases: list[Case], plan: Plan, folder: Path) -> list[Sample]:
    samples, failed = load_samples(cases, plan, plan.configuration("main"), folder)
    assert not failed
    return samples


def test_a_sample_holds_the_prepared_case_and_where_its_structures_are(tmp_path: Path, case: Case) -> None:
    (sample,) = load([case], make_plan(), tmp_path / "cache")
    assert sample.case == case
    assert sample.image.shape == (1, 6, 7, 8)
    assert sample.image.dtype == torch.float32
    assert float(sample.image.mean()) == pytest.approx(0, abs=1e-5)
    assert sample.label.dtype == torch.int16
    for number, places in enumerate(sample.locations, start=1):
        torch.testing.assert_close(places, (sample.label.flatten() == number).nonzero()[:, 0])
    assert [len(places) for places in sample.locations] == [24, 4]
    assert len(sample.annotated) == 0


def test_what_is_there_is_read_again_and_equal(tmp_path: Path, case: Case) -> None:
    plan, folder = make_plan(), tmp_path / "cache"
    (first,) = load([case], plan, folder)
    (path,) = folder.iterdir()
    stamp = path.stat().st_mtime_ns
    (second,) = load([case], plan, folder)
    assert [path] == list(folder.iterdir())
    assert path.stat().st_mtime_ns == stamp
    torch.testing.assert_close(second.image, first.image, rtol=0, atol=0)
    torch.testing.assert_close(second.label, first.label, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("changes", "new_file"),
    [
        ({"configuration": {"spacing_mm": [1.0, 1.0, 2.0]}}, True),
        ({"configuration": {"normalization": [{"scheme": "rescale_0_1"}]}}, True),
        ({"configuration": {"resample_image": {"order": 1, "order_across": 0, "separate_axis": None}}}, True),
        ({"configuration": {"resample_label": {"order": 0, "order_across": 0, "separate_axis": None}}}, True),
        ({"orientation": "canonical"}, True),
        ({"transpose_forward": [1, 0, 2]}, True),
        ({"labels": {"structures": {"one": 2, "two": 1}}}, True),
        ({"labels": {"structures": {"one": 1, "two": 2}, "ignore": 9}}, True),
        ({"configuration": {"patch_voxels": [8, 8, 8], "batch_size": 5}}, False),
        ({"configuration": {"resample_logits": {"order": 0, "order_across": 0, "separate_axis": None}}}, False),
        ({"name": "other"}, False),
    ],
)
def test_only_what_preprocessing_depends_on_makes_a_new_file(
    tmp_path: Path, case: Case, changes: dict[str, Any], new_file: bool
) -> None:
    load([case], make_plan(), tmp_path / "cache")
    load([case], make_plan(**changes), tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1 + new_file


@pytest.mark.parametrize("which", ["image", "label"])
def test_a_changed_file_makes_a_new_sample(tmp_path: Path, case: Case, save_nifti: SaveNifti, which: str) -> None:
    plan, folder = make_plan(), tmp_path / "cache"
    (old,) = load([case], plan, folder)
    assert case.label is not None
    path = case.channels[0] if which == "image" else case.label
    array = np.full((6, 7, 8), 1, dtype=np.uint8)
    array[0, 0, 0] = 2
    save_nifti(path, array)
    (new,) = load([case], plan, folder)
    assert torch.equal(old.image, new.image) == (which == "label")
    assert torch.equal(old.label, new.label) == (which == "image")


def test_one_bad_case_ends_nothing_and_leaves_no_file(tmp_path: Path, case: Case, save_nifti: SaveNifti) -> None:
    data = tmp_path / "data"
    (data / "broken.nii.gz").write_bytes(b"not a scan")
    odd = save_nifti(data / "odd.nii.gz", np.full((6, 7, 8), 7, dtype=np.uint8))
    cases = [
        Case("gone", "gone", (data / "gone.nii.gz",), case.label),
        case,
        Case("broken", "broken", (data / "broken.nii.gz",), case.label),
        Case("odd", "odd", case.channels, odd),
        Case("bare", "bare", case.channels),
    ]
    events: list[Progress] = []
    plan = make_plan()
    samples, failed = load_samples(cases, plan, plan.configuration("main"), tmp_path / "cache", events.append)
    assert [sample.case.id for sample in samples] == ["a"]
    assert set(failed) == {"gone", "broken", "odd", "bare"}
    assert "label value 7" in failed["odd"]
    assert "has no label file" in failed["bare"]
    assert (events[-1].done, events[-1].total) == (5, 5)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_the_work_stops_where_the_callback_says_so(tmp_path: Path, case: Case) -> None:
    class Enough(MedsegError):
        pass

    def stop(event: Progress) -> None:
        raise Enough("enough")

    plan = make_plan()
    with pytest.raises(Enough):
        load_samples([case], plan, plan.configuration("main"), tmp_path / "cache", stop)


def test_annotated_voxels_are_kept_where_some_are_ignored(tmp_path: Path, case: Case, save_nifti: SaveNifti) -> None:
    label = np.full((6, 7, 8), 9, dtype=np.uint8)
    label[2:4] = 0
    label[2, 3, 4] = 1
    save_nifti(case.label, label)
    plan = make_plan(labels={"structures": {"one": 1, "two": 2}, "ignore": 9})
    (sample,) = load([case], plan, tmp_path / "cache")
    assert (sample.label == IGNORE).sum() == 4 * 7 * 8
    torch.testing.assert_close(sample.annotated, torch.arange(2 * 56, 4 * 56))
    assert [places.tolist() for places in sample.locations] == [[2 * 56 + 3 * 8 + 4], []]


def test_the_order_of_a_networks_outputs_makes_a_new_file(tmp_path: Path, case: Case) -> None:
    """Two mappings are equal in any order; where structures are kept by number, the order says which is which."""
    places = {}
    for names in (("one", "two"), ("two", "one")):
        values = {"one": 1, "two": 2}
        structures = {name: values[name] for name in names}
        labels = {"structures": structures, "activation": "sigmoid", "region_values": [*structures.values()]}
        plan = make_plan(labels=labels)
        (sample,) = load([case], plan, tmp_path / "cache")
        places[names] = [len(place) for place in sample.locations]
    assert places["one", "two"] == places["two", "one"][::-1] == [24, 4]
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_regions_have_the_voxels_of_all_their_values(tmp_path: Path, case: Case) -> None:
    regions = {"structures": {"all": [1, 2], "two": 2}, "activation": "sigmoid", "region_values": [1, 2]}
    (sample,) = load([case], make_plan(labels=regions), tmp_path / "cache")
    assert [len(places) for places in sample.locations] == [28, 4]


def test_partly_labelled_cases_share_the_file_and_hide_what_was_not_annotated(tmp_path: Path, case: Case) -> None:
    (whole,) = load([case], make_plan(), tmp_path / "cache")
    (partly,) = load([replace(case, annotated=("two",))], make_plan(), tmp_path / "cache")
    (listed,) = load([replace(case, annotated=("two", "one"))], make_plan(), tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert whole.structures is None
    assert listed.structures is None
    assert partly.structures is not None
    assert partly.structures.tolist() == [False, True]
    assert [len(places) for places in partly.locations] == [0, 4]
    assert torch.equal(partly.label, whole.label)


def test_large_structures_keep_ten_thousand_places_and_one_percent(tmp_path: Path, save_nifti: SaveNifti) -> None:
    label = np.zeros((1, 1100, 1100), dtype=np.uint8)
    label[0, :, :10] = 1  # 11,000 voxels
    label[0, :, 20:] = 2  # 1,188,000 voxels
    image = save_nifti(tmp_path / "big.nii.gz", label + np.uint8(1))
    case = Case("big", "big", (image,), save_nifti(tmp_path / "big_label.nii.gz", label))
    (sample,) = load([case], make_plan(), tmp_path / "cache")
    assert [len(places) for places in sample.locations] == [10_000, 11_880]
    for number, places in enumerate(sample.locations, start=1):
        assert (sample.label.flatten()[places] == number).all()
        assert len(places.unique()) == len(places)


def test_the_nonzero_mask_reaches_the_sample(tmp_path: Path, save_nifti: SaveNifti) -> None:
    array = np.zeros((5, 5, 5), dtype=np.int16)
    array[0, 0, 0] = array[4, 4, 4] = 3
    case = Case("s", "s", (save_nifti(tmp_path / "s.nii", array),), save_nifti(tmp_path / "l.nii", array * 0))
    plan = make_plan(configuration={"normalization": [{"scheme": "zscore", "nonzero_only": True}]})
    (sample,) = load([case], plan, tmp_path / "cache")
    assert (sample.label == OUTSIDE).sum() == 123


def test_ct_statistics_are_part_of_the_recipe(tmp_path: Path, case: Case) -> None:
    counts = []
    for mean in (0.0, 5.0):
        intensity = {
            "mean": mean,
            "median": 0,
            "std": 1,
            "min": 0,
            "max": 9,
            "percentile_00_5": 0,
            "percentile_99_5": 9,
        }
        values = plan_values(data={**plan_values()["data"], "intensities": [intensity]})
        load([case], validate_plan(values, {}, "x"), tmp_path / "cache")
        counts.append(len(list((tmp_path / "cache").iterdir())))
    assert counts == [1, 2]


def test_prepare_and_the_cache_agree(tmp_path: Path, case: Case) -> None:
    from medseg.io.images import read_image

    plan = make_plan(configuration={"spacing_mm": [1.5, 0.7, 1.0]}, transpose_forward=[1, 2, 0])
    (sample,) = load([case], plan, tmp_path / "cache")
    volume = prepare(read_image(case.channels[0]), plan, plan.configuration("main"))
    np.testing.assert_array_equal(sample.image.numpy(), volume.image)
