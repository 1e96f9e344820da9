"""Pictures and the page while a run trains: what is written, what a resume goes on with, and that nothing changes."""

import io

import numpy as np
import pytest
import torch
from PIL import Image as pillow
from toy_workspace import toy_plan, write_toy_workspace

from medseg.commands.train.options import TrainOptions
from medseg.commands.train.train import train
from medseg.core.colours import rgb_number
from medseg.core.labels import Labels
from medseg.delivery.pages.page import _script
from medseg.delivery.pictures.live_picture import INVENTED, MISSED, MISTAKEN, Slice, draw_slices, panels
from medseg.models.run_files import FoldFolder
from medseg.training.length.extension import parse_extension
from medseg.training.run.log import read_log

FOLD = "runs/toy/main/fold_0"
ORGANS = Labels(structures={"liver": 1, "spleen": 2}, ignore=9)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    write_toy_workspace(folder)
    overrides = ["training.train_scores=true"]
    train("toy", folder, TrainOptions(fold="0", steps=30, device="cpu", overrides=overrides))
    return folder


def slice_of(reference, prediction, channels=1, **more):
    rows = np.array(reference)
    image = np.arange(channels * rows.size, dtype=np.float32).reshape(channels, *rows.shape)
    return Slice("a", image, rows, np.array(prediction), **more)


def test_every_validation_leaves_loss_iou_train_scores_and_a_picture(workspace):
    files = FoldFolder(workspace / FOLD)
    validations = [record for record in read_log(files.log) if record["kind"] == "validation"]
    assert [record["step"] for record in validations] == [step for step, _ in files.drawn_pictures()]
    assert validations
    for record in validations:
        assert set(record["iou"]) == set(record["dice"]) == set(record["train_dice"]) == set(record["train_iou"])
        assert record["loss"] > -2  # Dice and cross-entropy: at least -1
        for name, dice in record["dice"].items():  # of a single case IoU = Dice / (2 - Dice)
            assert record["iou"][name] == pytest.approx(dice / (2 - dice))


def test_the_page_stands_alone_and_no_longer_loads_itself_again_at_the_end(workspace):
    files = FoldFolder(workspace / FOLD)
    page = files.live.read_text()
    assert "data:image/png;base64," in page
    assert page.count("<script") == 1
    assert f"<script>{_script()}</script>" in page, "the one that sorts tables"
    assert 'http-equiv="refresh"' not in page
    assert "validation loss" in page
    report = files.report.read_text()
    assert "The same slices after each validation" in report
    assert "IoU on whole volumes while training" in report
    assert "Dice of training cases while training" in report


def test_the_page_of_a_run_that_trains_loads_itself_again(tmp_path):
    write_toy_workspace(tmp_path)
    seen = []

    def look(event):
        if event.stage == "train" and (tmp_path / FOLD / "live.html").exists():
            seen.append((tmp_path / FOLD / "live.html").read_text())

    train("toy", tmp_path, TrainOptions(fold="0", steps=30, device="cpu"), look)
    assert any('<meta http-equiv="refresh" content="15">' in page for page in seen)


def test_training_is_the_same_without_the_pictures(workspace, tmp_path, monkeypatch):
    from medseg.training.run.listener import RunListener

    write_toy_workspace(tmp_path)
    monkeypatch.setattr("medseg.commands.train.train.LiveView", lambda *arguments: RunListener())
    train("toy", tmp_path, TrainOptions(fold="0", steps=30, device="cpu"))
    states = [torch.load(folder / FOLD / "checkpoint.pt", weights_only=True) for folder in (workspace, tmp_path)]
    assert all(torch.equal(states[0]["network"][key], states[1]["network"][key]) for key in states[0]["network"])


def test_a_run_that_goes_on_drops_the_pictures_of_steps_that_are_made_again(workspace):
    files = FoldFolder(workspace / FOLD)
    stray = files.picture(100_000)
    stray.write_bytes(b"of a step after the checkpoint")
    train(
        "toy",
        workspace,
        TrainOptions(fold="0", extend=parse_extension("2x"), device="cpu", overrides=["training.validations=4"]),
    )
    steps = [step for step, _ in files.drawn_pictures()]
    assert not stray.exists()
    assert min(steps) < 30 < max(steps) <= 60


def test_a_page_that_cannot_be_written_does_not_end_the_training(tmp_path):
    write_toy_workspace(tmp_path)
    (tmp_path / FOLD / "live.html").mkdir(parents=True)
    (tmp_path / FOLD / "live.html" / "in the way").touch()
    notes = []

    def note(event):
        notes.append(event.info.get("note", ""))

    result = train("toy", tmp_path, TrainOptions(fold="0", steps=20, device="cpu"), note)
    assert result.summary is not None
    assert sum("live.html and pictures are no longer written" in text for text in notes) == 1


def test_the_difference_names_missed_invented_and_mistaken_pixels():
    slice_ = slice_of([[0, 1, 1, 1, -1]], [[2, 1, 0, 2, 2]])
    _, reference, _, difference = panels(slice_, ORGANS)
    assert difference[0].tolist()[0] == list(INVENTED)
    assert difference[0].tolist()[2] == list(MISSED)
    assert difference[0].tolist()[3] == list(MISTAKEN)
    assert difference[0].tolist()[4] not in [list(MISSED), list(INVENTED), list(MISTAKEN)]  # nobody knows
    assert len({tuple(pixel) for pixel in reference[0].tolist()}) >= 3  # image, liver, ignored


def test_a_structure_that_was_not_annotated_is_no_difference():
    slice_ = slice_of([[0, 1]], [[2, 1]], annotated=("liver",))
    assert list(INVENTED) not in panels(slice_, ORGANS)[3][0].tolist()


def test_the_picture_has_the_colours_that_structures_have_everywhere():
    image = np.zeros((1, 8, 8), np.float32)
    indices = np.ones((8, 8), int)
    pixels = np.array(pillow.open(io.BytesIO(draw_slices([Slice("a", image, indices, indices)], ORGANS))))
    painted = 0.65 * np.array(rgb_number(0))  # over black
    assert (abs(pixels - painted) <= 1).all(axis=-1).sum() > 2 * 200 * 200  # reference and prediction


@pytest.mark.parametrize(
    ("channels", "more"),
    [(1, {}), (4, {}), (3, {"colour": True}), (1, {"pixel": (5.0, 1.0)}), (1, {"detail": "肝臓 é"})],
)
def test_slices_of_all_kinds_are_drawn(channels, more):
    slice_ = slice_of(np.zeros((6, 9), int), np.ones((6, 9), int), channels, **more)
    assert pillow.open(io.BytesIO(draw_slices([slice_, slice_], ORGANS))).size[0] > 100


def test_regions_that_overlap_are_drawn_one_over_the_other():
    labels = Labels(structures={"whole": [1, 2], "core": [2]}, activation="sigmoid", region_values=[1, 2])
    prediction = panels(slice_of([[1, 2]], [[1, 2]]), labels)[2]
    assert prediction[0][0].tolist() != prediction[0][1].tolist()


def test_train_scores_are_left_out_of_plans_that_do_not_ask_for_them():
    assert "train_scores" not in toy_plan().training.model_dump()
