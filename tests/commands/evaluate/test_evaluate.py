"""Evaluation of folders as users have them: 4 x 4 drawings with known Dice, in NIfTI and PNG."""

import csv
import json
import re

import numpy as np
import pytest
from builders import make_plan
from dicom.builders import ramp, save, uid, write_series
from dicom.label_builders import box, grid, rtstruct

from medseg.commands.evaluate.evaluate import evaluate
from medseg.commands.evaluate.options import EvaluateOptions
from medseg.core.errors import Cancelled, DataError
from medseg.core.labels import Labels
from medseg.delivery.answers.labels_file import write_labels_file
from medseg.io.images import read_label, write_label

ORGANS = Labels(structures={"liver": 1, "spleen": 2})
REFERENCE = np.array([[[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 0, 0], [2, 2, 0, 0]]] * 2, dtype=np.uint8)
# per slice: liver 4 voxels against 4, of which 3 agree; spleen 4 against 3, of which 3 agree
PREDICTION = np.array([[[0, 1, 1, 1], [0, 0, 1, 0], [2, 0, 0, 0], [2, 2, 0, 0]]] * 2, dtype=np.uint8)
SPACING = np.diag([10.0, 10.0, 5.0, 1.0])  # a voxel is 0.5 ml


@pytest.fixture
def folders(tmp_path, save_nifti):
    """Predictions and references of two cases: `a` with errors, `b` perfect."""
    for case, predicted in (("a", PREDICTION), ("b", REFERENCE)):
        save_nifti(tmp_path / f"pred/{case}.nii.gz", predicted, SPACING)
        save_nifti(tmp_path / f"ref/{case}.nii.gz", REFERENCE, SPACING)
    return tmp_path / "pred", tmp_path / "ref"


def pictures(page):
    """The pictures in a page, as data URIs."""
    return re.findall(r'src="(data:image/png;base64,[^"]+)"', page.read_text())


def test_two_folders(folders):
    pred, ref = folders
    result = evaluate(pred, ref, ORGANS)
    first, second = result.summary.cases
    assert (first.case, first.overlaps["liver"].dice, first.overlaps["spleen"].dice) == ("a", 6 / 8, 6 / 7)
    assert (second.case, second.dice_mean) == ("b", 1)
    assert first.figures["spleen"]["volume_reference"] == pytest.approx(8 * 0.5)  # ml
    assert first.figures["spleen"]["volume_prediction"] == pytest.approx(6 * 0.5)
    assert result.summary.dice_mean == pytest.approx(((6 / 8 + 1) / 2 + (6 / 7 + 1) / 2) / 2)
    # per slice, first `a` then `b`: agreeing voxels over those that either side has; the number of slices cancels
    background, liver, spleen = (7 + 8) / (10 + 8), (3 + 4) / (5 + 4), (3 + 4) / (4 + 4)
    assert result.summary.miou == pytest.approx((background + liver + spleen) / 3)
    assert not result.failed
    assert {path.name for path in result.files} == {"metrics.json", "metrics.csv", "pooled.csv", "report.html"}
    assert all(path.parent == pred and path.is_file() for path in result.files)


def test_output_folder_and_progress(folders, tmp_path):
    events = []
    result = evaluate(*folders, ORGANS, EvaluateOptions(output=tmp_path / "scores/deep"), events.append)
    assert {path.parent for path in result.files} == {tmp_path / "scores/deep"}
    assert [(event.stage, event.done, event.total) for event in events] == [
        ("evaluate", 0, 2),
        ("evaluate", 1, 2),
        ("evaluate", 2, 2),
    ]
    assert sorted(path.name for path in folders[0].iterdir()) == ["a.nii.gz", "b.nii.gz"]


def test_a_callback_can_cancel(folders, tmp_path):
    def cancel(event):
        raise Cancelled()

    with pytest.raises(Cancelled):
        evaluate(*folders, ORGANS, options=EvaluateOptions(output=tmp_path / "scores"), callback=cancel)
    assert not (tmp_path / "scores").exists()


def test_two_files_whatever_they_are_called(folders, save_nifti, tmp_path):
    other = save_nifti(tmp_path / "answer_of_reader_2.nii", PREDICTION, SPACING)
    result = evaluate(other, folders[1] / "b.nii.gz", ORGANS, options=EvaluateOptions(output=tmp_path / "scores"))
    assert [(case.case, case.overlaps["liver"].dice) for case in result.summary.cases] == [("b", 0.75)]


@pytest.mark.parametrize("unrelated", ["dataset.json", "labels/notes.txt"])
def test_two_files_do_not_care_what_else_lies_beside_them(folders, unrelated):
    pred, ref = folders
    for folder in folders:
        (folder / unrelated).parent.mkdir(exist_ok=True)
        (folder / unrelated).write_text("{}")
    with pytest.raises(DataError):
        evaluate(pred / "a.nii.gz", ref)
    result = evaluate(pred / "a.nii.gz", ref / "a.nii.gz")
    assert [case.overlaps["label_1"].dice for case in result.summary.cases] == [0.75]


def test_one_file_asks_for_that_case_alone(folders, tmp_path):
    pred, ref = folders
    for pair in ((pred / "a.nii.gz", ref), (pred, ref / "a.nii.gz")):
        result = evaluate(*pair, ORGANS, options=EvaluateOptions(output=tmp_path / "scores"))
        assert [case.case for case in result.summary.cases] == ["a"]
        assert not result.failed
        assert not result.summary.without_reference


def test_a_missing_prediction_fails_unless_allowed(folders):
    pred, ref = folders
    (pred / "b.nii.gz").unlink()
    result = evaluate(pred, ref, ORGANS)
    assert list(result.failed) == ["b"]
    assert "no prediction of this name" in result.failed["b"]
    assert [case.case for case in result.summary.cases] == ["a"]

    allowed = evaluate(pred, ref, ORGANS, options=EvaluateOptions(allow_missing=True))
    assert (allowed.failed, allowed.summary.without_prediction) == ({}, ("b",))
    assert json.loads((pred / "metrics.json").read_text())["without_prediction"] == ["b"]


def test_a_prediction_without_reference_is_named(folders):
    pred, ref = folders
    (ref / "b.nii.gz").unlink()
    result = evaluate(pred, ref, ORGANS)
    assert (result.failed, result.summary.without_reference) == ({}, ("b",))


def test_bad_cases_are_named_and_do_not_end_the_run(folders, save_nifti):
    pred, ref = folders
    moved = SPACING.copy()
    moved[0, 3] = 10  # one voxel to the right
    for case, array, affine in (
        ("moved", REFERENCE, moved),
        ("cut", REFERENCE[:1], SPACING),
        ("odd", REFERENCE * 3, SPACING),
    ):
        save_nifti(pred / f"{case}.nii.gz", array, affine)
        save_nifti(ref / f"{case}.nii.gz", REFERENCE, SPACING)
    (pred / "torn.nii.gz").write_bytes((pred / "a.nii.gz").read_bytes()[:60])
    save_nifti(ref / "torn.nii.gz", REFERENCE, SPACING)
    save_nifti(pred / "twice.nii", REFERENCE, SPACING)
    save_nifti(pred / "twice.nii.gz", REFERENCE, SPACING)
    save_nifti(ref / "twice.nii.gz", REFERENCE, SPACING)

    result = evaluate(pred, ref, ORGANS)
    assert [case.case for case in result.summary.cases] == ["a", "b"]
    assert list(result.failed) == ["cut", "moved", "odd", "torn", "twice"]
    assert "2 voxels apart" in result.failed["moved"]
    assert "(2, 4, 4) and (1, 4, 4)" in result.failed["cut"]
    assert "label values 3, 6" in result.failed["odd"]
    assert "torn.nii.gz" in result.failed["torn"]
    assert "twice.nii and twice.nii.gz" in result.failed["twice"]
    assert json.loads((pred / "metrics.json").read_text())["failed"] == result.failed


def test_labels_json_beside_the_predictions_comes_before_the_data_set(folders):
    pred, ref = folders
    declared = {
        "schema_version": 1,
        "labels": {"structures": {"first": 1, "second": 2}},
        "volumes": {"a": {"first": 4}},
    }
    (pred / "labels.json").write_text(json.dumps(declared))
    result = evaluate(pred, ref)
    assert list(result.summary.structures) == ["first", "second"]
    assert result.labels_from == "labels.json beside the predictions"
    assert list(evaluate(pred, ref, ORGANS).summary.structures) == ["liver", "spleen"]

    (pred / "labels.json").write_text('{"names": ["liver"]}')
    with pytest.raises(DataError, match=r"labels\.json does not declare labels"):
        evaluate(pred, ref)


def test_without_a_declaration_every_value_is_a_structure(folders, save_nifti):
    pred, ref = folders
    assert list(evaluate(pred, ref).summary.structures) == ["label_1", "label_2"]
    save_nifti(pred / "b.nii.gz", REFERENCE + 3 * (REFERENCE == 2), SPACING)  # 5, only in a prediction
    result = evaluate(pred, ref)
    assert list(result.summary.structures) == ["label_1", "label_2", "label_5"]
    assert result.summary.structures["label_5"].n_reference_empty == 1


def test_a_value_below_0_ends_its_case_alone_where_nothing_declares_structures(folders, save_nifti):
    pred, ref = folders
    save_nifti(pred / "b.nii.gz", np.where(REFERENCE == 2, -1, REFERENCE.astype(np.int16)), SPACING)
    result = evaluate(pred, ref)
    assert [case.case for case in result.summary.cases] == ["a"]
    assert "b.nii.gz holds the label value -1" in result.failed["b"]
    assert not evaluate(pred, ref, options=EvaluateOptions(prediction_map=("-1=2",))).failed
    save_nifti(pred / "a.nii.gz", -(PREDICTION.astype(np.int16)), SPACING)
    with pytest.raises(DataError, match=r"a\.nii\.gz holds the value -2") as caught:
        evaluate(pred, ref)
    assert "--prediction-map -2=0" in caught.value.hint


def test_a_value_that_no_structure_can_have_ends_its_case_alone(folders, save_nifti):
    pred, ref = folders
    save_nifti(pred / "b.nii.gz", np.where(REFERENCE == 2, 1e12, REFERENCE.astype(np.float64)), SPACING)
    result = evaluate(pred, ref)
    assert [case.case for case in result.summary.cases] == ["a"]
    assert "1000000000000" in result.failed["b"]
    (pred / "a.nii.gz").unlink()
    with pytest.raises(DataError, match=r"holds the value 1000000000000; expected whole numbers up to 2147483647"):
        evaluate(pred, ref)


@pytest.fixture
def data_set(tmp_path, save_nifti):
    """An nnU-Net data set of two cases with scans."""
    folder = tmp_path / "set"
    for case in "ab":
        save_nifti(folder / f"imagesTr/{case}_0000.nii.gz", REFERENCE * 50 + 10, SPACING)
        save_nifti(folder / f"labelsTr/{case}.nii.gz", REFERENCE, SPACING)
    description = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "liver": 1, "spleen": 2},
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


@pytest.mark.parametrize("part", ["", "labelsTr", "labelsTr/a.nii.gz"])
def test_a_data_set_declares_its_structures_and_gives_scans(data_set, folders, part, tmp_path):
    result = evaluate(folders[0], data_set / part, options=EvaluateOptions(output=tmp_path / "scores"))
    assert list(result.summary.structures) == ["liver", "spleen"]
    assert result.labels_from == "the data set of the references"
    assert result.summary.cases[0].overlaps["liver"].dice == 0.75
    with_scan = pictures(tmp_path / "scores/report.html")
    for image in (data_set / "imagesTr").iterdir():
        image.write_bytes(b"not a scan")
    if part:  # find_cases itself needs scans that can be read
        evaluate(folders[0], data_set / part, options=EvaluateOptions(output=tmp_path / "scores"))
        assert pictures(tmp_path / "scores/report.html") != with_scan


def test_partly_annotated_cases(folders):
    result = evaluate(*folders, ORGANS, options=EvaluateOptions(annotated={"a": ["spleen"]}))
    assert list(result.summary.cases[0].overlaps) == ["spleen"]
    assert result.summary.structures["liver"].dice_mean == 1  # of `b` alone
    assert (result.summary.structures["spleen"].n, result.summary.miou_cases, result.summary.miou) == (2, 1, 1)


def test_png_masks_are_measured_in_pixels_and_the_page_is_no_prediction(tmp_path, save_picture):
    save_picture(tmp_path / "pred/a.png", PREDICTION[0] * 100)
    save_picture(tmp_path / "set/masks/a.png", REFERENCE[0] * 100)
    save_picture(tmp_path / "set/images/a.png", REFERENCE[0] * 60 + 9)
    for _ in range(2):  # the second time report.html lies among the predictions
        result = evaluate(tmp_path / "pred", tmp_path / "set")
        assert result.summary.without_reference == ()
        structure = result.summary.structures["label_200"]
        assert structure.volume_unit == "pixels"
        assert structure.figures["volume_reference"].mean == 4
        assert structure.figures["volume_prediction"].mean == 3
    assert (tmp_path / "pred/report.html").is_file()


def test_nothing_to_draw_where_all_is_empty(tmp_path, save_nifti):
    for side in ("pred", "ref"):
        save_nifti(tmp_path / side / "a.nii", np.zeros((2, 4, 4), np.uint8))
    result = evaluate(tmp_path / "pred", tmp_path / "ref", ORGANS)
    assert result.summary.structures["liver"].n_both_empty == 1
    assert not pictures(tmp_path / "pred/report.html")


def test_nothing_to_pair(folders, save_nifti, tmp_path):
    save_nifti(tmp_path / "other/c.nii.gz", REFERENCE)
    with pytest.raises(DataError, match=r"holds c\.nii\.gz; .* holds a\.nii\.gz, b\.nii\.gz"):
        evaluate(tmp_path / "other", folders[1], ORGANS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no label file"):
        evaluate(tmp_path / "empty", folders[1], ORGANS)
    for missing in ((tmp_path / "nowhere", folders[1]), (folders[0], tmp_path / "nowhere")):
        with pytest.raises(DataError, match=r"no file or folder .*nowhere"):
            evaluate(*missing, ORGANS)


@pytest.mark.real
def test_shifted_hippocampus(data_dir, tmp_path):
    reference = data_dir / "hippocampus"
    cases = ["hippocampus_001", "hippocampus_003", "hippocampus_004"]
    for shift, case in enumerate(cases):
        label = read_label(reference / f"labelsTr/{case}.nii.gz")
        write_label(tmp_path / f"{case}.nii.gz", label.with_array(np.roll(label.array, shift, axis=2)))
    result = evaluate(tmp_path, reference, options=EvaluateOptions(allow_missing=True))
    assert list(result.summary.structures) == ["Anterior", "Posterior"]
    assert [case.case for case in result.summary.cases] == cases
    unmoved, one, two = (case.dice_mean for case in result.summary.cases)
    assert unmoved == 1 > one > 0.8 > two > 0.6
    assert len(result.summary.without_prediction) == 197
    volumes = result.summary.cases[0]
    assert 1 < volumes.figures["Anterior"]["volume_reference"] < 3  # ml


def test_two_predictions_are_compared_case_by_case(folders, save_nifti, tmp_path):
    pred, ref = folders
    for case in "ab":
        save_nifti(tmp_path / f"better/{case}.nii.gz", REFERENCE, SPACING)
    result = evaluate(tmp_path / "better", ref, ORGANS, EvaluateOptions(compare=pred, output=tmp_path / "scores"))
    liver = result.comparison["liver"]["dice"].difference
    assert (liver.n, liver.mean) == (2, pytest.approx((1 - 6 / 8) / 2))
    written = json.loads((tmp_path / "scores/metrics.json").read_text())
    assert written["comparison"]["liver"]["dice"]["difference"]["mean"] == pytest.approx(0.125)
    page = (tmp_path / "scores/report.html").read_text()
    assert "Comparison" in page
    assert f"compared with</dt><dd>{pred}" in "".join(line.strip() for line in page.splitlines())


def test_a_table_gives_patients_subgroups_and_what_was_annotated(folders, tmp_path):
    table = tmp_path / "cases.csv"
    table.write_text("case,patient,site,annotated\na,p1,north,spleen\nb,p2,south,\n")
    result = evaluate(*folders, ORGANS, EvaluateOptions(table=table, by=["site"]))
    assert [case.patient for case in result.summary.cases] == ["p1", "p2"]
    assert result.subgroups["site"]["north"]["liver"].n_annotated == 0
    assert result.subgroups["site"]["south"]["liver"].dice_mean == 1
    assert "site" in (folders[0] / "metrics.csv").read_text().splitlines()[0]
    with pytest.raises(DataError, match="attribute 'sex'; there are site"):
        evaluate(*folders, ORGANS, EvaluateOptions(table=table, by=["sex"]))
    table.write_text("case,site\nx,north\n")
    with pytest.raises(DataError, match="names none of the cases"):
        evaluate(*folders, ORGANS, EvaluateOptions(table=table))


@pytest.mark.parametrize("by", ["Split", "split", "SCANNER", "Scanner", "Case", "Fold"])
def test_attributes_are_named_in_upper_or_lower_case(folders, tmp_path, by):
    """Columns that medseg knows (split, fold, case) are in lower case once the table is read."""
    table = tmp_path / "cases.csv"
    table.write_text("id,Split,Scanner,Fold,Case\na,train,train,train,train\nb,test,test,test,test\n")
    result = evaluate(*folders, ORGANS, EvaluateOptions(table=table, by=[by]))
    assert {value: groups["liver"].n_annotated for value, groups in result.subgroups[by].items()} == {
        "test": 1,
        "train": 1,
    }


def test_attributes_that_differ_in_case_alone_are_named_exactly(folders, tmp_path):
    table = tmp_path / "cases.csv"
    table.write_text("id,Site,site\na,1,2\nb,1,3\n")
    assert [*evaluate(*folders, ORGANS, EvaluateOptions(table=table, by=["site"])).subgroups["site"]] == ["2", "3"]
    with pytest.raises(DataError, match="attribute 'SITE'; there are Site, site"):
        evaluate(*folders, ORGANS, EvaluateOptions(table=table, by=["SITE"]))


def test_cases_without_a_row_and_rows_without_a_case_are_named(folders, tmp_path):
    table = tmp_path / "cases.csv"
    table.write_text("id,patient\na,p1\nB,p1\nc,p2\n")
    result = evaluate(*folders, ORGANS, EvaluateOptions(table=table))
    assert result.notes == ("cases.csv has no row for 1 case: b; none has the name of its rows B, c",)
    table.write_text("id,patient\na,p1\nb,p1\nc,p2\n")
    assert evaluate(*folders, ORGANS, EvaluateOptions(table=table)).notes == ()


def test_columns_of_the_table_do_not_replace_those_of_the_scores(folders, tmp_path):
    table = tmp_path / "cases.csv"
    table.write_text("id,structure,failed,dice,site\na,left,no,bad,north\nb,right,no,good,south\n")
    evaluate(*folders, ORGANS, EvaluateOptions(table=table))
    with (folders[0] / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({*rows[0]}) == len(rows[0])
    assert [(row["case"], row["structure"], row["table structure"], row["site"]) for row in rows] == [
        ("a", "liver", "left", "north"),
        ("a", "spleen", "left", "north"),
        ("b", "liver", "right", "south"),
        ("b", "spleen", "right", "south"),
    ]
    assert (float(rows[0]["dice"]), rows[0]["table dice"], rows[0]["failed"], rows[0]["table failed"]) == (
        0.75,
        "bad",
        "",
        "no",
    )


def test_a_tolerance_leaves_those_of_other_structures(folders):
    pred, _ = folders
    plan = make_plan(labels=ORGANS.model_dump(), scoring={"nsd_tolerance_mm": {"spleen": 0.5, "liver": 1}})
    write_labels_file(pred, plan)
    result = evaluate(*folders, options=EvaluateOptions(tolerance=["liver=3"]))
    assert any("spleen 0.5 mm, liver 3 mm" in rule for rule in result.summary.rules)
    only = evaluate(*folders, options=EvaluateOptions(scoring={"nsd_tolerance_mm": {"liver": 3}}))
    assert any("liver 3 mm, 2 mm" in rule for rule in only.summary.rules)


def test_thresholds_that_cannot_be_held_are_refused_before_anything_is_scored(folders):
    for text, message in (
        ("lever:Dice=0.5", "no structure 'lever'; there are liver, spleen"),
        ("PQ=0.5", "panoptic_quality is not measured"),
        ("beauty=1", "is not a threshold"),
    ):
        with pytest.raises(DataError, match=message):
            evaluate(*folders, ORGANS, EvaluateOptions(fail_below=[text]))
    with pytest.raises(DataError, match="nsd is not measured"):
        evaluate(*folders, ORGANS, EvaluateOptions(fail_below=["NSD=0.5"], surface=False))
    assert not (folders[0] / "metrics.json").exists()


def test_files_of_others_are_moved_aside_and_earlier_scores_replaced(folders):
    pred, ref = folders
    for name in ("metrics.csv", "manifest.json", "report.html"):
        (pred / name).write_text("mine")
    [note] = evaluate(pred, ref, ORGANS).notes
    (moved,) = pred.glob("earlier-*")
    assert note.startswith("No run of medseg left metrics.csv, report.html in ")
    assert {path.name: path.read_text() for path in moved.iterdir()} == {"metrics.csv": "mine", "report.html": "mine"}
    assert [path.read_text() for path in pred.glob("manifest.earlier-*.json")] == ["mine"]
    again = evaluate(pred, ref, ORGANS)
    assert again.notes == ()
    assert {path.name for path in again.replaced} == {"metrics.json", "metrics.csv", "pooled.csv", "report.html"}
    (pred / "metrics.csv").write_text("corrected")
    assert "metrics.csv" in evaluate(pred, ref, ORGANS).notes[0]


def test_what_was_odd_about_label_files_is_noted(tmp_path, save_nifti):
    """A structure of another name counts as missing: the score alone looks like a bad answer."""
    pytest.importorskip("pydicom")
    lies = grid(ramp().shape)
    answer = np.zeros(lies.shape_zyx, np.uint8)
    answer[1, 1:3, 1:4] = 1
    drawn = [box(0.5, 0.5, 3.5, 2.5, 1)]
    for case, name in (("p1", "liver"), ("p2", "Leber")):
        write_series(tmp_path / "ref" / case / "ct", series=case, StudyInstanceUID=uid(case))
        save(rtstruct({name: drawn, "body": drawn}, lies, series=case), tmp_path / "ref" / case / "rs" / "x.dcm")
        save_nifti(tmp_path / f"pred/{case}.nii.gz", answer, lies.affine)
    write_labels_file(tmp_path / "pred", make_plan(labels=Labels(structures={"liver": 1}).model_dump()))
    result = evaluate(tmp_path / "pred", tmp_path / "ref")
    assert [case.dice_mean for case in result.summary.cases] == [1, 0]
    assert any("the labels also name body, Leber" in note for note in result.notes)
    assert "p2: x.dcm holds none of liver; it holds Leber, body" in result.notes


def test_a_side_that_does_not_say_where_it_lies_is_noted(tmp_path, save_nifti, save_picture):
    save_picture(tmp_path / "ref/a.png", REFERENCE[0])
    save_nifti(tmp_path / "pred/a.nii.gz", REFERENCE[:1], SPACING)
    result = evaluate(tmp_path / "pred", tmp_path / "ref", ORGANS)
    [note] = result.notes
    assert note.startswith(f"a: {tmp_path / 'ref/a.png'} does not say where its voxels lie: ")
    save_picture(tmp_path / "other/a.png", REFERENCE[0])
    options = EvaluateOptions(compare=[tmp_path / "pred"], output=tmp_path / "scores")
    assert evaluate(tmp_path / "other", tmp_path / "ref", ORGANS).notes == ()
    assert evaluate(tmp_path / "other", tmp_path / "ref", ORGANS, options).notes == (note,), "of those compared with"


def test_scoring_options_are_checked(folders):
    with pytest.raises(DataError, match="empty_policy"):
        evaluate(*folders, ORGANS, EvaluateOptions(scoring={"empty_policy": "mine"}))
    found = evaluate(*folders, ORGANS, EvaluateOptions(scoring={"surface": None, "lesions": True})).summary
    assert "hd95" not in found.measures
    assert found.structures["liver"].figures["lesion_f1"].mean == 1


def test_a_slip_in_a_structures_name_is_no_silent_change_of_scores(folders, tmp_path):
    with pytest.raises(
        DataError, match="no structure 'lever', which a tolerance is given for; there are liver, spleen"
    ):
        evaluate(*folders, ORGANS, EvaluateOptions(scoring={"nsd_tolerance_mm": {"lever": 3.0}}))
    table = tmp_path / "cases.csv"
    table.write_text("id,annotated\na,lever\n")
    with pytest.raises(DataError, match="no structure 'lever', which case a is said to be annotated for"):
        evaluate(*folders, ORGANS, EvaluateOptions(table=table))
    table.write_text("id,site\na,north\na,south\n")
    with pytest.raises(DataError, match="line 3: case 'a' has a row already"):
        evaluate(*folders, ORGANS, EvaluateOptions(table=table))


def test_a_case_that_the_others_lack_is_named(folders, save_nifti, tmp_path):
    pred, ref = folders
    save_nifti(tmp_path / "others/b.nii.gz", REFERENCE, SPACING)
    (tmp_path / "others/a.nii.gz").write_bytes(b"no picture")
    options = EvaluateOptions(compare=tmp_path / "others", output=tmp_path / "scores")
    assert list(evaluate(pred, ref, ORGANS, options).not_compared) == ["a"]
    (tmp_path / "others/a.nii.gz").unlink()
    assert evaluate(pred, ref, ORGANS, options).not_compared == {"a": "there is no prediction of this name"}
    assert list(json.loads((tmp_path / "scores/metrics.json").read_text())["not_compared"]) == ["a"]
    assert "a is not compared: there is no prediction" in (tmp_path / "scores/report.html").read_text()


@pytest.mark.parametrize(("surface", "said"), [("elements", "elements between voxels"), ("voxels", "as in MONAI")])
def test_the_definition_of_a_surface_is_said(folders, surface, said):
    rules = evaluate(*folders, ORGANS, EvaluateOptions(scoring={"surface": surface})).summary.rules
    assert sum(said in rule for rule in rules) == 1
