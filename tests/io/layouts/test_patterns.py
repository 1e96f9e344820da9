"""Files by pattern, where * is the case."""

import pytest
from layout_files import files_of, touch

from medseg.core.errors import DataError
from medseg.io.layouts.dataset import Naming
from medseg.io.layouts.find import find_cases
from medseg.io.layouts.patterns import pattern_name


def test_patterns_find_a_set_that_no_layout_describes(tmp_path):
    touch(tmp_path, *(f"images/{n}_training.tif" for n in (21, 22, 23)), "1st_manual/21_manual1.gif")
    touch(tmp_path, "1st_manual/22_manual1.gif", "mask/21_training_mask.gif", "images/readme.txt")
    data = find_cases(tmp_path, naming=Naming(("images/*_training.tif",), "1st_manual/*_manual1.gif"))
    assert (data.layout, data.channels) == ("patterns", ("training",))
    assert files_of(data) == {
        "21": ["images/21_training.tif", "1st_manual/21_manual1.gif"],
        "22": ["images/22_training.tif", "1st_manual/22_manual1.gif"],
    }
    assert data.problems == ["23: there is no 1st_manual/23_manual1.gif"]


def test_patterns_name_several_channels(tmp_path):
    touch(tmp_path, *(f"{case}/{name}.nii.gz" for case in ("a", "b") for name in ("flair", "t1", "truth")))
    data = find_cases(tmp_path, naming=Naming(("*/t1.nii.gz", "*/flair.nii.gz"), "*/truth.nii.gz"))
    assert data.channels == ("t1", "flair")
    assert files_of(data)["b"] == ["b/t1.nii.gz", "b/flair.nii.gz", "b/truth.nii.gz"]


@pytest.mark.parametrize(
    ("pattern", "name"),
    [("*_flair.nii.gz", "flair"), ("t1/*.nii.gz", "t1"), ("*/scan.mha", "scan"), ("*.png", "image")],
)
def test_a_channel_is_called_after_its_pattern(pattern, name):
    assert pattern_name(pattern) == name


@pytest.mark.parametrize(
    ("naming", "message"),
    [
        (Naming(("*_t1.nii.gz",)), "one for each channel and one for the labels"),
        (Naming((), "*_seg.nii.gz"), "one for each channel and one for the labels"),
        (Naming(("*_t1.nii.gz",), "seg"), "one for each channel and one for the labels"),
        (Naming(("../*.nii.gz",), "*_seg.nii.gz"), "names files outside of"),
        (Naming(("*_t1.nii.gz",), "*_seg.nii.gz"), "no case with image and label"),
    ],
)
def test_patterns_that_settle_nothing(tmp_path, naming, message):
    touch(tmp_path, "a.nii.gz")
    with pytest.raises(DataError, match=message):
        find_cases(tmp_path, naming=naming)


def test_a_bracket_in_a_folders_name_is_no_wildcard(tmp_path):
    touch(tmp_path, "[ab]/1.png", "a/1.png", "gt/1.png")
    data = find_cases(tmp_path, naming=Naming(("[ab]/*.png",), "gt/*.png"))
    assert files_of(data) == {"1": ["[ab]/1.png", "gt/1.png"]}
