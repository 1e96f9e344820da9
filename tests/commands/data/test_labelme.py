"""labelme's annotations to a data set."""

import base64
import json

import contourpy
import numpy as np
import pytest
from PIL import Image as pillow
from scipy import ndimage
from sets.labelme_files import BOX, HEIGHT, WIDTH, areas, encoded, mask_of, shape, write
from typer.testing import CliRunner

import medseg
from medseg.cli.app import app
from medseg.commands.data.labelme import labelme, voc_palette
from medseg.commands.data.options import LabelmeOptions
from medseg.core.errors import DataError, MedsegError
from medseg.datasets.data_options import DataOptions
from medseg.datasets.find_data import find_data
from medseg.io.images import read_image, read_label
from medseg.io.layouts.find import find_cases


def test_the_result_is_a_data_set_with_names(tmp_path):
    write(tmp_path / "in", "a", shape("b", BOX, "rectangle"), shape("a", [[0, 0], [1, 0], [1, 1], [0, 1]]))
    labelme(tmp_path / "in", tmp_path / "out")
    data = find_cases(tmp_path / "out")
    assert (data.layout, data.labels.structures, data.labels.ignore) == ("pairs", {"a": 1, "b": 2}, None)
    assert [case.id for case in data.cases] == ["a"]
    assert read_image(data.cases[0].channels[0]).array[0, 0, 0, :3].tolist() == [0, 1, 2]
    assert pillow.open(tmp_path / "out/masks/a.png").mode == "P"


def test_a_set_laid_out_as_voc_holds_the_same(tmp_path):
    write(tmp_path / "in", "a", shape("b", BOX, "rectangle"), shape("ä ö", [[0, 0], [1, 0], [1, 1], [0, 1]]))
    for voc in (False, True):
        labelme(tmp_path / "in", tmp_path / f"out_{voc}", LabelmeOptions(instances=True, voc=voc))
    plain, voc = find_cases(tmp_path / "out_False"), find_cases(tmp_path / "out_True")
    assert (voc.layout, voc.labels.structures, voc.labels.ignore) == ("voc", plain.labels.structures, 255)
    assert voc.cases[0].label == tmp_path / "out_True/SegmentationClass/a.png"
    for first, second in (
        ("images", "JPEGImages"),
        ("masks", "SegmentationClass"),
        ("instances", "SegmentationObject"),
    ):
        files = tmp_path / "out_False" / first / "a.png", tmp_path / "out_True" / second / "a.png"
        assert files[0].read_bytes() == files[1].read_bytes()


def test_images_that_nobody_has_drawn_on_are_named(tmp_path):
    write(tmp_path / "in", "a", shape("b", BOX, "rectangle"))
    write(tmp_path / "in", "drawn", shape("b", BOX, "rectangle"))
    content = json.loads((tmp_path / "in/drawn.json").read_text())
    (tmp_path / "in/drawn.json").write_text(json.dumps(content | {"imageData": None, "imagePath": "other name.png"}))
    for name in ("a", "other name", "c", "d"):
        pillow.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(tmp_path / f"in/{name}.png")
    result = labelme(tmp_path / "in", tmp_path / "out")
    assert (result.images, result.failed) == (2, {})
    assert result.left_out == ["2 images without a JSON file: c.png, d.png"]


def test_classes_are_numbered_by_labels_txt_and_ignore_and_background_are_no_structures(tmp_path):
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\nliver\nspleen\n")
    write(
        tmp_path / "in",
        "a",
        shape("spleen", [[0, 0], [10, 0], [10, 10], [0, 10]]),
        shape("_background_", BOX, "rectangle"),
        shape("__ignore__", [[20, 0], [22, 2]], "rectangle"),
    )
    result = labelme(tmp_path / "in", tmp_path / "out", LabelmeOptions(tmp_path / "labels.txt"))
    assert result.structures == {"liver": 1, "spleen": 2}
    assert areas(tmp_path / "out") == {2: 100 - 24, 255: 4}
    labels = find_cases(tmp_path / "out").labels
    assert (labels.structures, labels.ignore) == ({"liver": 1, "spleen": 2}, 255)


def test_external_images_are_found_and_turned_as_they_were_shown(tmp_path):
    exif = pillow.Exif()
    exif[0x0112] = 6  # turn by 90 degrees when shown
    (tmp_path / "in").mkdir()
    stored = np.zeros((WIDTH, HEIGHT), np.uint8)
    stored[:, 0] = 200
    pillow.fromarray(stored).save(tmp_path / "in/photo.jpg", exif=exif, quality=95)
    write(tmp_path / "in", "a", shape("cell", BOX, "rectangle"), imageData=None, imagePath=".\\photo.jpg")
    write(
        tmp_path / "in", "b", shape("cell", BOX, "rectangle"),
        imageData=None, imagePath="photo.jpg", imageHeight=WIDTH, imageWidth=HEIGHT,
    )  # fmt: skip
    labelme(tmp_path / "in", tmp_path / "out")
    turned = read_image(tmp_path / "out/images/a.png")
    assert turned.shape_zyx == (1, HEIGHT, WIDTH)
    assert turned.array[0, 0, 0].mean() > 150 > 50 > turned.array[0, 0, 1:].mean()
    # whoever annotated without the rotation gets the image without it, and nothing that would turn it when it is read
    assert read_image(tmp_path / "out/images/b.png").shape_zyx == (1, WIDTH, HEIGHT)
    assert mask_of(tmp_path / "out", "b").shape == (WIDTH, HEIGHT)


def test_bad_files_are_named_and_the_others_go_on(tmp_path):
    folder = write(tmp_path / "in", "good", shape("cell", BOX, "rectangle"))
    (folder / "broken.json").write_text('{"shapes": [')
    write(folder, "gone", shape("cell", BOX, "rectangle"), imageData=None)
    write(folder, "size", shape("cell", BOX, "rectangle"), imageHeight=7)
    write(folder, "nameless", shape("", BOX, "rectangle"))
    write(folder, "points", shape("cell", [["x", 1]], "rectangle"))
    write(folder, "kind", shape("cell", BOX, "blob"))
    write(folder, "picture", shape("cell", BOX, "rectangle"), imageData=base64.b64encode(b"no picture").decode())
    write(folder, "mask", shape("cell", BOX, "mask", mask=encoded(np.ones((2, 2), bool))))
    (folder / "other.json").write_text('{"a": 1}')  # of another program
    done = CliRunner().invoke(app, ["labelme", str(folder), str(tmp_path / "out")])
    assert done.exit_code == 1
    expected = {
        "broken.json": "not valid JSON",
        "gone.json": "does not exist",
        "size.json": f"drawn on an image of {WIDTH} x 7 pixels",
        "nameless.json": "shape 1 has no label",
        "points.json": "has no list of points",
        "kind.json": "is a 'blob'",
        "picture.json": "cannot be read",
        "mask.json": "mask of 2 x 2 pixels in a box of 5 x 7",
    }
    text = " ".join(done.output.split())
    for name, why in expected.items():
        assert f"{name}: " in text
        assert why in text.replace(" \n", " "), why
    assert "8 files failed" in text
    assert "other.json" not in text
    assert [path.name for path in (tmp_path / "out/images").iterdir()] == ["good.png"]


def test_a_class_that_the_list_does_not_have_fails_the_file(tmp_path):
    (tmp_path / "labels.txt").write_text("liver\n")
    write(tmp_path / "in", "a", shape("liver", BOX, "rectangle"))
    write(tmp_path / "in", "b", shape("tumor", BOX, "rectangle"))
    result = labelme(tmp_path / "in", tmp_path / "out", LabelmeOptions(tmp_path / "labels.txt"))
    assert list(result.failed) == ["b.json"]
    assert "shapes called tumor; the classes are liver" in result.failed["b.json"]


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        ("a\na\n", "lists 'a' twice"),
        ("a\n_background_\n", "lists _background_ after 'a'"),
        ("\n", "lists no structure"),
    ],
)
def test_a_list_of_classes_that_is_not_clear_is_refused(tmp_path, listing, message):
    (tmp_path / "labels.txt").write_text(listing)
    write(tmp_path / "in", "a", shape("a", BOX, "rectangle"))
    with pytest.raises(DataError, match=message):
        labelme(tmp_path / "in", tmp_path / "out", LabelmeOptions(tmp_path / "labels.txt"))


def test_files_in_folders_are_named_after_them(tmp_path):
    for folder in ("in", "in/p1", "in/p2", "in/.trash"):
        write(tmp_path / folder, "a", shape("cell", BOX, "rectangle"))
    write(tmp_path / "in/p2", "bad", shape("", BOX, "rectangle"))
    result = labelme(tmp_path / "in", tmp_path / "out", LabelmeOptions(instances=True))
    assert (result.images, list(result.failed), result.shapes) == (3, ["p2/bad.json"], {"cell": 3})
    for folder in ("images", "masks", "instances"):
        assert {path.name for path in (tmp_path / "out" / folder).iterdir()} == {"a.png", "p1_a.png", "p2_a.png"}


def test_files_that_would_get_one_name_are_refused(tmp_path):
    for folder, name in (("in", "p1_a"), ("in/p1", "a")):
        write(tmp_path / folder, name, shape("cell", BOX, "rectangle"))
    with pytest.raises(DataError, match=r"p1/a.json and p1_a.json in .* would both be named p1_a"):
        labelme(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_to_convert(tmp_path):
    write(tmp_path / "in", "a", shape("cell", BOX, "rectangle"))
    with pytest.raises(DataError, match="There is no folder"):
        labelme(tmp_path / "none", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no JSON file of labelme"):
        labelme(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(DataError, match="not an empty folder"):
        labelme(tmp_path / "in", tmp_path / "in")


def test_a_conversion_that_is_stopped_leaves_no_smaller_data_set(tmp_path):
    for name in "abc":
        write(tmp_path / "in", name, shape("cell", BOX, "rectangle"))

    def stop(event):
        if (event.stage, event.done) == ("labelme", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        labelme(tmp_path / "in", tmp_path / "out", None, stop)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert labelme(tmp_path / "in", tmp_path / "out").images == 3


def test_the_palette_is_that_of_pascal_voc():
    palette = voc_palette()
    assert [palette[3 * value : 3 * value + 3] for value in (0, 1, 2, 3, 8, 255)] == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [64, 0, 0],
        [224, 224, 192],
    ]


@pytest.mark.real
def test_traced_nuclei_come_back(data_dir, tmp_path):
    """Real masks as outlines halfway between pixel centres: the same pixels come back, and a plan can be made."""
    masks = sorted((data_dir / "nuclei/masks").iterdir())[:6]
    drawn = {}
    for path in masks:
        stored = read_label(path).array[0, 0] > 0
        objects, _ = ndimage.label(stored)
        shapes = []
        drawn[path.stem] = np.zeros(stored.shape, bool)
        for number, place in enumerate(ndimage.find_objects(objects), start=1):
            one = ndimage.binary_fill_holes(objects[place] == number)
            drawn[path.stem][place] |= one
            lines = contourpy.contour_generator(z=np.pad(one, 1).astype(float)).lines(0.5)
            offset = np.array([place[1].start, place[0].start]) - 0.5
            shapes += [shape("nucleus", (line + offset).tolist()) for line in lines]
        write(
            tmp_path / "in", path.stem, *shapes, imageData=None, imageHeight=None, imageWidth=None,
            imagePath=str(data_dir / "nuclei/images" / path.name),
        )  # fmt: skip
    result = labelme(tmp_path / "in", tmp_path / "out")
    assert (result.images, result.failed) == (6, {})
    for name, expected in drawn.items():
        assert np.array_equal(mask_of(tmp_path / "out", name) == 1, expected), name
    planned = medseg.plan(tmp_path / "out", tmp_path, None, medseg.PlanOptions(preset="cpu"))
    assert planned.plan.labels.structures == {"nucleus": 1}
    assert planned.plan.data.structure_cases == {"nucleus": 6}


def test_a_set_written_as_coco_holds_the_same(tmp_path):
    """Polygons where nothing covers them, run-length codes elsewhere; a hole, an object of two parts, a disc."""
    folder = write(
        tmp_path / "in",
        "a",
        shape("b", BOX, "rectangle"),
        shape("a", [[10, 0], [18, 0], [18, 8], [10, 8]]),
        shape("_background_", [[12, 2], [14, 2], [14, 4], [12, 4]]),
        shape("b", [[16, 6], [22, 6], [22, 12.3], [16.2, 12]]),
        shape("a", [[25, 15], [27, 15]], "circle"),
        shape("b", [[0, 15], [2, 15], [2, 17]], group_id=1),
        shape("b", [[5, 15], [8, 15], [8, 17]], group_id=1),
    )
    write(folder, "empty")
    for coco in (False, True):
        labelme(folder, tmp_path / f"out_{coco}", LabelmeOptions(coco=coco))
    data = find_data(tmp_path / "out_True", DataOptions())
    assert (data.layout, data.labels.structures) == ("coco", {"a": 1, "b": 2})
    assert [case.id for case in data.cases] == ["a", "empty"]
    for case in data.cases:
        drawn = read_label(case.label, data.reading).array[0, 0]
        np.testing.assert_array_equal(drawn, mask_of(tmp_path / "out_False", case.id))
    content = json.loads((tmp_path / "out_True/annotations/instances.json").read_text())
    kinds = [type(entry["segmentation"]) for entry in content["annotations"]]
    assert kinds == [list, dict, list, dict, list]  # the second has a hole, the fourth is a disc
    assert content["annotations"][0] | {"segmentation": 0} == {
        "id": 1,
        "image_id": 1,
        "category_id": 2,
        "segmentation": 0,
        "area": 24,
        "bbox": [2, 3, 4, 6],
        "iscrowd": 0,
    }
    assert len(content["annotations"][4]["segmentation"]) == 2


def test_coco_has_no_ignored_pixels_and_no_second_layout(tmp_path):
    folder = write(tmp_path / "in", "a", shape("b", BOX, "rectangle"))
    write(folder, "c", shape("__ignore__", BOX, "rectangle"))
    result = labelme(folder, tmp_path / "out", LabelmeOptions(coco=True))
    assert [*result.failed] == ["c.json"]
    assert "COCO has no ignored pixels" in result.failed["c.json"]
    with pytest.raises(MedsegError, match="--voc and --coco are two layouts"):
        labelme(folder, tmp_path / "again", LabelmeOptions(coco=True, voc=True))


def test_classes_that_are_numbers_are_their_text(tmp_path):
    write(tmp_path / "in", "a", shape(7, BOX, "rectangle"))
    labelme(tmp_path / "in", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["labels"] == {"background": 0, "7": 1}


@pytest.mark.parametrize("name", ["C:\\work\\a.png", "/home/other/a.png"])
def test_an_image_of_another_computer_lies_beside_its_annotation(tmp_path, name):
    write(tmp_path / "in", "a", shape("cell", BOX, "rectangle"), imageData=None, imagePath=name)
    with pytest.raises(MedsegError):
        labelme(tmp_path / "in", tmp_path / "out")
    pillow.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(tmp_path / "in" / "a.png")
    labelme(tmp_path / "in", tmp_path / "out")
    assert areas(tmp_path / "out")[1] == 24
