"""Images and labels side by side in one folder."""

import pytest
from sets.layout_files import files_of, touch

from medseg.core.errors import DataError
from medseg.io.layouts.dataset import Naming
from medseg.io.layouts.find import find_cases


@pytest.mark.parametrize(
    ("names", "channels", "case", "files"),
    [
        (["{}_image", "{}_seg"], ("image",), "P1", ["P1_image.nii", "P1_seg.nii"]),
        (["{}", "{}_mask"], ("image",), "P1", ["P1.nii", "P1_mask.nii"]),
        (["img-{}", "label-{}"], ("img",), "P1", ["img-P1.nii", "label-P1.nii"]),
        (["{}_t1", "{}_t1_ce", "{}_seg"], ("t1", "t1_ce"), "P1", ["P1_t1.nii", "P1_t1_ce.nii", "P1_seg.nii"]),
    ],
)
def test_names_say_what_is_what(tmp_path, names, channels, case, files):
    touch(tmp_path, *(f"{name.format(c)}.nii" for name in names for c in ("P1", "P10", "P2")))
    data = find_cases(tmp_path)
    assert (data.layout, data.channels, len(data.cases)) == ("files", channels, 3)
    assert files_of(data)[case] == files


def test_similar_names(tmp_path):
    touch(tmp_path, *(f"scan{n}.png" for n in (1, 2, 3)), *(f"mask_of_{n}.png" for n in (1, 2)))
    data = find_cases(tmp_path)
    assert files_of(data) == {"scan1": ["scan1.png", "mask_of_1.png"], "scan2": ["scan2.png", "mask_of_2.png"]}
    assert data.problems == ["scan3: it has no counterpart", "paired by similar names, such as scan1 with mask_of_1"]


def test_names_that_say_nothing_are_refused(tmp_path):
    touch(tmp_path, "a.png", "b.png", "mask_x.png", "mask_y.png")
    with pytest.raises(DataError, match=r"2 images \(a\.png, b\.png\) and 2 labels \(mask_x") as caught:
        find_cases(tmp_path)
    assert "--images '*_image.nii.gz' --labels '*_seg.nii.gz'" in str(caught.value)


def test_one_of_several_labels_is_chosen(tmp_path):
    touch(tmp_path, *(f"{c}{end}.nii" for c in "ab" for end in ("", "_seg", "_mask")))
    with pytest.raises(DataError, match="each of mask, seg may be the label"):
        find_cases(tmp_path)
    assert files_of(find_cases(tmp_path, naming=Naming(labels="seg")))["a"] == ["a.nii", "a_seg.nii"]


def test_a_folder_of_images_alone_is_no_data_set(tmp_path):
    touch(tmp_path, "a.nii", "b.nii")
    with pytest.raises(DataError, match="is not a data set"):
        find_cases(tmp_path)
