"""What to segment: one file, a plain folder, a data set's folder, or files by pattern."""

import pytest
from sets.layout_files import LIVER, touch, write_json

from medseg.core.errors import DataError
from medseg.io.layouts.find import find_cases
from medseg.io.layouts.scans import find_scans


def found(source, channels, patterns=None):
    cases, problems = find_scans(source, channels, patterns)
    folder = source if source.is_dir() else source.parent
    assert all(case.label is None and case.patient == case.id for case in cases)
    return {case.id: [path.relative_to(folder).as_posix() for path in case.channels] for case in cases}, problems


@pytest.mark.parametrize(
    ("name", "channels", "case"),
    [
        ("case_0000.nii.gz", ["CT"], "case"),
        ("case.nii.gz", ["CT"], "case"),
        ("case_0007.nii.gz", ["CT"], "case_0007"),
        ("case_0000.png", ["red", "green", "blue"], "case"),
    ],
)
def test_one_file(tmp_path, name, channels, case):
    touch(tmp_path, name, "other.nii.gz")
    assert found(tmp_path / name, channels) == ({case: [name]}, {})


def test_one_file_of_several_channels_brings_the_others(tmp_path):
    touch(tmp_path, "a_0000.nii.gz", "a_0001.nii.gz", "b_0000.nii.gz")
    assert found(tmp_path / "a_0000.nii.gz", ["T1", "T2"])[0] == {"a": ["a_0000.nii.gz", "a_0001.nii.gz"]}


def test_a_channels_name_in_front_of_its_number_belongs_to_the_case(tmp_path):
    touch(tmp_path, "ct_0000.nii.gz", "ct_001_0000.nii.gz")
    expected = {"ct": ["ct_0000.nii.gz"], "ct_001": ["ct_001_0000.nii.gz"]}
    assert found(tmp_path, ["CT"]) == (expected, {})


def test_a_folder_for_one_channel(tmp_path):
    touch(tmp_path, "a_0000.nii.gz", "b.nii.gz", "c_0012.nii.gz", "._b.nii.gz", "notes.txt")
    assert found(tmp_path, ["CT"]) == (
        {"a": ["a_0000.nii.gz"], "b": ["b.nii.gz"], "c_0012": ["c_0012.nii.gz"]},
        {},
    )


@pytest.mark.parametrize(
    ("images", "labels"), [("image", "annot"), ("img", "gt"), ("imgs", "masks"), ("Scans", "Segs")]
)
@pytest.mark.parametrize("names", [["a.png"], ["a.png", "b.png"]])
def test_of_folders_that_plan_pairs_the_scans_are_those_of_the_images(tmp_path, images, labels, names):
    """Files of one name in both are no cases of two files, and a mask is no scan."""
    touch(tmp_path, *(f"{folder}/{name}" for folder in (images, labels) for name in names))
    assert found(tmp_path, ["image"]) == ({name[0]: [f"{images}/{name}"] for name in names}, {})
    assert {case.id: case.channels for case in find_cases(tmp_path).cases} == {
        name[0]: (tmp_path / images / name,) for name in names
    }


def test_numbered_files_for_one_channel_are_ambiguous(tmp_path):
    touch(tmp_path, "img_0000.png", "img_0001.png", "img_0002.png")
    with pytest.raises(
        DataError, match=r"img_0000.png to img_0002.png may be 3 channels of one case, or 3 cases"
    ) as caught:
        find_scans(tmp_path, ["CT"])
    assert "'*.png'" in str(caught.value)
    assert list(found(tmp_path, ["CT"], ["*.png"])[0]) == ["img_0000", "img_0001", "img_0002"]
    assert found(tmp_path, ["CT"], ["*_0000.png"])[0] == {"img": ["img_0000.png"]}


def test_a_folder_for_several_channels(tmp_path):
    touch(tmp_path, *(f"{name}.nii.gz" for name in ("a_0000", "a_0001", "b_0001", "c", "d_0000", "d_0001", "d_0002")))
    files, problems = found(tmp_path, ["T1", "T2"])
    assert files == {"a": ["a_0000.nii.gz", "a_0001.nii.gz"], "c": ["c.nii.gz"]}
    assert "no b_0000" in problems["b"]
    assert "d_0002.nii.gz is beyond what was expected: 2 channels" in problems["d"]


def test_two_files_with_one_answer_are_left_out_by_name(tmp_path):
    touch(tmp_path, "a.nii.gz", "a.png", "b.png", "c.png", "c_0000.png")
    files, problems = found(tmp_path, ["CT"])
    assert list(files) == ["b"]
    assert "a.nii.gz and a.png" in problems["a"]
    assert "c.png and c_0000.png" in problems["c"]


def test_patterns_name_the_channels(tmp_path):
    touch(tmp_path, "a_t1.nii.gz", "a_flair.nii.gz", "b_t1.nii.gz", "c_t1.nii.gz", "c_flair.nii.gz", "c_seg.nii.gz")
    files, problems = found(tmp_path, ["FLAIR", "T1"], ["*_flair.nii.gz", "*_t1.nii.gz"])
    assert files == {"a": ["a_flair.nii.gz", "a_t1.nii.gz"], "c": ["c_flair.nii.gz", "c_t1.nii.gz"]}
    assert problems == {"b": "there is no b_flair.nii.gz"}


def test_patterns_reach_into_a_folder_per_case(tmp_path):
    touch(tmp_path, "p1/t1.nii.gz", "p2/t1.nii.gz", "p1/p1_t2.nii.gz", "p2/p1_t2.nii.gz", "t1.nii.gz")
    files, problems = found(tmp_path, ["T1", "T2"], ["*/t1.nii.gz", "*/*_t2.nii.gz"])
    assert files == {"p1": ["p1/t1.nii.gz", "p1/p1_t2.nii.gz"]}
    assert "p2/p2_t2.nii.gz" in problems["p2"]


def test_a_pattern_with_one_file(tmp_path):
    touch(tmp_path, "a_t1.nii.gz", "b_t1.nii.gz")
    assert found(tmp_path / "a_t1.nii.gz", ["T1"], ["*_t1.nii.gz"]) == ({"a": ["a_t1.nii.gz"]}, {})


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["*_a.png", "*_b.png"], "2 patterns given"),
        (["a.png"], r"has no \*"),
        (["*_x.png"], "no complete scan of 3 channels"),
    ],
)
def test_patterns_that_do_not_fit(tmp_path, patterns, message):
    touch(tmp_path, "a.png")
    with pytest.raises(DataError, match=message):
        find_scans(tmp_path, ["red", "green", "blue"], patterns)


def test_one_pattern_may_name_files_that_hold_all_channels(tmp_path):
    touch(tmp_path, "img_0001.png", "img_0002.png")
    assert found(tmp_path, ["red", "green", "blue"], ["*.png"])[0] == {
        "img_0001": ["img_0001.png"],
        "img_0002": ["img_0002.png"],
    }


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["imagesTs/t_0000.nii.gz", "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"], {"t": ["imagesTs/t_0000.nii.gz"]}),
        (["imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"], {"a": ["imagesTr/a_0000.nii.gz"]}),
        (["images/a.png", "images/b.png", "masks/a.png"], {"a": ["images/a.png"], "b": ["images/b.png"]}),
        (["images/a_0000.png", "images/a_0001.png", "masks/a_0000.png", "masks/a_0001.png"],
         {"a_0000": ["images/a_0000.png"], "a_0001": ["images/a_0001.png"]}),
    ],
)  # fmt: skip
def test_a_data_sets_folder(tmp_path, names, expected):
    touch(tmp_path, *names)
    assert found(tmp_path, ["CT"]) == (expected, {})


def test_a_data_set_described_by_its_json_alone(tmp_path):
    entries = {"a": {"images": ["scans/x.png"], "label": "scans/y.png"}}
    write_json(tmp_path, channel_names={"0": "T1"}, labels=LIVER, file_ending=".png", dataset=entries)
    touch(tmp_path, "scans/x.png", "scans/y.png")
    assert found(tmp_path, ["T1"])[0] == {"a": ["scans/x.png"]}


def test_nothing_to_segment(tmp_path):
    touch(tmp_path, "notes.txt", "a.xyz")
    with pytest.raises(DataError, match=r"holds no scans. Found there: a.xyz, notes.txt"):
        find_scans(tmp_path, ["CT"])
    with pytest.raises(DataError, match="There is no file or folder"):
        find_scans(tmp_path / "none", ["CT"])
    with pytest.raises(DataError, match=r"a\.xyz is in a format"):
        find_scans(tmp_path / "a.xyz", ["CT"])


def test_only_incomplete_scans_are_an_error_that_names_them(tmp_path):
    touch(tmp_path, "a_0001.nii.gz")
    with pytest.raises(DataError, match=r"no complete scan of 2 channels \(T1, T2\). a: there is no a_0000"):
        find_scans(tmp_path, ["T1", "T2"])


@pytest.mark.real
@pytest.mark.parametrize(
    ("folder", "channels", "cases", "files"),
    [
        ("hippocampus", ["MRI"], 200, 1),
        ("brain_tumour", ["FLAIR", "T1c"], 4, 2),
        ("nuclei", ["red", "green", "blue"], 140, 1),
        ("membrane/images", ["image"], 30, 1),
    ],
)
def test_real_folders(data_dir, folder, channels, cases, files):
    scans, problems = find_scans(data_dir / folder, channels)
    assert (len(scans), {len(case.channels) for case in scans}, problems) == (cases, {files}, {})


def test_names_may_say_the_channels(tmp_path):
    touch(tmp_path, *(f"{case}_{role}.nii.gz" for case in ("P1", "P2") for role in ("T1", "flair", "seg", "dwi")))
    files, problems = found(tmp_path, ["flair", "t1"])
    assert files == {case: [f"{case}_flair.nii.gz", f"{case}_T1.nii.gz"] for case in ("P1", "P2")}
    assert problems == {}
    assert found(tmp_path, ["T1"])[0] == {"P1": ["P1_T1.nii.gz"], "P2": ["P2_T1.nii.gz"]}


def test_a_file_without_the_channels_name_makes_every_file_a_case(tmp_path):
    touch(tmp_path, "a_ct.nii.gz", "b.nii.gz")
    assert list(found(tmp_path, ["CT"])[0]) == ["a_ct", "b"]


def test_a_stray_file_does_not_change_what_the_others_are(tmp_path):
    touch(tmp_path, "a_flair.nii.gz", "a_t1.nii.gz", "stray.nii.gz", "b_0000.nii.gz", "b_0001.nii.gz")
    files, problems = found(tmp_path, ["flair", "t1"])
    others = {"b": ["b_0000.nii.gz", "b_0001.nii.gz"], "stray": ["stray.nii.gz"]}
    assert (files, problems) == ({"a": ["a_flair.nii.gz", "a_t1.nii.gz"], **others}, {})
    touch(tmp_path, "a.nii.gz")
    files, problems = found(tmp_path, ["flair", "t1"])
    assert files == others
    assert "a.nii.gz and a_flair.nii.gz and a_t1.nii.gz claim to be one case" in problems["a"]


def test_no_other_channel_is_taken_for_a_scan_because_of_a_stray_file(tmp_path):
    touch(tmp_path, "a_flair.nii.gz", "a_t1.nii.gz", "stray.nii.gz")
    assert found(tmp_path, ["flair"])[0] == {"a": ["a_flair.nii.gz"], "stray": ["stray.nii.gz"]}


def test_labels_beside_their_scans_are_no_scans(tmp_path):
    touch(tmp_path, "a.nii.gz", "a_seg.nii.gz", "b.nii.gz", "mask_b.nii.gz", "mask_of_c.nii.gz")
    assert list(found(tmp_path, ["CT"])[0]) == ["a", "b", "mask_of_c"]


def test_one_folder_per_case(tmp_path):
    touch(tmp_path, *(f"{case}/{case}_{role}.nii" for case in "ab" for role in ("t1", "flair", "seg")), "c/c_t1.nii")
    files, problems = found(tmp_path, ["flair", "T1"])
    assert files == {"a": ["a/a_flair.nii", "a/a_t1.nii"], "b": ["b/b_flair.nii", "b/b_t1.nii"]}
    assert problems == {"c": "there is no flair; there is t1"}
    assert found(tmp_path / "a", ["flair", "t1"])[0] == {"a": ["a_flair.nii", "a_t1.nii"]}


def test_case_folders_with_a_single_scan_need_no_name(tmp_path):
    touch(tmp_path, *(f"{case}/{name}.nii" for case in "ab" for name in ("imaging", "segmentation")))
    assert found(tmp_path, ["CT"])[0] == {"a": ["a/imaging.nii"], "b": ["b/imaging.nii"]}


def test_bids_without_labels(tmp_path):
    touch(tmp_path, *(f"sub-{n}/ses-1/anat/sub-{n}_ses-1_{suffix}.nii" for n in (1, 2) for suffix in ("T1w", "FLAIR")))
    assert found(tmp_path, ["T1w"])[0] == {
        f"sub-{n}_ses-1": [f"sub-{n}/ses-1/anat/sub-{n}_ses-1_T1w.nii"] for n in (1, 2)
    }


def test_the_images_of_pascal_voc(tmp_path):
    touch(tmp_path, "JPEGImages/a.jpg", "SegmentationClass/a.png")
    assert found(tmp_path, ["red", "green", "blue"])[0] == {"a": ["JPEGImages/a.jpg"]}
