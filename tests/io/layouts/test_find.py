"""Folders as they lie -> cases: three layouts, and what is odd in them named."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from sets.layout_files import LIVER, files_of, touch, write_json
from small_sets import write_study

from medseg.core.errors import DataError
from medseg.io.layouts.dataset import Naming
from medseg.io.layouts.find import find_cases, infer_labels

VOXEL = np.zeros((1, 1, 1), np.uint8)


def decathlon(folder: Path, *cases: str, **more: object) -> None:
    training = [{"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"} for case in cases]
    labels = {"0": "background", "2": "tumour", "1": "liver"}
    write_json(folder, **{"modality": {"0": "CT"}, "labels": labels, "training": training, **more})


def test_decathlon(tmp_path):
    decathlon(tmp_path, "b", "a")
    touch(tmp_path, *(f"{place}/{name}.nii.gz" for place in ("imagesTr", "labelsTr") for name in ("a", "b", "._a")))
    data = find_cases(tmp_path)
    assert (data.layout, data.channels, data.problems) == ("msd", ("CT",), [])
    assert data.labels.structures == {"liver": 1, "tumour": 2}
    assert files_of(data) == {
        "a": ["imagesTr/a.nii.gz", "labelsTr/a.nii.gz"],
        "b": ["imagesTr/b.nii.gz", "labelsTr/b.nii.gz"],
    }
    assert [case.patient for case in data.cases] == ["a", "b"]


def test_decathlon_names_what_it_leaves_out(tmp_path):
    decathlon(tmp_path, "a", "a", "gone")
    touch(tmp_path, "imagesTr/a.nii.gz", "labelsTr/a.nii.gz")
    data = find_cases(tmp_path)
    assert list(files_of(data)) == ["a"]
    twice, gone = data.problems
    assert twice.startswith("a (again): ")
    assert re.fullmatch("gone: .*imagesTr/gone.nii.gz, which does not exist", gone)


def test_nnunet_v1_lists_names_without_channels(tmp_path):
    decathlon(tmp_path, "a", modality={"0": "T1", "1": "T2"})
    touch(tmp_path, "imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz", "labelsTr/a.nii.gz")
    assert files_of(find_cases(tmp_path))["a"] == [
        "imagesTr/a_0000.nii.gz",
        "imagesTr/a_0001.nii.gz",
        "labelsTr/a.nii.gz",
    ]


def test_nnunet(tmp_path):
    write_json(tmp_path, channel_names={"1": "T2", "0": "T1"}, labels=LIVER | {"ignore": 2}, file_ending=".nii.gz")
    touch(tmp_path, *(f"imagesTr/{name}.nii.gz" for name in ("a_0000", "a_0001", "p_7_0000", "p_7_0001", "q_0000")))
    touch(tmp_path, *(f"labelsTr/{name}.nii.gz" for name in ("a", "p_7", "q", "r")), "labelsTr/a.png")
    data = find_cases(tmp_path)
    assert (data.layout, data.channels) == ("nnunet", ("T1", "T2"))
    assert (data.labels.structures, data.labels.ignore, data.labels.activation) == ({"liver": 1}, 2, "softmax")
    assert files_of(data) == {
        "a": ["imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz", "labelsTr/a.nii.gz"],
        "p_7": ["imagesTr/p_7_0000.nii.gz", "imagesTr/p_7_0001.nii.gz", "labelsTr/p_7.nii.gz"],
    }
    incomplete, alone = data.problems
    assert incomplete.startswith("q: there is no q_0001")
    assert alone.startswith("r: there is no image of this name")


@pytest.mark.parametrize("keys", [("0000", "0001"), ("1", "2"), ("00", "1")])
def test_nnunet_counts_channels_whatever_their_keys(tmp_path, keys):
    names = dict(zip(keys, ("T2", "T1"), strict=True))
    write_json(tmp_path, channel_names=names, labels=LIVER, file_ending=".nii.gz")
    touch(tmp_path, *(f"imagesTr/{name}.nii.gz" for name in ("a_0000", "a_0001")), "labelsTr/a.nii.gz")
    data = find_cases(tmp_path)
    assert data.channels == ("T2", "T1")
    assert files_of(data)["a"][:2] == ["imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz"]


def test_nnunet_colours_in_one_file(tmp_path):
    write_json(tmp_path, channel_names={"0": "R", "1": "G", "2": "B"}, labels=LIVER, file_ending=".png")
    touch(tmp_path, "imagesTr/a_0000.png", "labelsTr/a.png")
    data = find_cases(tmp_path)
    assert files_of(data) == {"a": ["imagesTr/a_0000.png", "labelsTr/a.png"]}
    assert data.channels == ("R", "G", "B")


def test_nnunet_regions(tmp_path):
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": [3]}
    write_json(tmp_path, channel_names={"0": "T1"}, labels=labels, regions_class_order=[1, 2, 3], file_ending=".png")
    touch(tmp_path, "imagesTr/a_0000.png", "labelsTr/a.png")
    found = find_cases(tmp_path).labels
    assert (found.activation, found.region_values, found.background) == ("sigmoid", [1, 2, 3], 0)
    assert found.structures == {"whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}


def test_nnunet_explicit_map(tmp_path, monkeypatch):
    monkeypatch.setenv("SCANS", str(tmp_path / "elsewhere"))
    entries = {
        "b": {"images": ["$SCANS/x.nii.gz"], "label": "y.nii.gz"},
        "a": {"images": ["../more/x.nii.gz"], "label": "y.nii.gz"},
        "c": {"images": ["none.nii.gz"], "label": "y.nii.gz"},
        "d": {"image": "y.nii.gz"},
    }
    write_json(tmp_path / "set", channel_names={"0": "T1"}, labels=LIVER, file_ending=".nii.gz", dataset=entries)
    touch(tmp_path, "elsewhere/x.nii.gz", "more/x.nii.gz", "set/y.nii.gz")
    data = find_cases(tmp_path / "set")
    assert [(case.id, case.channels[0].resolve().relative_to(tmp_path).as_posix()) for case in data.cases] == [
        ("a", "more/x.nii.gz"),
        ("b", "elsewhere/x.nii.gz"),
    ]
    assert [problem[:3] for problem in data.problems] == ["c: ", "d: "]


def test_ids_of_the_explicit_map_are_names_of_files(tmp_path):
    entries = {"sub/01": {"images": ["x.nii.gz"], "label": "y.nii.gz"}}
    write_json(tmp_path, channel_names={"0": "T1"}, labels=LIVER, file_ending=".nii.gz", dataset=entries)
    touch(tmp_path, "x.nii.gz", "y.nii.gz")
    with pytest.raises(DataError, match=r"dataset\.json: 'sub/01' cannot be the id of a case"):
        find_cases(tmp_path)


def test_pairs(tmp_path, save_picture):
    save_picture(tmp_path / "images/a.jpg", [[1, 2]])
    touch(tmp_path, "images/b.png", "images/c.png", "masks/a.png", "masks/b.png", "masks/d.png", "images/readme.txt")
    data = find_cases(tmp_path)
    assert (data.layout, data.channels, data.labels) == ("pairs", ("image",), None)
    assert files_of(data) == {"a": ["images/a.jpg", "masks/a.png"], "b": ["images/b.png", "masks/b.png"]}
    no_label, no_image = data.problems
    assert no_label.startswith("c: there is no label of this name")
    assert no_image.startswith("d: there is no image of this name")


def test_pairs_of_several_channels(tmp_path):
    touch(tmp_path, "images/a_0000.nii.gz", "images/a_0001.nii.gz", "images/b_0000.nii.gz")
    touch(tmp_path, "labels/a.nii.gz", "labels/b.nii.gz")
    data = find_cases(tmp_path)
    assert data.channels == ("channel_0", "channel_1")
    assert list(files_of(data)) == ["a"]
    assert [problem[:3] for problem in data.problems] == ["b: "]


def test_numbered_pairs_are_cases_not_channels(tmp_path):
    touch(tmp_path, *(f"{place}/img_000{number}.png" for place in ("images", "masks") for number in range(3)))
    assert list(files_of(find_cases(tmp_path))) == ["img_0000", "img_0001", "img_0002"]


@pytest.mark.parametrize(
    ("array", "channels"),
    [
        ([[1, 2]], ("image",)),
        ([[[1, 2, 3]]], ("red", "green", "blue")),
        ([[[1, 2, 3, 255]]], ("red", "green", "blue")),
    ],
)
def test_channels_of_pairs_follow_the_first_readable_image(tmp_path, save_picture, array, channels):
    touch(tmp_path, "images/a.png", "masks/a.png", "masks/b.png")  # a is empty
    save_picture(tmp_path / "images/b.png", array)
    assert find_cases(tmp_path).channels == channels


def test_pairs_of_similar_names(tmp_path):
    touch(tmp_path, *(f"images/{n}_training.tif" for n in (21, 22)), *(f"masks/{n}_manual1.gif" for n in (21, 22)))
    data = find_cases(tmp_path)
    assert files_of(data)["21_training"] == ["images/21_training.tif", "masks/21_manual1.gif"]
    assert data.problems == ["paired by similar names, such as 21_training with 21_manual1.gif"]


def test_numbered_pairs_of_similar_names_are_cases_not_channels(tmp_path):
    touch(tmp_path, *(f"{place}/{place}_000{n}.png" for place in ("images", "masks") for n in range(3)))
    assert list(files_of(find_cases(tmp_path))) == ["images_0000", "images_0001", "images_0002"]


def test_channels_of_pairs_of_similar_names(tmp_path):
    touch(tmp_path, *(f"images/c{n}_000{channel}.nii" for n in (5, 6) for channel in (0, 1)))
    touch(tmp_path, "labels/seg_5.nii", "labels/seg_6.nii")
    assert files_of(find_cases(tmp_path))["c6"] == ["images/c6_0000.nii", "images/c6_0001.nii", "labels/seg_6.nii"]


def test_other_names_of_folders(tmp_path):
    touch(tmp_path, "img/1.png", "ground_truth/1.png", "ground_truth_test/2.png")
    assert files_of(find_cases(tmp_path)) == {"1": ["img/1.png", "ground_truth/1.png"]}


def test_the_folder_of_labels_is_asked_for_where_two_may_be_meant(tmp_path):
    touch(tmp_path, "images/1_x.png", "1st_manual/1_a.png", "mask/1_b.png")
    with pytest.raises(DataError, match=r"1st_manual/ and mask/: which is meant") as caught:
        find_cases(tmp_path)
    assert "--labels 1st_manual" in str(caught.value)
    data = find_cases(tmp_path, naming=Naming(labels="1st_manual"))
    assert files_of(data) == {"1_x": ["images/1_x.png", "1st_manual/1_a.png"]}


def test_a_dataset_json_may_only_name_the_structures(tmp_path):
    write_json(tmp_path, labels=LIVER)
    touch(tmp_path, "images/a.png", "masks/a.png")
    data = find_cases(tmp_path)
    assert (data.layout, data.labels.structures) == ("pairs", {"liver": 1})


def test_channels_in_a_4d_file(tmp_path, save_nifti):
    save_nifti(tmp_path / "images/a.nii.gz", np.zeros((3, 2, 2, 2), np.int16))
    touch(tmp_path, "labels/a.nii.gz")
    assert find_cases(tmp_path).channels == ("channel_0", "channel_1", "channel_2")


def test_patients_are_found_in_the_ids(tmp_path):
    touch(tmp_path, *(f"{place}/P{name}.png" for place in ("images", "masks") for name in ("1-a", "1-b", "22-a")))
    patients = [case.patient for case in find_cases(tmp_path, r"P(\d+)-").cases]
    assert patients == ["1", "1", "22"]
    assert [case.patient for case in find_cases(tmp_path, r"P\d+").cases] == ["P1", "P1", "P22"]
    with pytest.raises(DataError, match="finds no patient in the case id 'P1-b'"):
        find_cases(tmp_path, "^.*a$")
    with pytest.raises(DataError, match="not a regular expression"):
        find_cases(tmp_path, "P(")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "holds a list"),
        ({"labels": LIVER, "file_ending": ".png"}, "channel_names .* is None"),
        ({"channel_names": {"2": "T1"}, "labels": LIVER, "file_ending": ".png"}, r"is {'2': 'T1'}"),
        ({"channel_names": {"2": "a", "1": "b"}, "labels": LIVER, "file_ending": ".png"}, r"is {'2': 'a', '1': 'b'}"),
        ({"channel_names": {"0": "a", "00": "b"}, "labels": LIVER, "file_ending": ".png"}, r"is {'0': 'a', '00': 'b'}"),
        (
            {
                "channel_names": {"0": "T1"},
                "labels": {"background": 0, "whole": [1, 2], "front": 1},
                "regions_class_order": [1, 2],
                "file_ending": ".png",
            },
            "regions_class_order writes front as 2, which is none of its own values: 1",
        ),
        ({"channel_names": {"0": "T1"}, "file_ending": ".png"}, "labels is None"),
        (
            {"channel_names": {"0": "T1"}, "labels": LIVER},
            "does not say where the cases are; it has the keys channel_names",
        ),
        ({"channel_names": {"0": "T1"}, "labels": LIVER, "file_ending": ".xyz"}, "file_ending is '.xyz'"),
        ({"channel_names": {"0": "T1"}, "labels": {"liver": 1}, "file_ending": ".png"}, "labels.background"),
        (
            {"channel_names": {"0": "T1"}, "labels": {"background": 0, "a": [1, 2]}, "file_ending": ".png"},
            "region_values",
        ),
        ({"channel_names": {"0": "T1"}, "labels": {**LIVER, "b": 1}, "file_ending": ".png"}, "share one value"),
        ({"modality": {"0": "T1"}, "labels": {"0": "bg", "1": "a", "2": "a"}, "training": []}, "have one name"),
    ],
)
def test_a_wrong_dataset_json_is_refused_with_the_reason(tmp_path, content, message):
    (tmp_path / "dataset.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match=message) as caught:
        find_cases(tmp_path)
    assert str(tmp_path / "dataset.json") in str(caught.value)


def test_a_folder_of_another_kind_is_refused_with_what_is_there(tmp_path):
    touch(tmp_path, "scan1.dcm", "sub/notes.txt")
    with pytest.raises(DataError, match=r"is not a data set. Found there: scan1.dcm, sub/") as caught:
        find_cases(tmp_path)
    assert all(layout in str(caught.value) for layout in ("training list", "nnU-Net v2", "labels/ or masks/"))
    with pytest.raises(DataError, match="There is no folder"):
        find_cases(tmp_path / "none")


def test_a_name_or_number_of_nnunet_leads_to_the_folder(tmp_path):
    touch(tmp_path, "nnUNet_raw/Dataset004_Liver/dataset.json")
    touch(tmp_path, "checks/Dataset004_Liver/check.json")
    for name in ("4", "004", "Dataset004_Liver"):
        with pytest.raises(DataError, match=r"Perhaps \S*nnUNet_raw/Dataset004_Liver was meant\. Expected"):
            find_cases(tmp_path / name)
    for name in ("5", "[4", "²"):
        with pytest.raises(DataError, match="There is no folder") as caught:
            find_cases(tmp_path / name)
        assert "Perhaps" not in str(caught.value)


def test_scans_without_labels_lead_to_predict(tmp_path):
    write_study(tmp_path / "my studies" / "a")
    write_study(tmp_path / "my studies" / "b", "other")
    touch(tmp_path, "scans/a.nii.gz", "scans/notes.txt", "papers/notes.txt")
    for folder, command in (("my studies", "'{}' OUT"), ("scans", "{} OUT")):
        with pytest.raises(DataError, match="scans without labels") as caught:
            find_cases(tmp_path / folder)
        assert f"`medseg predict {command.format(tmp_path / folder)}`" in str(caught.value)
    with pytest.raises(DataError, match="is not a data set") as caught:
        find_cases(tmp_path / "papers")
    assert "medseg predict" not in str(caught.value)


def test_a_folder_around_the_data_set_names_it(tmp_path):
    touch(tmp_path, "Task01/images/a.png")
    with pytest.raises(DataError, match=r"Perhaps .*Task01 was meant"):
        find_cases(tmp_path)


def test_labels_beside_masks_are_ambiguous(tmp_path):
    touch(tmp_path, "images/a.png", "labels/a.png", "masks/a.png")
    with pytest.raises(DataError, match="labels/ and masks/: which is meant"):
        find_cases(tmp_path)


def test_no_case_at_all_is_an_error_with_the_reasons(tmp_path):
    touch(tmp_path, "images/a.png", "masks/b.png")
    with pytest.raises(
        DataError, match=r"a\.png, \.\.\..*b\.png, \.\.\..* do not say which image belongs to which"
    ) as caught:
        find_cases(tmp_path)
    assert "--images 'images/*_image.png' --labels 'masks/*_label.png'" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "structures"),
    [
        ({0, 255}, {"foreground": 255}),
        ({0, 1}, {"foreground": 1}),
        ([3, 0, 1, 3], {"label_1": 1, "label_3": 3}),
        ({1, 2}, {"label_1": 1, "label_2": 2}),
    ],
)
def test_inferred_labels(values, structures):
    labels = infer_labels(values)
    assert (labels.structures, labels.background, labels.activation) == (structures, 0, "softmax")


@pytest.mark.parametrize("values", [{0}, set(), {-1, 0, 1}, range(256)])
def test_values_that_are_no_structures_are_refused(values):
    with pytest.raises(DataError, match="The label files hold"):
        infer_labels(values)


def test_a_value_below_0_is_refused_with_what_it_may_mean():
    with pytest.raises(DataError, match="hold the value -1: medseg cannot know") as refused:
        infer_labels({-1, 0, 1, 2})
    assert str(refused.value.hint).endswith("--ignore -1. If they are background: --map -1=0.")


@pytest.mark.real
@pytest.mark.parametrize(
    ("folder", "layout", "channels", "cases"),
    [
        ("hippocampus", "msd", ("MRI",), 200),
        ("brain_tumour", "nnunet", ("FLAIR", "T1c"), 4),
        ("nuclei", "pairs", ("red", "green", "blue"), 140),
        ("cardiac2d", "pairs", ("red", "green", "blue"), 260),
        ("membrane", "pairs", ("image",), 30),
    ],
)
def test_real_data_sets(data_dir, folder, layout, channels, cases):
    data = find_cases(data_dir / folder)
    assert (data.layout, data.channels, len(data.cases), data.problems) == (layout, channels, cases, [])
    assert (data.labels is None) == (layout == "pairs")


@pytest.mark.real
def test_real_patients(data_dir):
    cases = find_cases(data_dir / "cardiac2d", r"^(SC-[A-Z-]+\d+)-IM").cases
    assert len({case.patient for case in cases}) == 15
    assert cases[0].patient == "SC-HF-I-01"


@pytest.mark.real
def test_real_regions(data_dir):
    labels = find_cases(data_dir / "brain_tumour").labels
    assert labels.structures == {"whole_tumour": [1, 2, 3, 4], "tumour_core": [1, 3, 4], "enhancing": 4}
    assert (labels.region_values, labels.activation) == ([2, 1, 4], "sigmoid")


def test_folders_of_masks_beside_each_other_may_be_structures(tmp_path):
    touch(tmp_path, *(f"{folder}/{case}.png" for folder in ("images", "cup_masks", "disc_masks") for case in "ab"))
    with pytest.raises(DataError, match=r"cup_masks/ and disc_masks/: which is meant") as caught:
        find_cases(tmp_path)
    assert "masks/STRUCTURE/IMAGE.png" in str(caught.value)
