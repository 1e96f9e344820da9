"""Predictions, other predictions and references that give structures other values: two bars in 4 x 4 pixels."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from builders import make_plan
from PIL import Image as pillow

from medseg.commands.evaluate.evaluate import evaluate
from medseg.commands.evaluate.options import EvaluateOptions
from medseg.commands.evaluate.same_values import reading_of_references
from medseg.core.errors import DataError
from medseg.core.labels import Labels
from medseg.delivery.answers.labels_file import read_labels_file, write_labels_file
from medseg.delivery.answers.prediction_ledger import LEDGER_NAME
from medseg.plans.sections.reading import Reading

SAME, SWAPPED = {"liver": 1, "tumour": 2}, {"tumour": 1, "liver": 2}


def draw(folder: Path, values: Sequence[int], cases: str = "ab", suffix: str = "") -> Path:
    """Write label maps with a row of the liver and a row of the tumour, which have these values."""
    folder.mkdir(parents=True)
    rows = np.array([0, *values, 0], np.uint8)
    for case in cases:
        pillow.fromarray(np.repeat(rows[:, None], 4, axis=1)).save(folder / f"{case}{suffix}.png")
    return folder


def declare(folder: Path, structures: dict[str, int], reading: Reading | None = None) -> Path:
    """Write the labels.json of `predict`."""
    plan = make_plan(labels=Labels(structures=structures).model_dump())
    data = plan.data.model_copy(update={"reading": reading or Reading()})
    write_labels_file(folder, plan.model_copy(update={"data": data}))
    return folder


def dataset(folder: Path, structures: dict[str, int], values: Sequence[int]) -> Path:
    """Write a data set of nnU-Net's with the two bars as labels."""
    draw(folder / "labelsTr", values)
    draw(folder / "imagesTr", values, suffix="_0000")
    content = {"channel_names": {"0": "CT"}, "labels": {"background": 0, **structures}, "file_ending": ".png"}
    (folder / "dataset.json").write_text(json.dumps(content | {"numTraining": 2}))
    return folder


def dice(result: object) -> dict[str, float | None]:
    return {name: one.dice_mean for name, one in result.summary.structures.items()}  # type: ignore[attr-defined]


def test_references_are_read_alike_for_all_answers(tmp_path: Path) -> None:
    """Only one of the folders has a labels.json that says how references are read."""
    answers = declare(draw(tmp_path / "answers", (1, 2)), SAME, Reading(map={100: 1, 200: 2}))
    other = draw(tmp_path / "other", (1, 2))
    reference = draw(tmp_path / "reference", (100, 200))
    result = evaluate(answers, reference, options=EvaluateOptions(compare=[other]))
    assert result.not_compared == {}
    assert dice(result.compared[0]) == {"liver": 1.0, "tumour": 1.0}


def test_an_option_on_the_grid_leaves_what_is_known_of_values(tmp_path: Path) -> None:
    answers = declare(draw(tmp_path / "answers", (1, 2)), SAME, Reading(map={1: 2, 2: 1}))
    reference = draw(tmp_path / "reference", (2, 1))
    result = evaluate(answers, reference, options=EvaluateOptions(resample_labels=True))
    assert (dice(result), result.notes) == ({"liver": 1.0, "tumour": 1.0}, ())


@pytest.mark.parametrize("names", [{"Tumour": 1, "LIVER": 2}, SWAPPED])
def test_capitals_do_not_make_another_structure(tmp_path: Path, names: dict[str, int]) -> None:
    answers = declare(draw(tmp_path / "answers", (1, 2)), SAME)
    reference = dataset(tmp_path / "set", names, (1, 2))
    with pytest.raises(DataError, match=r"give structures other values than labels\.json") as raised:
        evaluate(answers, reference)
    assert "--map 2=1 --map 1=2" in str(raised.value.hint)


def test_other_names_for_the_same_values_are_told(tmp_path: Path) -> None:
    answers = declare(draw(tmp_path / "answers", (1, 2)), SAME)
    result = evaluate(answers, dataset(tmp_path / "set", {"kidney": 1, "spleen": 2}, (1, 2)))
    [note] = [note for note in result.notes if "other names" in note]
    assert note.endswith("kidney there is liver here, spleen there is tumour here")
    same = evaluate(answers, dataset(tmp_path / "same", SAME, (1, 2)))
    assert not any("other names" in note for note in same.notes)


def test_pictures_of_two_sizes_are_not_brought_together(tmp_path: Path) -> None:
    """Nothing says how large a pixel is: the small mask would be laid into a corner of the large one."""
    answers = declare(draw(tmp_path / "answers", (1, 2)), SAME)
    (tmp_path / "large").mkdir()
    for case in "ab":
        with pillow.open(answers / f"{case}.png") as mask:
            mask.resize((8, 8), pillow.Resampling.NEAREST).save(tmp_path / "large" / f"{case}.png")
    failed = evaluate(answers, tmp_path / "large").summary.failed
    assert failed.keys() == {"a", "b"}
    assert "lie on different grids" in failed["a"]
    assert "--resample-labels" not in failed["a"]
    failed = evaluate(answers, tmp_path / "large", options=EvaluateOptions(resample_labels=True)).summary.failed
    assert failed.keys() == {"a", "b"}
    assert "1 x 8 x 8 pixels does not fit one of 1 x 4 x 4, and no file says how large a pixel is" in failed["a"]


def test_an_option_on_values_says_what_it_replaces(tmp_path: Path) -> None:
    answers = declare(draw(tmp_path / "answers", (1, 2)), SAME, Reading(map={100: 1, 200: 2}, resample_labels=True))
    reference = draw(tmp_path / "reference", (7, 2))
    result = evaluate(answers, reference, options=EvaluateOptions(map=["7=1"]))
    assert dice(result) == {"liver": 1.0, "tumour": 1.0}
    assert result.notes == (
        "--map or --threshold is used in place of what labels.json says of the values in references: map 100=1 200=2",
    )
    reading, _ = reading_of_references(read_labels_file(answers), EvaluateOptions(map=["7=1"]))
    assert reading == Reading(map={7: 1}, resample_labels=True)


def test_values_of_other_answers_are_what_their_own_labels_json_says(tmp_path: Path) -> None:
    """The answers have exchanged values, which an option puts right; the others are right as they are."""
    answers, reference = draw(tmp_path / "answers", (2, 1)), dataset(tmp_path / "set", SAME, (1, 2))
    other = draw(tmp_path / "other", (1, 2))
    options = EvaluateOptions(prediction_map=["1=2", "2=1"], compare=[other], output=tmp_path / "scores")
    result = evaluate(answers, reference, options=options)
    assert (dice(result), dice(result.compared[0])) == ({"liver": 1, "tumour": 1}, {"liver": 0, "tumour": 0})
    assert result.notes == (f"--prediction-map also used for {other}, beside which there is no labels.json",)
    declare(other, SAME)
    result = evaluate(answers, reference, options=options)
    assert (dice(result), dice(result.compared[0])) == ({"liver": 1, "tumour": 1}, {"liver": 1, "tumour": 1})
    assert result.notes == (
        f"--prediction-map not used for {other}: labels.json beside these answers says what their values mean",
    )


def test_other_answers_are_matched_by_name(tmp_path: Path) -> None:
    answers, reference = declare(draw(tmp_path / "answers", (1, 2)), SAME), draw(tmp_path / "reference", (1, 2))
    other = declare(draw(tmp_path / "other", (2, 1)), SWAPPED)
    result = evaluate(answers, reference, options=EvaluateOptions(compare=[other]))
    assert dice(result.compared[0]) == {"liver": 1.0, "tumour": 1.0}
    assert any("liver (2), tumour (1)" in note for note in result.notes)


def test_other_answers_with_a_structure_in_the_way_are_refused(tmp_path: Path) -> None:
    """Moved to 1, their liver would meet their vessels."""
    answers, reference = declare(draw(tmp_path / "answers", (1, 2)), SAME), draw(tmp_path / "reference", (1, 2))
    other = declare(draw(tmp_path / "other", (2, 1)), {"vessel": 1, "liver": 2})
    with pytest.raises(DataError, match=r"other values.*liver \(2\)"):
        evaluate(answers, reference, options=EvaluateOptions(compare=[other]))


@pytest.mark.parametrize("below", ["", "labelsTr"])
def test_references_with_other_values_are_refused(tmp_path: Path, below: str) -> None:
    """And both options of the hint do what it says, as they are typed."""
    reference = dataset(tmp_path / "set", SAME, (1, 2)) / below
    answers = declare(draw(tmp_path / "answers", (2, 1)), SWAPPED)
    with pytest.raises(DataError, match="liver is 1 there and 2 here") as refusal:
        evaluate(answers, reference)
    both_right, labels_right = [
        [word for word in shlex.split(part) if "=" in word] for part in str(refusal.value.hint).split(";")
    ]
    assert dice(evaluate(answers, reference, options=EvaluateOptions(map=both_right))) == {"liver": 1, "tumour": 1}
    assert dice(evaluate(answers, reference, options=EvaluateOptions(map=labels_right))) == {"liver": 0, "tumour": 0}


def test_references_that_name_their_structures_are_read_by_name(tmp_path: Path) -> None:
    """Numbers of categories are not values: liver is category 1, and 2 in the answers."""
    reference = draw(tmp_path / "reference", (0, 0))
    bars = {row: [[0, row, 4, row, 4, row + 1, 0, row + 1]] for row in (1, 2)}
    annotations = [
        {"image_id": image, "category_id": category, "segmentation": bars[category], "bbox": [0, category, 4, 1]}
        for image in (1, 2)
        for category in (1, 2)
    ]
    content = {
        "images": [
            {"id": id, "file_name": f"{name}.png", "width": 4, "height": 4} for id, name in ((1, "a"), (2, "b"))
        ],
        "categories": [{"id": 1, "name": "liver"}, {"id": 2, "name": "tumour"}],
        "annotations": [{"id": id, "area": 4, "iscrowd": 0, **one} for id, one in enumerate(annotations, 1)],
    }
    (reference / "_annotations.coco.json").write_text(json.dumps(content))
    answers = declare(draw(tmp_path / "answers", (2, 1)), SWAPPED)
    assert dice(evaluate(answers, reference)) == {"liver": 1, "tumour": 1}


def test_no_hint_moves_a_structure_onto_another_one(tmp_path: Path) -> None:
    """With --map 1=2 alone their cysts, which are 2, would count as liver."""
    reference = dataset(tmp_path / "set", {"liver": 1, "cyst": 2}, (1, 2))
    answers = declare(draw(tmp_path / "answers", (2, 0)), {"liver": 2})
    with pytest.raises(DataError, match="liver is 1 there and 2 here") as refusal:
        evaluate(answers, reference)
    assert "both are right" not in str(refusal.value.hint)


def test_other_answers_that_call_a_value_otherwise_are_named(tmp_path: Path) -> None:
    answers, reference = declare(draw(tmp_path / "answers", (1, 2)), SAME), draw(tmp_path / "reference", (1, 2))
    other = declare(draw(tmp_path / "other", (1, 2)), {"liver": 1, "vessel": 2})
    result = evaluate(answers, reference, options=EvaluateOptions(compare=[other]))
    assert any("2 is vessel there and tumour here" in note for note in result.notes)


def test_values_that_were_mapped_for_training_agree(tmp_path: Path) -> None:
    reference = dataset(tmp_path / "set", {"liver": 1, "cyst": 2, "tumour": 3}, (1, 3))
    answers = declare(draw(tmp_path / "answers", (1, 2)), SAME, Reading(map={2: 1, 3: 2}))
    assert dice(evaluate(answers, reference)) == {"liver": 1, "tumour": 1}


def test_answers_as_references_say_their_values(tmp_path: Path) -> None:
    answers, reference = (
        declare(draw(tmp_path / name, values), structures)
        for name, values, structures in (("answers", (1, 2), SAME), ("reference", (2, 1), SWAPPED))
    )
    for folder in (answers, reference):
        (folder / LEDGER_NAME).touch()
    with pytest.raises(DataError, match="liver is 2 there and 1 here"):
        evaluate(answers, reference, options=EvaluateOptions(output=tmp_path / "scores"))
