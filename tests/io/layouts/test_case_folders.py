"""One folder per case."""

import pytest
from sets.layout_files import files_of, touch

from medseg.core.errors import DataError
from medseg.io.layouts.dataset import Naming
from medseg.io.layouts.find import find_cases


def test_names_that_begin_with_the_case(tmp_path):
    touch(tmp_path, *(f"{case}/{case}_{role}.nii.gz" for case in ("P1", "P2") for role in ("t1", "flair", "seg")))
    data = find_cases(tmp_path)
    assert (data.layout, data.channels, data.labels, data.problems) == ("folders", ("flair", "t1"), None, [])
    assert files_of(data)["P2"] == ["P2/P2_flair.nii.gz", "P2/P2_t1.nii.gz", "P2/P2_seg.nii.gz"]


def test_the_same_names_in_every_folder(tmp_path):
    touch(tmp_path, *(f"case_0000{n}/{name}.nii.gz" for n in range(3) for name in ("imaging", "segmentation")))
    touch(tmp_path, "case_00001/instances/kidney_annotation.nii.gz")
    data = find_cases(tmp_path)
    assert (data.channels, len(data.cases)) == (("imaging",), 3)


def test_names_that_begin_alike_but_not_with_the_folder(tmp_path):
    touch(tmp_path, *(f"{n}/scan{n}_{role}.nii.gz" for n in (1, 2) for role in ("t1", "t2", "seg")))
    assert find_cases(tmp_path).channels == ("t1", "t2")


def test_a_folder_for_each_kind_of_file(tmp_path):
    touch(tmp_path, *(f"{case}/{kind}/{case}.png" for case in "abc" for kind in ("image", "mask")))
    data = find_cases(tmp_path)
    assert files_of(data)["a"] == ["a/image/a.png", "a/mask/a.png"]


def test_numbered_channels(tmp_path):
    touch(tmp_path, *(f"{c}/{c}_{role}.nii.gz" for c in "ab" for role in ("0000", "0001", "gt")))
    assert find_cases(tmp_path).channels == ("channel_0", "channel_1")


def test_cases_that_lack_a_file_are_named_and_what_few_have_is_left_aside(tmp_path):
    touch(tmp_path, *(f"P{n}/P{n}_{role}.nii.gz" for n in range(4) for role in ("t1", "t2", "seg")))
    (tmp_path / "P1/P1_t2.nii.gz").unlink()
    (tmp_path / "P2/P2_seg.nii.gz").unlink()
    touch(tmp_path, "P3/P3_dwi.nii.gz", "P3/P3_t1.txt")
    data = find_cases(tmp_path)
    assert list(files_of(data)) == ["P0", "P3"]
    assert data.problems == [
        "P1: there is no t2; there is seg, t1",
        "P2: there is no seg; there is t1, t2",
        "not used: dwi (1); --images and --labels choose others than seg, t1, t2",
    ]


def test_several_files_that_may_be_the_label_are_refused_until_one_is_named(tmp_path):
    touch(tmp_path, *(f"{c}/{c}_{role}.nii.gz" for c in "ab" for role in ("t1", "brainmask", "seg")))
    with pytest.raises(DataError, match="each of brainmask, seg may be the label") as caught:
        find_cases(tmp_path)
    assert "--labels brainmask" in str(caught.value)
    data = find_cases(tmp_path, naming=Naming(labels="seg"))
    assert files_of(data)["a"] == ["a/a_t1.nii.gz", "a/a_seg.nii.gz"]
    chosen = find_cases(tmp_path, naming=Naming(("brainmask", "t1"), "seg"))
    assert chosen.channels == ("brainmask", "t1")


def test_no_file_that_may_be_the_label(tmp_path):
    touch(tmp_path, *(f"{c}/{c}_{role}.nii.gz" for c in "ab" for role in ("t1", "lesions")))
    with pytest.raises(
        DataError, match=r"no file name contains a word for labels .* have lesions \(2\), t1 \(2\)"
    ) as caught:
        find_cases(tmp_path)
    assert "--labels NAME" in str(caught.value)
    assert find_cases(tmp_path, naming=Naming(labels="lesions")).channels == ("t1",)
    with pytest.raises(DataError, match="have no file called 'seg'; they have lesions"):
        find_cases(tmp_path, naming=Naming(labels="seg"))


def test_labels_alone_are_no_data_set(tmp_path):
    touch(tmp_path, *(f"{c}/{c}_seg.nii.gz" for c in "ab"))
    with pytest.raises(DataError, match="no image beside the label 'seg'"):
        find_cases(tmp_path)


def test_two_files_of_one_kind_in_a_folder_are_named(tmp_path):
    touch(tmp_path, *(f"{c}/{c}_{role}.nii.gz" for c in "abc" for role in ("t1", "seg")), "c/c_t1.nii")
    data = find_cases(tmp_path)
    assert list(files_of(data)) == ["a", "b"]
    assert data.problems[0].startswith("c: c_t1.nii and c_t1.nii.gz")


def test_a_few_folders_with_images_among_others_are_no_cases(tmp_path):
    touch(tmp_path, "one/a_ct.nii.gz", "one/a_seg.nii.gz", "two/x/y.txt", "three/z.txt", "four/z.txt")
    with pytest.raises(DataError, match="is not a data set"):
        find_cases(tmp_path)
