"""Images of a few pixels plan, train and predict."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pillow

import medseg


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width"), [(6, 6), (3, 9)])
def test_tiny_pictures_from_plan_to_answer(tmp_path: Path, height: int, width: int) -> None:
    rng = np.random.default_rng(0)
    for number in range(3):
        mask = np.zeros((height, width), np.uint8)
        mask[1:2, 1 : 3 + number] = 1
        image = mask * 120 + rng.integers(0, 60, mask.shape).astype(np.uint8)
        for kind, array in (("images", image), ("masks", mask)):
            (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
            pillow.fromarray(array).save(tmp_path / "data" / kind / f"c{number}.png")
    medseg.plan(tmp_path / "data", tmp_path, "tiny", medseg.PlanOptions(preset="cpu"))
    trained = medseg.train("tiny", tmp_path, medseg.TrainOptions(steps=2, device="cpu", fold="all"))
    answer = medseg.Predictor.load(trained.folder, device="cpu")(tmp_path / "data" / "images" / "c0.png")
    assert np.asarray(answer.array).shape[-2:] == (height, width)
