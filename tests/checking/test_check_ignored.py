"""Binary masks of 255 in a VOC folder, where 255 stands for voxels without annotation."""

import numpy as np
import pytest

import medseg
from medseg.commands.data.check import check
from medseg.commands.data.options import CheckOptions
from medseg.core.errors import DataError
from medseg.datasets.data_options import DataOptions


@pytest.fixture
def voc(tmp_path, save_picture):
    """Make a VOC folder of masks with one block, of the values given by id; 0 for none."""

    def make(**values):
        for number, (id, value) in enumerate(values.items()):
            mask = np.zeros((24, 24), np.uint8)
            mask[4:12, 4 : 12 + number] = value
            scan = np.random.default_rng(number).integers(0, 255, mask.shape)
            save_picture(tmp_path / f"set/JPEGImages/{id}.png", scan)
            save_picture(tmp_path / f"set/SegmentationClass/{id}.png", mask)
        return tmp_path / "set"

    return make


def found(folder, **data):
    result = check(folder, folder.parent, CheckOptions(data=DataOptions(**data)))
    return [(finding.kind, finding.case) for finding in result.findings]


@pytest.mark.parametrize("names", ["", "_background_\ncell\n"])
def test_a_set_of_binary_masks_is_refused_with_what_settles_it(voc, names):
    folder = voc(a=255, b=255, c=0)
    if names:
        (folder / "labels.txt").write_text(names)
    for look in (check, medseg.plan):
        with pytest.raises(DataError, match=r"hold the values 0, 255 and no structure(.|\n)*binary") as refused:
            look(folder, folder.parent)
        assert "--map 255=1" in str(refused.value)
        assert "--ignore 255" in str(refused.value)
    assert found(folder, map=["255=1"]) == [("empty label", "c")]
    made = medseg.plan(folder, folder.parent, None, medseg.PlanOptions(preset="cpu", data=DataOptions(map=["255=1"])))
    assert made.plan.data.structure_cases == {"cell" if names else "foreground": 2}


def test_what_was_said_of_255_stands(voc):
    folder = voc(a=255, b=255, c=0)
    assert found(folder, structures=["cell=255"]) == [("empty label", "c")]
    assert found(folder, ignore=255) == [("empty label", "")]
    assert found(folder, threshold=128) == [("empty label", "c")]


def test_single_binary_masks_are_named(voc):
    folder = voc(a=1, b=1, c=255, d=0)
    assert found(folder) == [("empty label", "d"), ("ignored label", "c")]
    assert found(folder, ignore=255) == [("empty label", "")]
    (finding,) = [finding for finding in check(folder, folder.parent).findings if finding.kind == "ignored label"]
    assert finding.message.startswith("SegmentationClass/c.png holds no structure, but 80 voxels of 255")
    assert finding.severity == "warning"


def test_borders_beside_a_structure_are_what_the_layout_means(voc, save_picture):
    folder = voc(a=1, b=1)
    mask = np.full((24, 24), 255, np.uint8)
    mask[3:5, 3:5] = 1
    save_picture(folder / "SegmentationClass/a.png", mask)
    assert found(folder) == []
