"""Layouts of data sets the whole way: check, plan, train two steps, predict, evaluate, on small pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pillow
from sets.coco_files import annotation, box, image, write_coco
from sets.layout_files import write_pictures

import medseg

TINY = [
    "configurations.2d.batch_size=2",
    "configurations.2d.network.features=[4, 4, 4, 4]",
    "training.validation_cases=1",
]


def camvid(folder: Path) -> dict[str, int]:
    """CamVid's folders, with a part called as in its usual copies; returns the number of cases in each part."""
    sizes = {"train": 6, "val": 3, "test": 2}
    for part, count in sizes.items():
        names = [f"0001TP_{part}{number:03d}.png" for number in range(count)]
        write_pictures(folder, {f"{part}/{name}": f"{part}annot/{name}" for name in names})
    return sizes


def voc(folder: Path) -> dict[str, int]:
    """Pascal VOC with lists of names."""
    sizes = {"train": 6, "val": 3, "test": 2}
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for part, count in sizes.items():
        names = [f"{part}_{number}" for number in range(count)]
        (lists / f"{part}.txt").write_text("\n".join(names))
        write_pictures(folder, {f"JPEGImages/{name}.png": f"SegmentationClass/{name}.png" for name in names})
    (folder / "class_names.txt").write_text("_background_\nroad\ncar\n")
    return sizes


def table(folder: Path) -> dict[str, int]:
    """A table with a column `set`."""
    sizes = {"train": 6, "val": 3, "test": 2}
    rows = ["image,label,set"]
    for part, count in sizes.items():
        pairs = {f"all/{part}{number}.png": f"drawn/{part}{number}.png" for number in range(count)}
        write_pictures(folder, pairs)
        rows += [f"{image},{label},{part}" for image, label in pairs.items()]
    (folder / "cases.csv").write_text("\n".join(rows))
    return sizes


def pets(folder: Path) -> dict[str, int]:
    """Oxford-IIIT pets with their lists."""
    sizes = {"train": 6, "val": 3, "test": 2}
    (folder / "annotations").mkdir(parents=True)
    for part, count in sizes.items():
        names = [f"{part}_{number}" for number in range(count)]
        write_pictures(folder, {f"images/{name}.png": f"annotations/trimaps/{name}.png" for name in names}, first=1)
        (folder / "annotations" / f"{part}.txt").write_text("".join(f"{name} 1 1 1\n" for name in names))
    return sizes


def cityscapes(folder: Path) -> dict[str, int]:
    """Cityscapes with train ids; road, sidewalk and building occur."""
    sizes = {"train": 6, "val": 3, "test": 2}
    for part, count in sizes.items():
        for number in range(count):
            city = f"{part}city{'ab'[number % 2]}"
            key = f"{part}/{city}/{city}_{number:06d}_000019"
            write_pictures(folder, {f"leftImg8bit/{key}_leftImg8bit.png": f"gtFine/{key}_gtFine_labelTrainIds.png"})
    return sizes


def coco(folder: Path) -> dict[str, int]:
    """COCO's files for each part, with stripes as polygons and as run-length codes."""
    sizes = {"train": 6, "val": 3, "test": 2}
    for part, count in sizes.items():
        names = [f"{part}_{number}.png" for number in range(count)]
        write_pictures(folder, {f"{part}2017/{name}": "" for name in names})
        listed = [image(number, name, 32, 32) for number, name in enumerate(names)]
        drawn = [annotation(number, box(0, 11, 32, 22), id=number) for number in range(count)]
        code = {"size": [32, 32], "counts": [22] + [10, 22] * 31 + [10]}
        drawn += [annotation(number, code, category=3, id=100 + number) for number in range(count)]
        write_coco(folder / "annotations" / f"instances_{part}2017.json", listed, drawn)
    return sizes


LAYOUTS = {"camvid": camvid, "voc": voc, "table": table, "pets": pets, "cityscapes": cityscapes, "coco": coco}
IMAGES = {"table": "all"}
"""Where the images to segment lie, for layouts that do not say it."""


@pytest.mark.slow
def test_classes_from_0_go_the_whole_way(tmp_path):
    """Eight classes of which 0 is one, beside voxels that are ignored, as in IDD."""
    data, classes = tmp_path / "street", [f"class_{value}" for value in range(8)]
    write_pictures(data, {f"images/s{n}.png": f"labels/s{n}.png" for n in range(6)}, classes=8)
    void = np.array(pillow.open(data / "labels/s0.png"))
    void[:8, :8] = 255
    pillow.fromarray(void).save(data / "labels/s0.png")
    structures = [f"{name}={value}" for value, name in enumerate(classes)]
    options = medseg.DataOptions(structures=structures, ignore=255)
    assert medseg.check(data, tmp_path, medseg.CheckOptions(data=options)).left_out == []
    planned = medseg.plan(data, tmp_path, None, medseg.PlanOptions(preset="cpu", data=options, overrides=TINY))
    assert "background: null" in planned.path.read_text()
    labels = medseg.load_plan(planned.path).labels
    assert (labels.background, labels.ignore, labels.names) == (None, 255, tuple(classes))
    trained = medseg.train(None, tmp_path, medseg.TrainOptions(steps=2, device="cpu"))
    scored = json.loads((trained.folder / "validation" / "metrics.json").read_text())
    assert [*scored["structures"]] == classes
    packed = medseg.package(trained.folder.parent, tmp_path / "street.medseg", tmp_path)
    assert packed
    for model, out in ((None, "out"), (tmp_path / "street.medseg", "again")):
        assert not medseg.predict(data / "images", tmp_path / out, model, workspace=tmp_path).failed
    answers = [np.array(pillow.open(tmp_path / out / "s1.png")) for out in ("out", "again")]
    assert np.array_equal(*answers)
    assert {*np.unique(answers[0])} <= {*range(8)}
    result = medseg.evaluate(tmp_path / "out", data / "labels")
    assert [*result.summary.structures] == [*result.summary.pooled.classes] == classes
    unnamed = medseg.plan(
        data,
        tmp_path,
        "none",
        medseg.PlanOptions(preset="cpu", data=medseg.DataOptions(no_background=True, ignore=255)),
    )
    assert unnamed.plan.labels.names[0] == "label_0"


@pytest.mark.slow
def test_folders_of_labelme_go_the_whole_way(tmp_path):
    data = tmp_path / "drawn"
    for number in range(5):
        write_pictures(data / f"x{number}_json", {"img.png": "label.png"})
        names = ["cat", "dog"] if number % 2 else ["dog", "cat"]
        (data / f"x{number}_json/label_names.txt").write_text("\n".join(["_background_", *names]))
    assert medseg.check(data, tmp_path).left_out == []
    planned = medseg.plan(data, tmp_path, None, medseg.PlanOptions(preset="cpu", overrides=TINY))
    assert planned.plan.labels.structures == {"cat": 1, "dog": 2}
    medseg.train(None, tmp_path, medseg.TrainOptions(steps=2, device="cpu"))
    assert not medseg.predict(data, tmp_path / "out", workspace=tmp_path).failed
    scored = medseg.evaluate(tmp_path / "out", data)
    assert not scored.failed
    cat = {case.case: case.overlaps["cat"].n_reference for case in scored.summary.cases}
    assert cat["x0"] != cat["x1"], "the same value has another name there"


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_goes_the_whole_way(tmp_path, name):
    data = tmp_path / name
    sizes = LAYOUTS[name](data)
    checked = medseg.check(data, tmp_path)
    assert (len(checked.cases), checked.left_out) == (sum(sizes.values()), [])

    options = medseg.PlanOptions(preset="cpu", overrides=TINY)
    planned = medseg.plan(data, tmp_path, None, options)
    assert planned.plan.data.cases == sizes["train"] + sizes["val"]
    split = f"the data set's own split: {sizes['train']} train, {sizes['val']} val; {sizes['test']} test cases kept out"
    assert any(note.startswith(split) for note in planned.notes)
    assert medseg.load_plan(planned.path).reasons["data.cases"].startswith(split)
    folds = json.loads(planned.splits_path.read_text())
    assert (len(folds[0]["train"]), len(folds[0]["val"])) == (sizes["train"], sizes["val"])
    assert all("test" not in id for fold in folds for id in fold["train"] + fold["val"])

    trained = medseg.train(None, tmp_path, medseg.TrainOptions(steps=2, device="cpu"))
    assert sorted(json.loads((trained.folder / "split.json").read_text())["val"]) == folds[0]["val"]
    predicted = medseg.predict(data / IMAGES.get(name, ""), tmp_path / "out", workspace=tmp_path)
    assert not predicted.failed
    if name not in IMAGES:
        assert len(predicted.files) == sizes["test"]
    scored = medseg.evaluate(tmp_path / "out", data, options=medseg.EvaluateOptions(allow_missing=True))
    assert not scored.failed
    assert [*scored.summary.structures] == [*planned.plan.labels.names]
