"""Files by pattern, where * is the case."""

import pytest
from sets.layout_files import files_of, touch

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


@pytest.mark.parametrize(
    ("files", "images", "labels", "ids"),
    [
        (["p/{0}/x/{0}_img.png", "q/{0}_gt.png"], "**/*_img.png", "**/*_gt.png", "ab"),
        (["img/{0}.png", "gt/site/{0}.png"], "img/**/*.png", "gt/**/*.png", "ab"),
        (["n/{0}/scan.png", "n/{0}/mask.png"], "**/scan.png", "**/mask.png", ["n_a", "n_b"]),
        (["n/{0}/1/scan.png", "n/{0}/2/mask.png"], "n/*/**/scan.png", "n/*/**/mask.png", "ab"),
    ],
)
def test_two_stars_cross_folders(tmp_path, files, images, labels, ids):
    touch(tmp_path, *(file.format(case) for file in files for case in "ab"), "other/a.txt")
    data = find_cases(tmp_path, naming=Naming((images,), labels))
    assert ([case.id for case in data.cases], data.problems) == ([*ids], [])


def test_names_that_occur_in_two_folders_are_named_with_them(tmp_path):
    touch(tmp_path, *(f"img/{path}.png" for path in ("s/a", "t/a", "t/b")), "gt/a.png", "gt/b.png")
    data = find_cases(tmp_path, naming=Naming(("img/**/*.png",), "gt/*.png"))
    assert [case.id for case in data.cases] == ["b"]
    assert data.problems == ["a: img/s/a.png and img/t/a.png both match img/**/*.png; keep one of them"]


@pytest.mark.parametrize("pattern", ["a**.png", "x/**b/*.png", "images/**"])
def test_two_stars_within_a_name_are_refused(tmp_path, pattern):
    touch(tmp_path, "a.png")
    with pytest.raises(DataError, match=r"has \*\* within a name"):
        find_cases(tmp_path, naming=Naming((pattern,), "*_gt.png"))


def test_a_bracket_in_a_folders_name_is_no_wildcard(tmp_path):
    touch(tmp_path, "[ab]/1.png", "a/1.png", "gt/1.png")
    data = find_cases(tmp_path, naming=Naming(("[ab]/*.png",), "gt/*.png"))
    assert files_of(data) == {"1": ["[ab]/1.png", "gt/1.png"]}
