"""Masks painted over each other: which structures meet in a voxel."""

import numpy as np
import pytest

from medseg.core.errors import DataError
from medseg.io.values.overlay import Overlay, set_key


def painted() -> Overlay:
    overlay = Overlay((1, 1, 5))
    for value, places in ((4, [0, 1, 2]), (9, [1, 2, 3]), (9, [1]), (2, [2])):
        mask = np.zeros((1, 5), bool)
        mask[0, places] = True
        overlay.paint(overlay.array[0], mask, value)
    return overlay


def test_sets_are_counted() -> None:
    counts = {set_key(together): voxels for together, voxels in painted().counts().items()}
    assert counts == {"": 1, "4": 1, "4+9": 1, "2+4+9": 1, "9": 1}


def test_values_by_rule() -> None:
    names = {9: "a", 2: "b", 4: "c"}
    assert painted().values("later", names, "S").tolist() == [[[4, 4, 4, 9, 0]]]
    assert painted().values({"4+9": 6, "2+4+9": 300, "9": 1}, names, "S").tolist() == [[[4, 6, 300, 1, 0]]]


def test_what_nothing_is_said_of_is_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"S: c and a overlap in 1 voxel; .* holds one structure per voxel"):
        painted().values("refuse", {9: "a", 2: "b", 4: "c"}, "S")
    with pytest.raises(DataError, match="b and c and a overlap in 1 voxel"):
        painted().values({"4+9": 6}, {9: "a", 2: "b", 4: "c"}, "S")


def test_an_empty_mask_changes_nothing() -> None:
    overlay = Overlay((1, 2, 2))
    overlay.paint(overlay.array[0], np.zeros((2, 2), bool), 1)
    assert overlay.sets == [frozenset()]
