"""Maps of numbers of objects as references: two squares that touch, 1 and 2 in `instances/`."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pillow

from medseg.commands.evaluate.evaluate import evaluate
from medseg.commands.evaluate.options import EvaluateOptions
from medseg.core.errors import DataError
from medseg.core.labels import Labels
from medseg.plans.sections.reading import Reading

NUCLEUS = Labels(structures={"nucleus": 255})
OPTIONS = EvaluateOptions(instances=True, surface=False)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pillow.fromarray(array.astype(np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Answers that are right, with their objects, and references as numbers alone."""
    numbers = np.zeros((5, 7))
    numbers[1:4, 0:3], numbers[1:4, 3:6] = 1, 2
    save(tmp_path / "out" / "a.png", (numbers > 0) * 255)
    save(tmp_path / "out" / "instances" / "a.png", numbers)
    save(tmp_path / "instances" / "a.png", numbers)
    save(tmp_path / "other" / "a.png", numbers)
    return tmp_path


def measures(folder: Path, structure: str = "nucleus") -> dict[str, float]:
    content = json.loads((folder / "metrics.json").read_text())["structures"][structure]["measures"]
    return {name: figures["mean"] for name, figures in content.items()}


def test_numbers_are_objects_of_the_only_structure(folder: Path) -> None:
    evaluate(folder / "out", folder / "instances", NUCLEUS, OPTIONS)
    found = measures(folder / "out")
    assert (found["dice"], found["panoptic_quality"], found["volume_reference"]) == (1, 1, 18)


def test_both_sides_may_be_numbers_and_nothing_need_be_declared(folder: Path) -> None:
    result = evaluate(folder / "out" / "instances", folder / "instances", options=OPTIONS)
    assert [*result.labels.structures.values()] == [1]
    assert measures(folder / "out" / "instances", "foreground")["panoptic_quality"] == 1


def test_an_object_that_the_answer_joins_to_another_is_missed(folder: Path) -> None:
    (folder / "out" / "instances" / "a.png").unlink()  # instances/ beside out/ is the reference's, and not its own
    evaluate(folder / "out", folder / "instances", NUCLEUS, OPTIONS)
    found = measures(folder / "out")
    assert (found["dice"], found["panoptic_quality"]) == (1, 0)  # one of 18 pixels: its IoU with each is 0.5


def test_boundaries_are_marked_as_in_training(folder: Path) -> None:
    """Of two squares of 3 x 3 at the left edge of the image, 2 and 1 pixels lie inside."""
    labels = Labels(structures={"nucleus": 255, "nucleus boundary": 1})
    options = EvaluateOptions(instances=True, surface=False, reading=Reading(boundaries={255: 1}))
    evaluate(folder / "out", folder / "instances", labels, options)
    assert measures(folder / "out")["volume_reference"] == 3
    assert measures(folder / "out", "nucleus boundary")["volume_reference"] == 15
    assert measures(folder / "out")["panoptic_quality"] == 1


def test_several_structures_are_refused(folder: Path) -> None:
    labels = Labels(structures={"nucleus": 255, "cell": 2})
    result = evaluate(folder / "out", folder / "instances", labels, OPTIONS)
    assert "does not say of which structure each is; there are cell, nucleus" in result.failed["a"]
    assert "instances/ beside" in result.failed["a"]


def test_a_label_map_that_lies_in_such_a_folder_keeps_its_ignored_voxels(folder: Path) -> None:
    drawn = np.zeros((5, 7))
    drawn[1:4, 0:3], drawn[1:4, 3:6] = 255, 9
    save(folder / "instances" / "a.png", drawn)
    evaluate(folder / "out", folder / "instances", NUCLEUS.model_copy(update={"ignore": 9}), OPTIONS)
    found = measures(folder / "out")
    assert (found["dice"], found["volume_reference"]) == (1, 9)


def test_elsewhere_numbers_are_values(folder: Path) -> None:
    with_value = Labels(structures={"nucleus": 1})
    result = evaluate(folder / "instances", folder / "other", with_value, OPTIONS)
    assert "holds the label value 2" in result.failed["a"]
    options = EvaluateOptions(instances=True, surface=False, map=["1-2=255"])
    assert not evaluate(folder / "out", folder / "instances", NUCLEUS, options).failed


def test_many_numbers_elsewhere_are_told_where_they_belong(folder: Path) -> None:
    save(folder / "other" / "a.png", np.arange(35).reshape(5, 7))
    why = evaluate(folder / "out", folder / "other", NUCLEUS, OPTIONS).failed["a"]
    assert "If these are numbers of objects, let its folder be called instances." in why


def test_a_damaged_map_is_named(folder: Path) -> None:
    (folder / "instances" / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"a\.png"):
        evaluate(folder / "out", folder / "instances", options=OPTIONS)
    assert "a" in evaluate(folder / "out", folder / "instances", NUCLEUS, OPTIONS).failed
