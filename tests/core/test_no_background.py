"""Labels without a background: 0 is a structure like the others, and every voxel is answered as one."""

import numpy as np
import pytest
import torch

from medseg.core.errors import DataError, PlanError
from medseg.core.labels import IGNORE, Labels
from medseg.datasets.data_options import DataOptions
from medseg.datasets.option_values import parse_structures
from medseg.evaluation.pooled import pool
from medseg.evaluation.tables import value_names
from medseg.preprocessing.cells import choose_planes
from medseg.preprocessing.cells_numba import choose_planes as choose_compiled
from medseg.preprocessing.interpolate import Resize
from medseg.preprocessing.maps import entropy, probabilities
from medseg.preprocessing.windows import Window

STREET = Labels(structures={"road": 1, "sky": 0, "car": 7}, background=None, ignore=255)


def test_every_value_is_a_structure():
    assert (STREET.names, STREET.outputs, STREET.decisions) == (("sky", "road", "car"), 4, (0, 0, 1, 7))
    indices = STREET.encode(np.array([0, 1, 7, 255]), "x.png")
    assert indices.tolist() == [1, 2, 3, IGNORE]
    assert STREET.membership.tolist() == [
        [False, True, False, False],
        [False, False, True, False],
        [False] * 3 + [True],
    ]
    assert STREET.dtype == np.uint8
    assert Labels.model_validate(STREET.model_dump(mode="json")) == STREET


def test_a_value_without_a_structure_is_refused_and_the_hint_ignores_it():
    with pytest.raises(DataError, match="value 3, which no structure declares; declared are 0, 1, 7, 255") as refused:
        STREET.encode(np.array([0, 3]), "x.png")
    assert "--map 3=255 --ignore 255" in str(refused.value)
    assert STREET.undeclared([-(2**31), 0]) == [-(2**31)]


def test_what_is_no_class_is_never_answered():
    logits = torch.tensor([[9.0, 9, 9], [1, 0, 0], [0, 2, 0], [0, 0, 3]])
    assert STREET.choose(logits).tolist() == [1, 2, 3]
    assert STREET.decide(logits).tolist() == [0, 1, 7]
    for transform in (STREET.probabilities, probabilities(STREET)):
        assert torch.allclose(transform(logits), logits[1:].softmax(0))
    certain = torch.tensor([0.0, 50, 0, 0]).reshape(4, 1, 1, 1)
    even = torch.tensor([50.0, 1, 1, 1]).reshape(4, 1, 1, 1)
    assert entropy(STREET)(certain).item() == pytest.approx(0, abs=1e-6)
    assert entropy(STREET)(even).item() == pytest.approx(1)


def test_compiled_loops_answer_the_same():
    logits = torch.randn(4, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    logits[0] += 2
    resize = Resize((2, 6, 6), (2, 9, 9), (1, 1, 1), None)
    window = Window(logits, 0, range(2))
    plain, compiled = (choose(window, range(2), resize, STREET) for choose in (choose_planes, choose_compiled))
    assert np.array_equal(np.asarray(plain), compiled)
    assert compiled.min() == 1


def test_scores_have_a_row_for_the_structure_of_the_value_0_and_none_for_a_background():
    confusion = np.zeros((4, 4), np.int64)
    confusion[1:, 1:] = [[8, 2, 0], [0, 10, 0], [5, 0, 5]]
    pooled = pool(STREET, confusion)
    assert list(pooled.classes) == ["sky", "road", "car"]
    assert pooled.classes["sky"].iou == pytest.approx(8 / 15)
    assert pooled.pixel_accuracy == pytest.approx(23 / 30)
    assert value_names(STREET) == ["no class", "sky", "road", "car"]


@pytest.mark.parametrize(
    ("structures", "background"),
    [(["sky=0", "road=1"], None), (["sky=0,road=1"], None), (["road=1"], 0), (["0=0", "road=1"], "refused")],
)
def test_a_structure_of_the_value_0_means_that_there_is_no_background(structures, background):
    if background == "refused":
        with pytest.raises(PlanError, match="share one value"):
            parse_structures(structures)
    else:
        assert parse_structures(structures).background == background


def test_overlapping_structures_have_a_background():
    with pytest.raises(ValueError, match="background: null is for structures that exclude each other"):
        Labels(structures={"a": 1}, background=None, activation="sigmoid")
    assert DataOptions(no_background=True).given() == {"no_background": True}
