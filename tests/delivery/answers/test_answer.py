"""What is measured of an answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg.core.case import Case
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.delivery.answers.answer import structure_volumes
from medseg.delivery.answers.formats import answer_path

REGIONS = Labels(structures={"whole": [1, 300], "core": 300}, activation="sigmoid", region_values=[1, 300])


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32])
def test_volumes_count_every_value_that_belongs_to_a_structure(dtype: type) -> None:
    array = np.zeros((1, 2, 5, 10), dtype=dtype)
    array[0, 0, 0], array[0, 1, 1, :3] = 1, 300
    centimetres = Image(array, np.diag([10.0, 10.0, 10.0, 1.0]))
    assert structure_volumes(centimetres, REGIONS) == pytest.approx({"whole": 13.0, "core": 3.0})
    pixels = Image(array, np.eye(4), spacing_known=False)
    assert structure_volumes(pixels, REGIONS) == {"whole": 13.0, "core": 3.0}
    nothing = Image(np.zeros_like(array), np.eye(4))
    assert structure_volumes(nothing, REGIONS) == {"whole": 0.0, "core": 0.0}


@pytest.mark.parametrize(("scan", "answer"), [("a_0000.nii.gz", "a.nii.gz"), ("a.jpg", "a.png"), ("a.nii", "a.nii")])
def test_the_answer_has_the_cases_name_and_a_format_without_loss(scan: str, answer: str) -> None:
    assert answer_path(Case("a", "a", (Path("in") / scan,)), Path("out")) == Path("out") / answer
