"""What is measured of an answer while it is computed, by hand; and that the answer stays as it is."""

from math import log

import numpy as np
import pytest
import torch
from builders import INFERENCE, make_configuration

from medseg.core.labels import Labels
from medseg.inference.agreement import Agreement
from medseg.inference.backends.choose import Forward
from medseg.inference.memory import MemoryPlan, Resources
from medseg.inference.observation import Observation
from medseg.inference.tiles import Views
from medseg.inference.window_pass import WindowPass
from medseg.plans.sections.inference import Inference

PLAIN = Labels(structures={"a": 1, "b": 2})
REGION = Labels(structures={"a": [1]}, activation="sigmoid", region_values=[1])


def make_pass(image: torch.Tensor, members: list[Forward], tile_batch: int, mirror: bool) -> WindowPass:
    inference = Inference.model_validate({**INFERENCE, "mirror": mirror})
    views = Views.of(image.shape[1:], make_configuration(3, patch_voxels=[4, 4, 4]), inference)
    plan = MemoryPlan(tile_batch, False, torch.float32, False)
    return WindowPass(members, image, views, Resources(plan, torch.device("cpu")))


def half_sure(tiles: torch.Tensor) -> torch.Tensor:
    """Sure of the half of a tile that is left as the network sees it: where mirrored, of the other half."""
    logits = torch.full_like(tiles[:, :1], -50.0)
    logits[..., : tiles.shape[-1] // 2] = 50.0
    return logits


def everywhere(tiles: torch.Tensor) -> torch.Tensor:
    return torch.full_like(tiles[:, :1], 50.0)


@pytest.mark.parametrize("tile_batch", [1, 3, 8])
@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([everywhere], 1.0),
        # of the 8 copies 4 are mirrored along x: a pair agrees on all (3 of 7 others) or nothing (4 of 7)
        ([half_sure], 3 / 7),
        # sums over folds: (4/7 of the voxels' halves) (3/7 * 1/2 + 1) / (1/2 + 1)
        ([half_sure, everywhere], (3 / 7 * 0.5 + 1) / 1.5),
    ],
)
def test_agreement_of_mirrored_copies(members: list[Forward], expected: float, tile_batch: int) -> None:
    window_pass = make_pass(torch.randn(1, 9, 4, 4), members, tile_batch, mirror=True)
    agreement = Agreement(REGION, len(members), len(window_pass.views.flips))
    for _ in window_pass.logits(watch=agreement.add):
        pass
    assert agreement.values() == [pytest.approx(expected, abs=1e-6)]


def test_without_mirrored_copies_there_is_no_agreement() -> None:
    window_pass = make_pass(torch.randn(1, 4, 4, 4), [everywhere], 1, mirror=False)
    agreement = Agreement(REGION, 1, len(window_pass.views.flips))
    for _ in window_pass.logits(watch=agreement.add):
        pass
    assert agreement.values() == [None]


def test_figures_by_hand() -> None:
    """A plane of 4 x 4 voxels: 2 x 2 of `a` with probability 3/4, the others with 1/10; twice, a slab each."""
    image = np.zeros((1, 2, 4, 4), np.float32)
    image[0, :, 1:3, 1:3] = [[1.0, 1.0], [3.0, 3.0]]
    logits = torch.full((1, 2, 4, 4), -log(9))
    logits[:, :, 1:3, 1:3] = log(3)
    observation = Observation(REGION, image, (2.0, 1.0, 0.5), 1, 1)
    observation.watch_slab(logits[:, :1])
    observation.watch_slab(logits[:, 1:])
    figures = observation.sureness()["a"]
    assert figures.volume == 8  # 8 voxels of 1 mm3
    assert figures.overlap == pytest.approx(8 * 0.75)
    assert figures.expected_volume == pytest.approx(8 * 0.75 + 24 * 0.1)
    assert figures.doubt == pytest.approx(8 * 0.25 + 24 * 0.1)
    assert figures.border == 8  # each of the four touches a voxel outside
    assert (figures.mean, figures.deviation) == ((2.0,), (1.0,))
    assert figures.agreement is None


def test_structures_that_exclude_each_other_are_counted_where_they_are_answered() -> None:
    logits = torch.zeros(3, 1, 2, 2)
    logits[1, 0, 0] = 5.0
    logits[2, 0, 1, 1] = 5.0
    observation = Observation(PLAIN, np.ones((1, 1, 2, 2), np.float32), (1.0, 1.0, 1.0), 1, 1)
    observation.watch_slab(logits)
    figures = observation.sureness()
    assert (figures["a"].volume, figures["b"].volume) == (2, 1)
    assert figures["a"].mean == (1.0,)
