"""Every file that looks like an image is used, or named with what became of it, in each layout."""

import json
import os

import numpy as np
import pytest
from sets.layout_files import touch

from medseg.commands.data.check import check
from medseg.core.errors import DataError
from medseg.datasets.data_options import DataOptions
from medseg.datasets.find_data import find_data
from medseg.io.images import read_image
from medseg.io.layouts.dataset import Naming
from medseg.io.layouts.find import find_cases
from medseg.io.layouts.folder_of_scans import scans_of_folder
from medseg.io.several_files import united_files

LAYOUTS = {
    "pairs": ("images/{}.nii.gz", "labels/{}.nii.gz"),
    "folders": ("{0}/ct.nii.gz", "{0}/seg.nii.gz"),
    "files": ("{}.nii.gz", "{}_seg.nii.gz"),
    "bids": ("sub-{0}/anat/sub-{0}_T1w.nii.gz", "derivatives/x/sub-{0}/anat/sub-{0}_dseg.nii.gz"),
    "nnunet": ("imagesTr/{}_0000.nii.gz", "labelsTr/{}.nii.gz"),
}
DECLARED = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "a": 1}, "file_ending": ".nii.gz"}


def make(folder, save_nifti, layout, cases):
    """Write a data set of small cases in a layout."""
    mask = np.zeros((6, 6, 6), np.uint8)
    mask[2:4, 2:4, 2:4] = 1
    for number, case in enumerate(cases):
        scan = np.random.default_rng(number).normal(0, 1, mask.shape).astype(np.float32)
        for name, array in zip(LAYOUTS[layout], (scan, mask), strict=True):
            save_nifti(folder / name.format(case), array)
    if layout == "nnunet":
        (folder / "dataset.json").write_text(json.dumps(DECLARED | {"numTraining": len(cases)}))


@pytest.mark.parametrize("layout", [*LAYOUTS])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("how", ["dangling", "pipe"])
def test_entries_that_cannot_be_read_are_named(tmp_path, save_nifti, layout, which, how):
    make(tmp_path / "set", save_nifti, layout, ["p1", "p2", "p3", "p4"])
    path = tmp_path / "set" / LAYOUTS[layout][which].format("p3")
    path.unlink()
    if how == "dangling":
        path.symlink_to(".git/annex/objects/nothing.nii.gz")
    else:
        os.mkfifo(path)
    result = check(tmp_path / "set", tmp_path)
    assert [case.removeprefix("sub-") for case in result.left_out] == ["p3"]
    reason = "is a link to .git/annex" if how == "dangling" else "no regular file"
    assert any(reason in finding.message for finding in result.findings)


def test_a_dangling_scan_is_found_where_a_model_is_to_segment_it_and_reading_names_it(tmp_path, save_nifti):
    save_nifti(tmp_path / "a.nii.gz", np.zeros((2, 2, 2), np.float32))
    (tmp_path / "b.nii.gz").symlink_to("nowhere")
    assert sorted(scans_of_folder(tmp_path, ("CT",))[0]) == ["a", "b"]
    with pytest.raises(DataError, match="is a link to nowhere, which is not there"):
        read_image(tmp_path / "b.nii.gz")


def test_a_number_of_cases_that_is_not_there_is_named(tmp_path, save_nifti):
    make(tmp_path, save_nifti, "nnunet", ["a", "b"])
    assert find_cases(tmp_path).problems == []
    (tmp_path / "dataset.json").write_text(json.dumps(DECLARED | {"numTraining": 6}))
    assert "declares 6 training cases (numTraining); found were 2" in find_cases(tmp_path).problems[0]
    pairs = [{"image": f"imagesTr/{name}_0000.nii.gz", "label": f"labelsTr/{name}.nii.gz"} for name in "abc"]
    listed = {key: value for key, value in DECLARED.items() if key != "file_ending"} | {"training": pairs}
    (tmp_path / "dataset.json").write_text(json.dumps(listed | {"numTraining": 2}))
    assert find_cases(tmp_path).problems[-1].endswith("found were 2, and 1 that cannot be used")


def test_images_without_a_label_and_misspelt_labels_in_one_folder_are_named(tmp_path):
    touch(tmp_path, *(f"p{n}.nii" for n in range(6)), *(f"p{n}_seg.nii" for n in range(4)), "p4_sge.nii")
    data = find_cases(tmp_path)
    assert [case.id for case in data.cases] == ["p0", "p1", "p2", "p3"]
    assert [problem.partition(":")[0] for problem in data.problems] == ["p4", "p4_sge", "p5"]


@pytest.mark.parametrize(
    ("files", "case"),
    [
        (["{} ({}).png", "{} ({})_mask.png", "{} ({})_mask_1.png"], "b (2)"),
        (["{}{}.png", "{}{}_seg.png", "{}{}_seg2.png"], "b2"),
        (["images/{}{}.png", "masks/{}{}.png", "masks/{}{}_1.png"], "b2"),
        (["images/{}{}.png", "masks/{}{}.png", "masks/{}{}_mask2.png"], "b2"),
        (["{}{}/ct.png", "{}{}/mask.png", "{}{}/mask_1.png"], "b2"),
    ],
)
def test_several_masks_of_a_case_are_united_and_told(tmp_path, files, case):
    image, mask, further = files
    touch(tmp_path, *(name.format("b", n) for name in (image, mask) for n in range(1, 7)), further.format("b", 2))
    data = find_cases(tmp_path)
    assert len(data.cases) == 6
    assert data.problems == [f"several masks of one image are united in 1 case: {case} (2 masks)"]
    label = next(found.label for found in data.cases if found.id == case)
    assert [file.relative_to(tmp_path).as_posix() for file in united_files(label)] == [
        mask.format("b", 2),
        further.format("b", 2),
    ]


def test_further_masks_beside_other_masks_of_such_names_are_not_guessed_at(tmp_path):
    """Where p4_1 is an image of its own, p4_2 may be the second mask of p4, and a united label would take both."""
    touch(tmp_path, *(f"images/{name}.png" for name in ("p4", "p4_1")))
    touch(tmp_path, *(f"masks/{name}.png" for name in ("p4", "p4_1", "p4_2")))
    data = find_cases(tmp_path)
    assert [case.id for case in data.cases] == ["p4_1"]
    assert "p4: p4.png and p4_2.png are label files of this one case" in data.problems[0]
    (tmp_path.parent / "ids.txt").write_text("p4")
    excluded = find_data(tmp_path, DataOptions(exclude=tmp_path.parent / "ids.txt"))
    assert [problem for problem in excluded.problems if problem.startswith("p4:")] == []


def test_numbered_masks_of_numbered_images_are_no_further_masks(tmp_path):
    touch(tmp_path, *(f"x_img_{n}.png" for n in range(4)), *(f"x_mask_{n}.png" for n in range(4)))
    assert len(find_cases(tmp_path).cases) == 4


@pytest.mark.parametrize("layout", ["nnunet", "pairs", "files"])
def test_numbers_of_objects_are_not_taken_for_classes(tmp_path, save_nifti, layout):
    make(tmp_path, save_nifti, layout, ["a", "b"])
    label = tmp_path / LAYOUTS[layout][1].format("b")
    beside = label.with_name(label.name.replace(".nii.gz", ".json"))
    beside.write_text('{"id": 3}')
    assert len(find_cases(tmp_path).cases) == 2
    beside.write_text('{"instances": {"1": 0, "2": 1}}')
    with pytest.raises(DataError, match=r"numbers of objects, not classes: .*\.json says that 1 is of class 0"):
        find_cases(tmp_path)


@pytest.mark.parametrize("annotated", [1, 2, 4, 9])
@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("{0}/scan.nii.gz", "{0}/seg.nii.gz"),
        ("sub-{0}/anat/sub-{0}_T1w.nii.gz", "derivatives/m/sub-{0}/anat/sub-{0}_dseg.nii.gz"),
        ("sub-{0}/anat/sub-{0}_T1w.nii.gz", "derivatives/m/sub-{0}/anat/sub-{0}_T1w_seg-manual.nii.gz"),
        ("sub-{0}/anat/sub-{0}_T1w.nii.gz", "derivatives/m/sub-{0}/anat/sub-{0}_label-X_seg.nii.gz"),
    ],
)
def test_cases_without_a_label_are_named_however_many_they_are(tmp_path, image, label, annotated):
    cases = [f"c{number:02d}" for number in range(10)]
    touch(tmp_path, *(image.format(case) for case in cases), *(label.format(case) for case in cases[:annotated]))
    data = find_cases(tmp_path)
    assert [case.id.removeprefix("sub-") for case in data.cases] == cases[:annotated]
    assert [problem.partition(":")[0].removeprefix("sub-") for problem in data.problems] == cases[annotated:]


def test_masks_in_a_folder_for_each_case_are_its_label_and_a_pattern_plans_one_of_them(tmp_path):
    structures = ("liver", "spleen", "aorta")
    for case in ("s1", "s2", "s3"):
        touch(tmp_path, f"{case}/ct.nii.gz", *(f"{case}/segmentations/{name}.nii.gz" for name in structures))
    data = find_cases(tmp_path)
    assert (data.channels, data.problems) == (("ct",), [])
    assert [case.label for case in data.cases] == [tmp_path / case / "segmentations" for case in ("s1", "s2", "s3")]
    patterns = Naming(("*/ct.nii.gz",), "*/segmentations/aorta.nii.gz")
    assert len(find_cases(tmp_path, naming=patterns).cases) == 3


def test_runs_are_no_channels_and_one_can_be_chosen(tmp_path):
    for case in ("01", "02", "03"):
        name = f"sub-{case}/anat/sub-{case}"
        touch(tmp_path, *(f"{name}_run-{run}_T1w.nii" for run in (1, 2)), f"{name}_FLAIR.nii")
        touch(tmp_path, f"derivatives/m/{name}_dseg.nii")
    with pytest.raises(DataError, match=r"several runs of one scan \(run-1_T1w, run-2_T1w\)"):
        find_cases(tmp_path)
    assert find_cases(tmp_path, naming=Naming(images=("run-1_T1w",))).channels == ("run-1_T1w",)


@pytest.mark.parametrize(("side", "kind"), [("images", "missing image"), ("labels", "missing label")])
def test_a_counterpart_in_a_format_that_is_not_read_is_named(tmp_path, side, kind):
    touch(tmp_path, "images/a.png", "labels/a.png", "images/b.png", "labels/b.png")
    (tmp_path / side / "b.png").rename(tmp_path / side / "b.webp")
    (problem,) = find_cases(tmp_path).problems
    assert problem == f"b: b.webp in {tmp_path / side} is in no format that medseg reads as {side}"
    assert (problem.kind, problem.file) == (kind, tmp_path / side / "b.webp")
    (tmp_path / side / "b.webp").rename(tmp_path / side / "b.json")  # says something of a scan, and is none
    (problem,) = find_cases(tmp_path).problems
    assert "there is no" in problem
