"""Which prediction is scored against which reference, and what the values on both sides mean."""

import itertools
import json

import numpy as np
import pytest
import SimpleITK as sitk

from medseg.commands.evaluate.evaluate import evaluate
from medseg.commands.evaluate.options import EvaluateOptions
from medseg.core.errors import DataError

SHAPE = (4, 12, 12)


def blob(number):
    """Return a cube whose place says which case it is of."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:3, number : number + 4, 3:8] = 1
    return mask


@pytest.mark.parametrize(
    ("prediction", "reference"),
    [
        ("case_{}", "case_{}_seg"),
        ("case_{}_0000", "case_{}"),
        ("case_{}_0000", "case_{}_label"),
        ("pred_case_{}", "case_{}-mask"),
        ("img_{}", "mask_{}"),
        ("case_000{}", "case_000{}_seg"),  # numbers of cases, of which the first is no channel's
        ("pred_case_000{}", "case_000{}"),
    ],
)
def test_words_for_a_side_do_not_keep_equal_names_apart(tmp_path, save_nifti, prediction, reference):
    for number in range(3):
        save_nifti(tmp_path / f"out/{prediction.format(number)}.nii.gz", blob(number))
        save_nifti(tmp_path / f"ref/{reference.format(number)}.nii.gz", blob(number))
    result = evaluate(tmp_path / "out", tmp_path / "ref")
    assert [case.dice_mean for case in result.summary.cases] == [1, 1, 1]
    assert result.similar == {}


@pytest.mark.parametrize(
    ("predictions", "references"),
    [
        (["pred_003", "pred_004", "pred_005"], ["ref_000", "ref_001", "ref_002"]),
        (["a_1_x", "a_2_x", "a_3_x"], ["b_1", "b_2", "b_3"]),
        (["p1_s1", "p1_s2", "p2_s1"], ["s1_p1", "s1_p2", "s2_p1"]),
        (["1_test", "2_test", "3_test"], ["1_manual1", "2_manual1", "3_manual1"]),
        (["case_0001"], ["case_0009"]),
        (["case_0000"], ["case_0001"]),
        (["p1_0001", "p2_0001"], ["p1_0002", "p2_0002"]),
        (["p1_0001"], ["p1"]),
    ],
)
def test_names_that_are_not_equal_are_never_scored_unasked(tmp_path, save_nifti, predictions, references):
    for number, (prediction, reference) in enumerate(zip(predictions, references, strict=True)):
        save_nifti(tmp_path / f"out/{prediction}.nii.gz", blob(number))
        save_nifti(tmp_path / f"ref/{reference}.nii.gz", blob(number))
    with pytest.raises(DataError, match="No prediction has the name of a reference"):
        evaluate(tmp_path / "out", tmp_path / "ref")


def test_numbers_at_the_end_of_names_tell_cases_apart(tmp_path, save_nifti):
    for side, numbers in (("out", (1, 2, 3)), ("ref", (1, 2, 4))):
        for number in numbers:
            save_nifti(tmp_path / side / f"case_{number:04}.nii.gz", blob(number))
    result = evaluate(tmp_path / "out", tmp_path / "ref")
    assert [case.case for case in result.summary.cases] == ["case_0001", "case_0002"]
    assert result.failed == {"case_0004": "there is no prediction of this name"}
    assert result.summary.without_reference == ("case_0003",)


def test_a_single_other_name_beside_equal_ones_is_named_and_not_guessed(tmp_path, save_nifti):
    for number, (prediction, reference) in enumerate([("a", "a"), ("b_pred", "b"), ("c1", "c2")]):
        save_nifti(tmp_path / f"out/{prediction}.nii.gz", blob(number))
        save_nifti(tmp_path / f"ref/{reference}.nii.gz", blob(number))
    result = evaluate(tmp_path / "out", tmp_path / "ref", options=EvaluateOptions(pair="similar"))
    assert [case.case for case in result.summary.cases] == ["a", "b_pred"]
    assert [*result.failed] == ["c2"]
    assert result.summary.without_reference == ("c1",)


def test_another_word_for_pair_is_refused(tmp_path, save_nifti):
    save_nifti(tmp_path / "out/a.nii.gz", blob(0))
    with pytest.raises(DataError, match="valid are equal, similar"):
        evaluate(tmp_path / "out", tmp_path / "out", options=EvaluateOptions(pair="any"))


def test_values_of_which_none_is_on_both_sides_are_refused_and_the_hint_settles_it(tmp_path, save_nifti):
    for number in range(3):
        save_nifti(tmp_path / f"out/{number}.nii.gz", blob(number) * 255)
        save_nifti(tmp_path / f"ref/{number}.nii.gz", blob(number))
    with pytest.raises(DataError, match="references hold the values 1, the predictions 255") as refused:
        evaluate(tmp_path / "out", tmp_path / "ref")
    assert "--prediction-map 255=1" in refused.value.hint
    for options in (EvaluateOptions(prediction_map=["255=1"]), EvaluateOptions(prediction_threshold=128)):
        assert evaluate(tmp_path / "out", tmp_path / "ref", options=options).summary.dice_mean == 1


@pytest.mark.parametrize(
    ("reference", "prediction", "parts"),
    [
        ({1: 1, 2: 2}, {1: 1, 2: 2}, []),
        (
            {1: 1, 2: 255},
            {1: 1, 2: 2},
            ["255 in the references alone", "2 in the predictions", "--prediction-map 2=255"],
        ),
        ({1: 1, 2: 2}, {1: 1, 2: 1}, ["2 in the references alone"]),
        ({1: 1, 2: 1}, {1: 1, 2: 2}, ["2 in the predictions alone"]),
    ],
)
def test_values_that_one_side_alone_holds_are_noted(tmp_path, save_nifti, reference, prediction, parts):
    """A case holds two structures, each of which has a value on either side; one case alone may lack a value."""
    for number in range(3):
        first, second = blob(number), blob(number + 4) * (1 - blob(number)) * (number > 0)
        for side, values in (("ref", reference), ("out", prediction)):
            save_nifti(tmp_path / f"{side}/{number}.nii.gz", first * np.uint8(values[1]) + second * np.uint8(values[2]))
    notes = [note for note in evaluate(tmp_path / "out", tmp_path / "ref").notes if "on one side alone" in note]
    assert len(notes) == bool(parts)
    assert all(part in notes[0] for part in parts)
    if len(parts) == 3:
        settled = evaluate(tmp_path / "out", tmp_path / "ref", options=EvaluateOptions(prediction_map=["2=255"]))
        assert settled.summary.dice_mean == 1
        assert settled.notes == ()


def test_what_is_advised_for_soft_predictions_scores_them(tmp_path, save_nifti):
    for number in range(3):
        save_nifti(tmp_path / f"out/{number}.nii.gz", blob(number).astype(np.float32) * 0.9)
        save_nifti(tmp_path / f"ref/{number}.nii.gz", blob(number))
    with pytest.raises(DataError, match=r"--prediction-threshold 0\.45"):
        evaluate(tmp_path / "out", tmp_path / "ref")
    result = evaluate(tmp_path / "out", tmp_path / "ref", options=EvaluateOptions(prediction_threshold=0.45))
    assert result.summary.dice_mean == 1


@pytest.mark.parametrize("flips", [*itertools.product((1, -1), repeat=3)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_one_grid_stored_another_way_round_is_one_grid(tmp_path, save_nifti, flips, order):
    mask = blob(1)  # (z, y, x)
    affine = np.diag([0.5, 0.7, 2.0, 1.0])
    save_nifti(tmp_path / "ref/a.nii.gz", mask, affine)
    array, steps, origin = mask, np.diag([0.5, 0.7, 2.0]), np.zeros(3)
    for axis, flip in enumerate(flips):  # x, y, z
        if flip < 0:
            array = np.flip(array, 2 - axis)
            origin = origin + steps[:, axis] * (mask.shape[2 - axis] - 1)
            steps[:, axis] *= -1
    stored = np.eye(4)
    stored[:3, :3], stored[:3, 3] = steps[:, list(order)], origin
    save_nifti(tmp_path / "out/a.nii.gz", array.transpose([2 - order[axis] for axis in (2, 1, 0)]), stored)
    result = evaluate(tmp_path / "out", tmp_path / "ref")
    assert not result.failed
    assert result.summary.dice_mean == 1


@pytest.mark.parametrize("linked", [False, True])
def test_a_file_is_not_scored_against_itself(tmp_path, save_nifti, linked):
    save_nifti(tmp_path / "ref/a.nii.gz", blob(0))
    out = tmp_path / "ref"
    if linked:
        out = tmp_path / "out"
        out.mkdir()
        (out / "a.nii.gz").symlink_to(tmp_path / "ref/a.nii.gz")
    with pytest.raises(DataError, match="are one file: it would be scored against itself"):
        evaluate(out, tmp_path / "ref")


def test_answers_given_as_references_are_refused_unless_the_scores_have_a_place(tmp_path, save_nifti):
    """nnU-Net's command takes references first: signed errors would be those of the other side, beside the labels."""
    save_nifti(tmp_path / "out/a.nii.gz", blob(0))
    save_nifti(tmp_path / "ref/a.nii.gz", blob(1))
    (tmp_path / "out/predict.jsonl").touch()
    with pytest.raises(DataError, match="seem to be exchanged") as error:
        evaluate(tmp_path / "ref", tmp_path / "out")
    assert f"`medseg evaluate {tmp_path / 'out'} {tmp_path / 'ref'}`" in str(error.value)
    assert [path.name for path in (tmp_path / "ref").iterdir()] == ["a.nii.gz"]
    assert evaluate(tmp_path / "out", tmp_path / "ref").summary.cases
    assert evaluate(tmp_path / "ref", tmp_path / "out", options=EvaluateOptions(output=tmp_path / "scores")).files


def test_a_data_set_whose_test_labels_have_the_names_leads_to_them(tmp_path, save_nifti):
    """`predict DATASET` answers its imagesTs, but the references of a data set are those that were trained on."""
    save_nifti(tmp_path / "out/b.nii.gz", blob(0))
    for folder, case in (("labelsTr", "a"), ("labelsTs", "b")):
        save_nifti(tmp_path / f"data/{folder}/{case}.nii.gz", blob(0))
        save_nifti(tmp_path / f"data/{folder.replace('labels', 'images')}/{case}_0000.nii.gz", blob(0))
    declared = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "blob": 1}, "file_ending": ".nii.gz"}
    (tmp_path / "data/dataset.json").write_text(json.dumps({**declared, "numTraining": 1}))
    with pytest.raises(DataError, match=r"Perhaps `(\S+labelsTs)` was meant") as error:
        evaluate(tmp_path / "out", tmp_path / "data")
    meant = str(error.value).split("`")[1]
    assert evaluate(tmp_path / "out", meant).summary.dice_mean == 1


@pytest.mark.parametrize("suffix", [".nii.gz", ".png"])
@pytest.mark.parametrize("order", ["{structure}/{case}", "{case}/{structure}", "{structure}/{case}_{structure}"])
@pytest.mark.parametrize("answer", ["{case}", "{case}_pred"])
def test_masks_in_folders_need_no_images_beside_them(tmp_path, save_nifti, save_picture, order, answer, suffix):
    def save(path, mask):
        if suffix == ".png":
            save_picture(path, mask[1])
        else:
            save_nifti(path, mask)

    for number in range(3):
        cup, disc = blob(number), blob(number + 4)
        save(
            tmp_path / f"out/{answer.format(case=f'p{number}')}{suffix}",
            np.where(cup, 1, np.where(disc, 2, 0)).astype(np.uint8),
        )
        for structure, mask in (("cup", cup), ("disc", disc)):
            name = order.format(structure=structure, case=f"p{number}")
            save(tmp_path / f"ref/{name}{suffix}", mask * 255)
    result = evaluate(tmp_path / "out", tmp_path / "ref")
    assert (result.labels.structures, result.failed) == ({"cup": 1, "disc": 2}, {})
    assert [case.dice_mean for case in result.summary.cases] == [1, 1, 1]
    assert [note for note in result.notes if "1 is taken for cup, 2 for disc" in note]
    assert f"{tmp_path / 'ref'} is read as one mask for each structure: cup, disc" in result.notes
    exchanged = EvaluateOptions(segments=["disc", "cup"], output=tmp_path / "scores")
    result = evaluate(tmp_path / "out", tmp_path / "ref", options=exchanged)
    assert result.labels.structures == {"disc": 1, "cup": 2}
    assert not [note for note in result.notes if "is taken for" in note]
    assert {case.dice_mean for case in result.summary.cases} == {0}


@pytest.mark.parametrize("named", ["out", "ref"])
def test_values_beside_names_are_taken_in_alphabetical_order_and_said(tmp_path, save_nifti, named):
    """Segmentations of 3D Slicer, in which a name has another value in each file, against values without names."""
    bare = "ref" if named == "out" else "out"
    for number, values in enumerate(({"liver": 1, "spleen": 2}, {"liver": 2, "spleen": 1})):
        masks = {"liver": blob(number), "spleen": blob(number + 4)}
        segments = sitk.GetImageFromArray(sum(masks[name] * value for name, value in values.items()))
        for place, (name, value) in enumerate(values.items()):
            for key, content in (("ID", name), ("Name", name), ("LabelValue", value), ("Layer", 0)):
                segments.SetMetaData(f"Segment{place}_{key}", str(content))
        (tmp_path / named).mkdir(exist_ok=True)
        sitk.WriteImage(segments, tmp_path / named / f"p{number}.seg.nrrd")
        save_nifti(tmp_path / bare / f"p{number}.nii.gz", masks["liver"] + 2 * masks["spleen"], np.diag([-1, -1, 1, 1]))
    result = evaluate(tmp_path / "out", tmp_path / "ref")
    side = "predictions" if bare == "out" else "references"
    assert (result.labels.structures, result.failed) == ({"liver": 1, "spleen": 2}, {})
    assert [case.dice_mean for case in result.summary.cases] == [1, 1]
    assert [note for note in result.notes if f"the values in the {side} mean: 1 is taken for liver" in note]
    exchanged = EvaluateOptions(segments=["spleen", "liver"], output=tmp_path / "scores")
    result = evaluate(tmp_path / "out", tmp_path / "ref", options=exchanged)
    assert ([case.dice_mean for case in result.summary.cases], result.notes) == ([0, 0], ())


def test_folders_that_may_be_no_structures_lead_to_one_of_them(tmp_path, save_picture):
    for number in range(2):
        save_picture(tmp_path / f"out/p{number}.png", blob(number)[1])
        save_picture(tmp_path / f"ref/cup/p{number}.png", blob(number)[1])
    with pytest.raises(DataError, match="a single folder of masks") as refused:
        evaluate(tmp_path / "out", tmp_path / "ref")
    assert refused.value.hint.endswith(str(tmp_path / "ref/cup"))
    assert evaluate(tmp_path / "out", tmp_path / "ref/cup").summary.dice_mean == 1
