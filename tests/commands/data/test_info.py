"""`medseg info`: the facts of small files that can be counted by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image as pillow

import medseg
from medseg.commands.data.info import LabelValue, info
from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.delivery.answers.formats import ANSWER_FORMATS, write_answer_labels


def test_a_scan(tmp_path: Path) -> None:
    values = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)  # (x, y, z)
    values[0, 0, 0] = np.nan
    nib.save(nib.Nifti1Image(values, np.diag([-1.0, 2.0, 5.0, 1.0])), tmp_path / "scan.nii.gz")
    known = info(tmp_path / "scan.nii.gz")
    assert (known.format, known.shape_zyx, known.volumes, known.components) == (".nii.gz", (4, 3, 2), 1, 1)
    assert (known.spacing_mm, known.axes) == ((5.0, 2.0, 1.0), "LAS")
    assert (known.low, known.high, known.percentiles[50], known.not_finite) == (1.0, 23.0, 12.0, 1)
    assert known.labels == ()
    assert known.read_as == "a scan of 1 channel (volume)"


def test_a_label_map(tmp_path: Path, save_nifti: Callable[..., Path]) -> None:
    label = np.zeros((10, 10, 10), np.uint8)
    label[:2] = 3
    known = info(save_nifti(tmp_path / "label.nii.gz", label))
    assert known.labels == (LabelValue(0, "", 800, pytest.approx(0.8)), LabelValue(3, "", 200, pytest.approx(0.2)))
    assert known.read_as.startswith("a label map (volume)")


def test_names_that_a_file_gives_to_its_values(tmp_path: Path) -> None:
    (tmp_path / "label_names.txt").write_text("_background_\ncat\n")
    pillow.fromarray(np.repeat([0, 1], 8).astype(np.uint8).reshape(4, 4)).save(tmp_path / "label.png")
    known = info(tmp_path / "label.png")
    assert [(part.value, part.name, part.voxels) for part in known.labels] == [(0, "", 8), (1, "cat", 8)]
    assert known.spacing_mm is None


def test_points_in_time(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((4, 4, 4, 3)), np.eye(4)), tmp_path / "times.nii")
    known = info(tmp_path / "times.nii")
    assert (known.volumes, known.shape_zyx) == (3, (4, 4, 4))
    assert "3 " in known.read_as


def test_a_folder_is_refused_with_the_verb_for_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder") as caught:
        info(tmp_path)
    assert "medseg series" in (caught.value.hint or "")


def test_one_bad_file_is_named_beside_a_good_one(
    tmp_path: Path, save_nifti: Callable[..., Path], command_line: Callable
) -> None:
    good = save_nifti(tmp_path / "good.nii.gz", np.arange(60).reshape(3, 4, 5).astype(np.float32))
    done = command_line("info", good, tmp_path / "none.png", "--json")
    assert done.returncode == 1
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["kind"] for record in records] == ["info", "case", "result"]
    assert records[0]["shape_zyx"] == [3, 4, 5]
    assert "There is no file" in records[1]["problem"]


def test_an_image_prints_as_one_line(tmp_path: Path, save_nifti: Callable[..., Path]) -> None:
    path = save_nifti(tmp_path / "scan.nii.gz", np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    assert repr(medseg.read_image(path)) == "<Image: 1 x (2 x 3 x 4) int16, 1 x 1 x 1 mm, axes RAS, 0 to 23>"


def test_a_tiff_with_a_resolution_has_no_sides(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "slide.tif",
        np.arange(12, dtype=np.uint8).reshape(3, 4),
        resolution=(10, 10),
        resolutionunit="CENTIMETER",
    )
    known = info(tmp_path / "slide.tif")
    assert known.spacing_mm is not None
    assert known.axes == ""


def test_structures_in_layers_are_listed_by_name(tmp_path: Path) -> None:
    array = np.zeros((1, 3, 4, 5), np.uint8)
    array[0, 1, :2] = 1
    array[0, 1, 2, 0] = 2
    labels = Labels(structures={"whole": [1, 2], "core": [2]}, activation="sigmoid", region_values=[1, 2])
    path = tmp_path / "a.seg.nrrd"
    write_answer_labels(path, Image(array, np.eye(4)), None, labels, {}, ANSWER_FORMATS["seg.nrrd"])
    assert [(part.name, part.voxels) for part in medseg.info(path).labels] == [("whole", 11), ("core", 1)]
