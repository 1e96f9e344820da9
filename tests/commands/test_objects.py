"""Sets of objects from plan to scores: nuclei with boundaries, and annotations of COCO."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pillow
from sets.coco_files import annotation, box, image, write_coco
from small_sets import run

from medseg.delivery.provenance.manifest import read_entries

CASES = 6
_TINY = (
    "--set configurations.2d.patch_voxels=[16,16] --set configurations.2d.batch_size=2 "
    "--set configurations.2d.network.features=[4,8,8] --set training.validation_cases=1"
)


def pairs_of_squares(number: int) -> np.ndarray:
    """(24, 24) numbers of objects: two squares of 7 x 7 that touch, and a third one apart."""
    numbers = np.zeros((24, 24), np.uint8)
    numbers[2:9, 1 + number : 8 + number], numbers[2:9, 8 + number : 15 + number] = 1, 2
    numbers[14:21, 4:11] = 3
    return numbers


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pillow.fromarray(array).save(path)


def grey(number: int) -> np.ndarray:
    noise = np.random.default_rng(number).integers(0, 60, (24, 24))
    return (noise + 150 * (pairs_of_squares(number) > 0)).astype(np.uint8)


def run_all(folder: Path, *lines: str) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in lines:
            assert run(line) == 0, line
    return folder


@pytest.fixture(scope="module")
def nuclei(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a package of a model that knows boundaries, and its answers."""
    folder = tmp_path_factory.mktemp("nuclei")
    for number in range(CASES):
        numbers = pairs_of_squares(number)
        save(folder / "nuclei" / "images" / f"n{number}.png", grey(number))
        save(folder / "nuclei" / "masks" / f"n{number}.png", (numbers > 0).astype(np.uint8) * np.uint8(255))
        save(folder / "nuclei" / "instances" / f"n{number}.png", numbers)
    return run_all(
        folder,
        f"plan nuclei --structures nucleus=255 --boundaries --preset cpu {_TINY}",
        "train --steps 8",
        "package nuclei nuclei.medseg",
        "predict nuclei/images out --model nuclei.medseg --instances",
        "predict nuclei/images from_run --model nuclei/2d --instances",
        "evaluate out nuclei/masks --instances --no-surface",
        "evaluate out nuclei/instances --instances --no-surface --output by_numbers",
    )


@pytest.mark.slow
def test_a_package_knows_the_boundaries_of_its_plan(nuclei: Path) -> None:
    declared = json.loads((nuclei / "out" / "labels.json").read_text())
    assert declared["names"] == {"nucleus": 255, "nucleus boundary": 1}
    rows = list(csv.DictReader((nuclei / "out" / "instances.csv").open()))
    assert {row["structure"] for row in rows} <= {"nucleus"}
    for number in range(CASES):
        paths = [nuclei / name / "instances" / f"n{number}.png" for name in ("out", "from_run")]
        packed, unpacked = (np.asarray(pillow.open(path)) for path in paths)
        np.testing.assert_array_equal(packed, unpacked)
        assert packed.max() == sum(row["case"] == f"n{number}" for row in rows)
        answer = np.asarray(pillow.open(nuclei / "out" / f"n{number}.png"))
        np.testing.assert_array_equal(packed > 0, np.isin(answer, (1, 255)))


@pytest.mark.slow
def test_the_manifest_lists_the_table_of_objects(nuclei: Path) -> None:
    manifest = read_entries(nuclei / "out")["predict"]
    files = {file["file"] for file in manifest["files"]}
    assert {"labels.json", "volumes.csv", "predict.jsonl", "index.html", "instances.csv"} <= files
    assert {"instances/n0.png", "instances/n0.csv"} <= {file["file"] for file in manifest["cases"][0]["files"]}
    run_all(nuclei, "verify from_run --source nuclei/images --model runs/nuclei/2d")
    (nuclei / "from_run" / "instances.csv").write_text("changed")
    with pytest.raises(AssertionError, match="verify"):
        run_all(nuclei, "verify from_run --source nuclei/images --model runs/nuclei/2d")


@pytest.mark.slow
def test_maps_of_numbers_are_references_as_good_as_masks_beside_them(nuclei: Path) -> None:
    scores = [json.loads((nuclei / name / "metrics.json").read_text()) for name in ("out", "by_numbers")]
    masks, numbers = ({name: one["measures"] for name, one in score["structures"].items()} for score in scores)
    assert masks == numbers
    assert masks["nucleus"]["panoptic_quality"]["n"] == CASES


@pytest.mark.slow
def test_a_model_of_a_coco_set_is_packed_and_predicts(tmp_path: Path) -> None:
    for number in range(CASES):
        save(tmp_path / "cells" / "images" / f"c{number}.png", grey(number))
    save(tmp_path / "cells" / "images" / "c1_weight_map.png", np.full((24, 24), 3, np.uint8))
    images = [image(number, f"c{number}.png", 24, 24) for number in range(CASES)]
    squares = [(1, 2, 8, 9), (8, 2, 15, 9)]
    drawn = [
        annotation(number, box(left + number, top, right + number, bottom), id=2 * number + part)
        for number in range(CASES)
        for part, (left, top, right, bottom) in enumerate(squares)
    ]
    drawn += [annotation(number, box(4, 14, 11, 21), category=3, id=100 + number) for number in range(CASES)]
    write_coco(tmp_path / "cells" / "annotations.json", images, drawn)
    run_all(
        tmp_path,
        f"plan cells --preset cpu {_TINY}",
        "train --steps 10",
        "package cells cells.medseg --license CC0",
        "predict cells out --model cells.medseg",
        "evaluate out cells",
        "evaluate out cells/annotations.json --output scores",
    )
    assert json.loads((tmp_path / "out" / "labels.json").read_text())["names"] == {"cell": 1, "nucleus": 3}
    for scores in ("out", "scores"):
        metrics = json.loads((tmp_path / scores / "metrics.json").read_text())
        assert [*metrics["structures"]] == ["cell", "nucleus"]
        assert len(metrics["cases"]) == CASES
    table = (tmp_path / "plans" / "cells.cases.csv").read_text().splitlines()
    assert [row for row in table if "c1_weight_map.png" in row] == [row for row in table if row.startswith("c1,")]
