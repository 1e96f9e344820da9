"""BIDS with labels among the derivatives."""

import pytest
from sets.layout_files import files_of, touch

from medseg.core.errors import DataError
from medseg.io.layouts.dataset import Naming
from medseg.io.layouts.find import find_cases
from medseg.io.layouts.folder_of_scans import look_through


def raw(subject: str, *suffixes: str, session: str = "") -> list[str]:
    between = f"/ses-{session}" if session else ""
    stem = f"sub-{subject}" + (f"_ses-{session}" if session else "")
    return [f"sub-{subject}{between}/anat/{stem}_{suffix}.nii.gz" for suffix in suffixes]


def derived(pipeline: str, subject: str, *suffixes: str, session: str = "") -> list[str]:
    return [f"derivatives/{pipeline}/{path}" for path in raw(subject, *suffixes, session=session)]


def test_sessions_are_cases_and_subjects_patients(tmp_path):
    for subject, session in (("01", "a"), ("01", "b"), ("02", "a")):
        touch(tmp_path, *raw(subject, "T1w", session=session))
        touch(tmp_path, *derived("manual", subject, "desc-rater1_dseg", session=session))
    touch(tmp_path, "dataset_description.json", "sub-01/ses-a/func/sub-01_ses-a_task-rest_bold.nii.gz")
    data = find_cases(tmp_path)
    assert (data.layout, data.channels, data.problems) == ("bids", ("T1w",), [])
    assert [(case.id, case.patient) for case in data.cases] == [
        ("sub-01_ses-a", "sub-01"),
        ("sub-01_ses-b", "sub-01"),
        ("sub-02_ses-a", "sub-02"),
    ]
    assert files_of(data)["sub-02_ses-a"] == [
        "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz",
        "derivatives/manual/sub-02/ses-a/anat/sub-02_ses-a_desc-rater1_dseg.nii.gz",
    ]


def test_structures_are_named_by_the_table(tmp_path):
    touch(tmp_path, *raw("1", "T1w"), *derived("manual", "1", "dseg"))
    table = "index\tname\tcolor\n0\tbackground\t#000000\n3\tliver\t#ff0000\n7\tleft kidney\t#00ff00\n"
    (tmp_path / "derivatives/manual/dseg.tsv").write_text(table)
    assert find_cases(tmp_path).labels.structures == {"liver": 3, "left kidney": 7}
    (tmp_path / "derivatives/manual/dseg.tsv").write_text("structure\nliver\n")
    with pytest.raises(DataError, match=r"dseg\.tsv is not a table of labels: its first line is 'structure'"):
        find_cases(tmp_path)


def test_several_channels_are_noted_and_one_can_be_chosen(tmp_path):
    for subject in ("1", "2"):
        touch(tmp_path, *raw(subject, "T1w", "ce-gad_T1w", "FLAIR"), *derived("manual", subject, "label-lesion_mask"))
    data = find_cases(tmp_path)
    assert data.channels == ("FLAIR", "T1w", "ce-gad_T1w")
    assert "--images FLAIR takes one alone" in data.problems[-1]
    assert find_cases(tmp_path, naming=Naming(("T1w",))).channels == ("T1w",)


def test_several_labels_are_refused_until_one_is_named(tmp_path):
    touch(tmp_path, *raw("1", "T1w"), *derived("a", "1", "label-lesion_mask"), *derived("b", "1", "label-brain_mask"))
    with pytest.raises(DataError, match="each of label-brain_mask, label-lesion_mask may be the label"):
        find_cases(tmp_path)
    assert len(find_cases(tmp_path, naming=Naming(labels="label-lesion_mask")).cases) == 1


def test_the_same_label_of_two_pipelines_is_told_apart(tmp_path):
    touch(tmp_path, *raw("1", "T1w"), *derived("rater1", "1", "dseg"), *derived("rater2", "1", "dseg"))
    with pytest.raises(DataError, match="each of rater1/dseg, rater2/dseg may be the label"):
        find_cases(tmp_path)
    (case,) = find_cases(tmp_path, naming=Naming(labels="rater2/dseg")).cases
    assert "rater2" in str(case.label)


def test_versions_of_one_image_are_told_apart_by_their_entities(tmp_path):
    touch(tmp_path, *raw("1", "T1w", "desc-biascorrected_T1w"), *derived("manual", "1", "dseg"))
    assert find_cases(tmp_path).channels == ("T1w", "desc-biascorrected_T1w")


def test_images_may_lie_among_the_derivatives(tmp_path):
    touch(tmp_path, *derived("atlas", "1", "T1w", "label-L_desc-T1lesion_mask"))
    data = find_cases(tmp_path)
    assert (data.channels, len(data.cases)) == (("T1w",), 1)


def test_subjects_that_lack_something_are_named(tmp_path):
    touch(tmp_path, *raw("1", "T1w"), *raw("2", "T1w"), *raw("3", "T1w"))
    touch(tmp_path, *derived("m", "1", "dseg"), *derived("m", "2", "dseg"), *derived("m", "4", "dseg"))
    data = find_cases(tmp_path)
    assert [case.id for case in data.cases] == ["sub-1", "sub-2"]
    assert [problem[:5] for problem in data.problems] == ["sub-3", "sub-4"]


def test_bids_without_labels(tmp_path):
    touch(tmp_path, *raw("1", "T1w"))
    with pytest.raises(DataError, match="laid out as BIDS, but holds no label file"):
        find_cases(tmp_path)


@pytest.mark.parametrize("twice", ["sub-1/anat/sub-1_T1w.nii", "sub-1/other/sub-1_T1w.nii.gz"])
def test_two_files_that_are_one_scan_leave_their_case_out_by_name(tmp_path, twice):
    for subject in ("1", "2"):
        touch(tmp_path, *raw(subject, "T1w"), *derived("manual", subject, "dseg"))
    touch(tmp_path, twice)
    data = find_cases(tmp_path)
    assert [case.id for case in data.cases] == ["sub-2"]
    assert "claim to be the T1w of this one case" in data.problems[0]
    assert "sub-1_T1w.nii" in data.problems[0]
    scans, problems = look_through(tmp_path, ["T1w"])
    assert [*scans] == ["sub-2"]
    assert "claim to be the T1w" in problems["sub-1"]


def test_two_files_that_are_one_label_leave_their_case_out_by_name(tmp_path):
    for subject in ("1", "2"):
        touch(tmp_path, *raw(subject, "T1w"), *derived("manual", subject, "dseg"))
    touch(tmp_path, "derivatives/manual/sub-1/anat/sub-1_dseg.nii")
    data = find_cases(tmp_path)
    assert [case.id for case in data.cases] == ["sub-2"]
    assert "claim to be the dseg" in data.problems[0]
