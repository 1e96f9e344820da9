"""Instance maps and their table, on an answer of two objects."""

import csv
import json

import numpy as np
import pytest
from PIL import Image as pillow

import medseg
from medseg.core.case import Case
from medseg.core.errors import DataError, PlanError
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.delivery.answers.instances import COLUMNS, Instances, write_table
from medseg.io.images import read_label, write_label

LABELS = Labels(structures={"nucleus": 1, "nucleus boundary": 2})


def answer(spacing: bool = False, depth: int = 1) -> Image:
    """Two squares of 3 x 3 in 5 x 7 pixels that share a boundary, as a network that knows boundaries answers them."""
    array = np.zeros((1, depth, 5, 7), np.uint8)
    array[..., 1:4, 0:3], array[..., 1:4, 3:6] = 1, 1
    array[..., 1:4, 2:4] = 2
    return Image(array, np.diag([0.5, 0.5, 2.0, 1.0]), spacing)


def rows_of(path):
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize(
    ("suffix", "spacing", "depth", "size", "unit"),
    [(".png", False, 1, "9", "pixels"), (".nii.gz", True, 1, "2.25", "mm^2"), (".nii.gz", True, 2, "9", "mm^3")],
)
def test_every_object_has_a_number_and_a_row(tmp_path, suffix, spacing, depth, size, unit):
    case = Case("a", "a", (tmp_path / f"a{suffix}",))
    instances = Instances(True, {1: 2})
    image = answer(spacing, depth)
    write_label(case.channels[0], image)
    probability = np.where(np.arange(7) < 3, 0.5, 1.0) * np.ones((depth, 5, 7))
    instances.write(case, image, probability.astype(np.float32), tmp_path / "out", LABELS)
    path, table = instances.files(case, tmp_path / "out")
    assert path == tmp_path / "out" / "instances" / f"a{suffix}"
    assert read_label(path).array[0, 0, 1].tolist() == [1, 1, 1, 2, 2, 2, 0]
    first, second = rows_of(table)
    assert tuple(first) == COLUMNS
    assert (first["structure"], first["size"], first["unit"], first["mean_probability"]) == (
        "nucleus",
        size,
        unit,
        "0.5000",
    )
    assert [second[name] for name in ("centre_x", "centre_y", "first_x", "last_x", "first_y", "last_y")] == [
        *("4", "2", "3", "5", "1", "3"),
    ]
    assert write_table(tmp_path / "out", [table, tmp_path / "gone.csv"]) == 2
    assert len(rows_of(tmp_path / "out" / "instances.csv")) == 2


def test_more_objects_than_the_format_holds_are_refused(tmp_path):
    array = np.zeros((1, 1, 600, 600), np.uint8)
    array[..., ::2, ::2] = 1
    case = Case("a", "a", (tmp_path / "a.png",))
    image, labels = Image(array, np.eye(4), False), Labels(structures={"n": 1})
    with pytest.raises(DataError, match="cannot hold the label values"):
        Instances(True).write(case, image, np.ones((1, 600, 600), np.float32), tmp_path, labels)


@pytest.mark.parametrize(("objects", "quality"), [(False, 2 / 3 * 9 / 18), (True, 1.0)])
def test_panoptic_quality_counts_objects_that_touch_where_both_sides_say_them(tmp_path, objects, quality):
    """Two squares that touch: without maps of numbers, they are one object on each side, which is matched as well."""
    numbers = np.zeros((5, 7), np.uint8)
    numbers[1:4, 0:3], numbers[1:4, 3:6] = 1, 2
    for side in ("predicted", "masks"):
        for folder, array in ((side, (numbers > 0).astype(np.uint8)), (f"{side}/instances", numbers)):
            if "instances" in folder and side == "masks" and not objects:
                continue
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            pillow.fromarray(array).save(tmp_path / folder / "a.png")
    medseg.evaluate(
        tmp_path / "predicted", tmp_path / "masks", options=medseg.EvaluateOptions(instances=True, surface=False)
    )
    content = json.loads((tmp_path / "predicted" / "metrics.json").read_text())
    found = content["structures"]["foreground"]["measures"]["panoptic_quality"]["mean"]
    # one reference object of 18 voxels and two answers of 9, whose IoU of 0.5 is not above the limit
    assert found == pytest.approx(quality if objects else 0.0)


def test_structures_that_overlap_have_no_instances():
    overlapping = Labels(structures={"whole": [1, 2], "core": [2]}, activation="sigmoid", region_values=[1, 2])
    with pytest.raises(PlanError, match="exclude each other, and whole, core overlap"):
        Instances(True, None).check(overlapping)
    Instances(False, None).check(overlapping)
    Instances(True, None).check(Labels(structures={"left": 1, "right": 2}, activation="sigmoid"))
