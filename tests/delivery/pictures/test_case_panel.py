"""Pictures are read back: structures appear in their colours, where and only where they should."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from matplotlib.image import imread

from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.delivery.pictures import drawing
from medseg.delivery.pictures.case_panel import View, case_panel, dice_line, worst_median_best
from medseg.evaluation.overlap import Overlap
from medseg.evaluation.score import StructureScore
from medseg.evaluation.summary import CaseScore
from medseg.io.images import read_image, read_label

ORGANS = Labels(structures={"liver": 1, "spleen": 2}, ignore=9)
DOTS_PER_INCH = 150


def block(value, start, stop, shape=(12, 16, 20)):
    array = np.zeros((1, *shape), np.uint8)
    array[0][tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = value
    return Image(array, np.diag([2.0, 2.0, 3.0, 1.0]))


LIVER = block(1, (3, 4, 5), (9, 12, 15))
SPLEEN = block(2, (3, 4, 5), (9, 12, 15))
NOTHING = block(0, (0, 0, 0), (1, 1, 1))
SCAN = LIVER.with_array(LIVER.array * 500.0 + np.random.default_rng(0).normal(300, 20, LIVER.array.shape))


def count(path, structure, tolerance=0.04):
    """Pixels in the colour of a structure."""
    pixels = imread(path)[..., :3]
    return int((np.abs(pixels - drawing.colour(ORGANS, structure)).max(axis=-1) < tolerance).sum())


def without_legend(path):
    """The picture cut above its legend, as an array of shape (rows, columns, 3)."""
    return imread(path)[:-75, :, :3]


def score(case, *dice_of_8):
    """A case whose structures have Dice k / 8."""
    overlaps = {f"s{n}": Overlap(tp=k, fp=8 - k, fn=8 - k, tn=9) for n, k in enumerate(dice_of_8)}
    return CaseScore(case, {name: StructureScore(one, 1.0, 9.0) for name, one in overlaps.items()})


def test_worst_median_and_best():
    cases = [score("b", 8), score("c", 2), score("a", 8), score("e", 4), score("d", 1)]
    empty = CaseScore("x", {"s0": StructureScore(Overlap(0, 0, 0, 9), 1.0, 9.0)})
    chosen = worst_median_best([*cases, empty])
    assert [(word, case.case) for word, case in chosen] == [("worst", "d"), ("median", "e"), ("best", "b")]
    assert [(word, case.case) for word, case in worst_median_best(cases[:2])] == [("worst", "c"), ("best", "b")]
    assert [(word, case.case) for word, case in worst_median_best(cases[:1])] == [("", "b")]
    assert worst_median_best([empty]) == []


def test_dice_in_a_line():
    assert dice_line(score("a", 4)) == "Dice 0.500"
    assert dice_line(score("a", 4, 8)) == "mean Dice 0.750:  s0 0.50,  s1 1.00"
    assert dice_line(score("a", *[8] * 9)).endswith("s5 1.00,  and 3 more")
    assert dice_line(CaseScore("x", {"s0": StructureScore(Overlap(0, 0, 0, 9), 1.0, 9.0)})) == "no structure"


def test_structures_have_their_colours_and_no_other(tmp_path):
    path = tmp_path / "panel.png"
    path.write_bytes(case_panel([View("a", LIVER, LIVER, SCAN)], ORGANS))
    assert count(path, "liver") > 1000
    assert count(path, "spleen") == 0
    path.write_bytes(case_panel([View("a", SPLEEN, LIVER, SCAN)], ORGANS))
    assert count(path, "liver") > 500
    assert count(path, "spleen") > 500
    assert list(tmp_path.iterdir()) == [path]


def test_three_planes_of_a_volume_side_by_side(tmp_path):
    (tmp_path / "a.png").write_bytes(case_panel([View("a", LIVER, LIVER, None)], ORGANS))
    filled = (without_legend(tmp_path / "a.png") * 255 > 40).any(axis=-1)
    columns = filled[140:].sum(axis=0) > 20  # below the title
    edges = np.flatnonzero(np.diff(columns.astype(int)) == 1)
    assert len(edges) == 3


def test_the_prediction_is_drawn_apart_from_the_reference(tmp_path):
    moved = block(1, (3, 4, 8), (9, 12, 18))
    for name, prediction in (("same", LIVER), ("moved", moved), ("nothing", NOTHING)):
        (tmp_path / f"{name}.png").write_bytes(case_panel([View("a", prediction, LIVER, SCAN)], ORGANS))
    assert count(tmp_path / "moved.png", "liver") > 1.1 * count(tmp_path / "same.png", "liver")
    assert count(tmp_path / "nothing.png", "liver") < 0.9 * count(tmp_path / "same.png", "liver")


def test_labels_alone_are_filled(tmp_path):
    (tmp_path / "a.png").write_bytes(case_panel([View("a", NOTHING, LIVER, None)], ORGANS))
    half_opaque = 0.5 * np.array(drawing.colour(ORGANS, "liver"))
    area = np.abs(without_legend(tmp_path / "a.png") - half_opaque).max(axis=-1) < 0.03
    # the block fills 40 to 50 % of each side of each plane, and the planes most of the picture
    assert 0.08 < area.mean() < 0.25


def test_ignored_voxels_and_an_empty_case_can_be_drawn(tmp_path):
    ignored = LIVER.with_array(np.where(LIVER.array == 0, 9, LIVER.array))
    (tmp_path / "a.png").write_bytes(case_panel([View("a", LIVER, ignored, SCAN)], ORGANS))
    assert count(tmp_path / "a.png", "liver") > 500
    (tmp_path / "b.png").write_bytes(case_panel([View("nothing there", NOTHING, None, SCAN)], ORGANS))
    assert count(tmp_path / "b.png", "liver") == 0
    assert imread(tmp_path / "b.png").mean() > 0.3


def test_flat_images_share_a_row(tmp_path):
    flat = [Image(np.eye(n, dtype=np.uint8)[np.newaxis, np.newaxis], np.eye(4), False) for n in (8, 9, 30, 7, 8)]
    views = [View("long name " * 9, label, None, None) for label in flat]
    for number in (1, 3, 5):
        (tmp_path / f"{number}.png").write_bytes(case_panel(views[:number], ORGANS))
    heights = {number: imread(tmp_path / f"{number}.png").shape[0] for number in (1, 3, 5)}
    assert heights[3] < 1.05 * heights[1]
    assert 1.6 * heights[3] < heights[5] < 2.2 * heights[3]


def test_what_cannot_be_drawn_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nothing to draw"):
        case_panel([], ORGANS)
    other = Image(SCAN.array[:, :5], SCAN.affine)
    with pytest.raises(ValueError, match=r"a: grids of \(12, 16, 20\) and \(5, 16, 20\)"):
        case_panel([View("a", LIVER, LIVER, other)], ORGANS)
    with pytest.raises(DataError, match="label value 4"):
        (tmp_path / "a.png").write_bytes(
            case_panel([View("a", LIVER.with_array(LIVER.array * 4), LIVER, SCAN)], ORGANS)
        )
    assert not (tmp_path / "a.png").exists()


def test_what_lies_far_from_the_structures_does_not_darken_the_picture():
    scan = np.full((1, 60, 60, 60), -700.0)
    scan[0, 10:50, 10:50, 10:50] = np.linspace(0, 100, 40)
    organ = np.zeros((60, 60, 60), bool)
    organ[25:35, 25:35, 25:35] = True
    low, high = drawing.window(Image(scan, np.eye(4)), organ)
    assert 0 < low < 20  # the 30 columns around the organ hold 12.8 to 87.2
    assert 80 < high < 100
    assert drawing.window(Image(scan, np.eye(4)), np.ones_like(organ))[0] == -700
    assert drawing.window(Image(np.zeros((1, 2, 2, 2)), np.eye(4)), np.ones((2, 2, 2), bool)) == (0, 1)


def test_a_ct_has_the_window_of_soft_tissue_unless_its_structures_are_air():
    scan = np.full((1, 20, 20, 20), -1000.0)
    scan[0, 5:15, 5:15, 5:15] = 40
    scan[0, 8:12, 8:12, 8:12] = -850
    soft, lung = scan[0] == 40, scan[0] == -850
    assert drawing.window(Image(scan, np.eye(4)), soft) == (-160, 240)
    assert drawing.window(Image(scan, np.eye(4)), np.zeros_like(soft)) == (-160, 240)
    assert drawing.window(Image(scan, np.eye(4)), lung) == (-1000, 40)


def test_colours_differ_between_twenty_structures():
    labels = Labels(structures={f"s{value}": value for value in range(1, 21)})
    assert len({drawing.colour(labels, name) for name in labels.names}) == 20


@pytest.mark.slow
def test_threads_may_draw_at_once_and_pyplot_is_not_touched(tmp_path):
    def draw(number):
        (tmp_path / f"{number}.png").write_bytes(case_panel([View("a", SPLEEN, LIVER, SCAN)], ORGANS))
        return (tmp_path / f"{number}.png").read_bytes()

    alone = draw(0)
    with ThreadPoolExecutor(4) as pool:
        assert all(picture == alone for picture in pool.map(draw, range(1, 7)))
    code = """
import sys, pathlib, medseg.delivery.pictures.case_panel as pictures
lazy = "matplotlib" not in sys.modules
import numpy
from medseg.core.image import Image
from medseg.core.labels import Labels
label = Image(numpy.eye(8, dtype=numpy.uint8)[None, None], numpy.eye(4), False)
picture = pictures.case_panel([pictures.View("a", label, label)], Labels(structures={"line": 1}))
pathlib.Path(sys.argv[1]).write_bytes(picture)
sys.exit(not lazy or "matplotlib.pyplot" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "curve.png"], check=False)
    assert done.returncode == 0
    assert (tmp_path / "curve.png").is_file()


@pytest.mark.real
def test_real_scans_fill_the_picture(data_dir, tmp_path):
    hippocampus = Labels(structures={"Anterior": 1, "Posterior": 2})
    views = []
    for case in ("hippocampus_001", "hippocampus_003"):
        image = read_image(data_dir / f"hippocampus/imagesTr/{case}.nii.gz")
        label = read_label(data_dir / f"hippocampus/labelsTr/{case}.nii.gz")
        views.append(View(case, label, label, image))
    (tmp_path / "hippocampus.png").write_bytes(case_panel(views, hippocampus))
    stained = "0c2550a23b8a.png"
    image, label = read_image(data_dir / "nuclei/images" / stained), read_label(data_dir / "nuclei/masks" / stained)
    (tmp_path / "nuclei.png").write_bytes(
        case_panel([View("stained", label, label, image)], Labels(structures={"nucleus": 255}))
    )
    for name in ("hippocampus", "nuclei"):
        shown = without_legend(tmp_path / f"{name}.png").max(axis=-1)
        assert (shown > 0.15).mean() > (0.6 if name == "hippocampus" else 0.3)
    colourful = without_legend(tmp_path / "nuclei.png")
    assert (colourful.max(axis=-1) - colourful.min(axis=-1) > 0.3).mean() > 0.05  # violet


def test_letters_that_the_font_lacks_are_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    figure = drawing.new_figure(1, 1, "black")
    figure.text(0, 0, "日本語")
    assert drawing.png(figure).startswith(b"\x89PNG")
    assert not [*recwarn]
